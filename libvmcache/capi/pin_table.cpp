// SPDX-License-Identifier: MIT
#include "capi/pin_table.hpp"

#include <utility>

#include "vmcache/buffer_pool.hpp"

namespace vmcache::capi {

std::uint64_t PinTable::add(Pin pin) {
  const std::lock_guard lock(_mutex);
  _pins.emplace(_last + 1, std::move(pin));
  return ++_last;
}

bool PinTable::remove(std::uint64_t number) {
  const std::lock_guard lock(_mutex);
  return _pins.erase(number) != 0;
}

std::uint64_t PinTable::held() const {
  const std::lock_guard lock(_mutex);
  return _pins.size();
}

}  // namespace vmcache::capi

// SPDX-License-Identifier: MIT
//
// The pins of a pool. As with held_pages.hpp, struct vmcache_pin is a value that a program may copy
// or use twice; what counts is the entry that it names.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "vmcache/pin.hpp"

namespace vmcache::capi {

//! Thread-safe.
class PinTable {
 public:
  //! Returns the pin's number, which is not used again. Throws std::bad_alloc; the pin is then
  //! gone.
  [[nodiscard]] std::uint64_t add(Pin pin);
  //! Ends the pin. False if there is none with this number (any more).
  [[nodiscard]] bool remove(std::uint64_t number);
  [[nodiscard]] std::uint64_t held() const;

 private:
  mutable std::mutex _mutex;
  std::unordered_map<std::uint64_t, Pin> _pins;
  std::uint64_t _last = 0;
};

}  // namespace vmcache::capi

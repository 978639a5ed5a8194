// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "clock.hpp"
#include "pool/pool_core.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

//! How long a page has been in the way of a write-back. Somebody who holds a latch may hold it for
//! ever, so that is waited for only as long as the pool's patience. Others that write the page back
//! may be quicker each time, but every one of their writes ends: that is waited for longer.
class BusyWatch {
 public:
  //! Call it when the page could not be written. True if it is to be given up.
  [[nodiscard]] bool gives_up(const PoolCore& core, PageId page_id) noexcept {
    constexpr std::uint64_t kOthersWrites = 10;  // times the patience
    const std::uint64_t now = now_ns();
    if (_since_ns == 0) _since_ns = now;
    if (!core.states()[page_id].load().exclusive())
      _latched_since_ns = 0;
    else if (_latched_since_ns == 0)
      _latched_since_ns = now;
    const std::uint64_t latched_ns = _latched_since_ns == 0 ? 0 : now - _latched_since_ns;
    return latched_ns > core.patience_ns() || now - _since_ns > kOthersWrites * core.patience_ns();
  }
  //! Whether half of the patience is over.
  [[nodiscard]] bool is_late(const PoolCore& core) const noexcept {
    return _since_ns != 0 && now_ns() - _since_ns > core.patience_ns() / 2;
  }

 private:
  std::uint64_t _since_ns = 0;
  std::uint64_t _latched_since_ns = 0;  // 0: not when it was last looked at
};

//! What a write-back says that gave up: because the log does not move, or for a BusyWatch.
[[nodiscard]] inline const char* why_late(bool log_stands) noexcept {
  return log_stands
             ? "write-back: the log does not become durable as far as the page needs it"
             : "write-back: the page stayed exclusively latched, or others wrote it all the time";
}

}  // namespace vmcache::detail

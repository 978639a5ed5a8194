// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include "vmcache/error.hpp"

namespace vmcache::detail {

//! What a pool knows of writes of pages that failed. Thread-safe.
class WriteErrors {
 public:
  //! Notes a failure at `now_ns` (CLOCK_MONOTONIC). Returns how many there have been.
  std::uint64_t add(const Status& status, std::uint64_t now_ns) noexcept {
    _failed_ns.store(now_ns, std::memory_order_relaxed);
    _last.store(status.os_error, std::memory_order_relaxed);
    return _count.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  //! Notes a page whose changes are lost because it is read only. Returns how many there have been.
  std::uint64_t add_dropped() noexcept {
    return _dropped.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  //! Notes that a write has succeeded.
  void clear() noexcept {
    if (last() != 0) _last.store(0, std::memory_order_relaxed);
  }
  //! The errno of the last write if it failed, else 0.
  [[nodiscard]] int last() const noexcept { return _last.load(std::memory_order_relaxed); }
  //! When a write last failed (CLOCK_MONOTONIC); 0: never.
  [[nodiscard]] std::uint64_t failed_ns() const noexcept {
    return _failed_ns.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> _failed_ns{0};
  std::atomic<int> _last{0};
  std::atomic<std::uint64_t> _count{0};
  std::atomic<std::uint64_t> _dropped{0};
};

}  // namespace vmcache::detail

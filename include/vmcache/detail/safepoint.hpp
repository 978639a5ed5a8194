// SPDX-License-Identifier: MIT
//
// Where a task gives way though it misses nothing: docs/scheduler.md.
#pragma once

#include <atomic>
#include <cstdint>

#include "vmcache/export.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT detail {

//! What a Worker and the clock of its process (quantum_clock.hpp) show each other. Only relaxed
//! accesses: nothing is handed over, and a value that comes late costs a turn too many, or a
//! quantum that is longer by one.
class Safepoint {
 public:
  //! True if the task that runs has had its quantum. Read on every await: a load and a branch.
  [[nodiscard]] bool due() const noexcept { return _due.load(std::memory_order_relaxed); }

  //! The Worker's thread: from now on another task runs. Its quantum begins.
  void begin_slice() noexcept {
    _slice.store(_slice.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (due()) _due.store(false, std::memory_order_relaxed);
  }
  //! The Worker's thread: whether it has more than one task, so that giving way makes sense.
  void set_shared(bool shared) noexcept {
    if (_shared.load(std::memory_order_relaxed) == shared) return;
    _shared.store(shared, std::memory_order_relaxed);
    if (!shared) _due.store(false, std::memory_order_relaxed);
  }
  [[nodiscard]] bool shared() const noexcept { return _shared.load(std::memory_order_relaxed); }

  //! \name The clock's
  //! @{
  //! Changes when another task runs.
  [[nodiscard]] std::uint32_t slice() const noexcept {
    return _slice.load(std::memory_order_relaxed);
  }
  void set_due() noexcept { _due.store(true, std::memory_order_relaxed); }
  //! @}

 private:
  std::atomic<bool> _due{false};
  std::atomic<bool> _shared{false};
  std::atomic<std::uint32_t> _slice{0};
};

}  // namespace detail
}  // namespace vmcache

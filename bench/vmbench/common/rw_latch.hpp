// SPDX-License-Identifier: MIT
#pragma once

#include <immintrin.h>
#include <sched.h>

#include <atomic>
#include <cstdint>

namespace vmbench {

//! A reader-writer latch in 4 bytes; spins, then yields. For the peers, which latch a page at a
//! time and briefly, or wait for its I/O.
class RwLatch {
 public:
  void lock_shared() {
    for (unsigned round = 0;; round++) {
      std::int32_t holders = _holders.load(std::memory_order_relaxed);
      if (holders >= 0 &&
          _holders.compare_exchange_weak(holders, holders + 1, std::memory_order_acquire))
        return;
      pause(round);
    }
  }
  void unlock_shared() { _holders.fetch_sub(1, std::memory_order_release); }
  [[nodiscard]] bool try_lock() {
    std::int32_t none = 0;
    return _holders.compare_exchange_strong(none, -1, std::memory_order_acquire);
  }
  void lock() {
    for (unsigned round = 0; !try_lock(); round++) pause(round);
  }
  void unlock() { _holders.store(0, std::memory_order_release); }

 private:
  static void pause(unsigned round) {
    if (round < 64)
      _mm_pause();
    else
      sched_yield();
  }

  std::atomic<std::int32_t> _holders{0};  // -1: a writer
};

}  // namespace vmbench

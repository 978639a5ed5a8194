// SPDX-License-Identifier: MIT
//
// Who runs when, as a seed says. While a Schedule lives, the thread that made it and all threads
// that are started from there run one at a time, and hand over at marked points: before every
// atomic operation of the library, at every mutex, condition variable, futex, sleep and yield, and
// at the devices. Time is simulated too: it passes with the marked points, and jumps to the next
// deadline when nobody can run. So a seed gives the same run again, byte by byte.
//
// The library has no part in this. Its copy for the simulation is compiled with -fsanitize=thread
// and linked with marked_memory.cpp instead of the sanitizer, which turns atomic operations into
// marked points; calls of the C library end in thread_calls.cpp, which the linker finds first.
//
// What it cannot show: threads see each other's stores at once and in order, so a missing memory
// barrier makes no difference here. The thread sanitizer's build runs the same work with real
// threads (real_threads.cpp).
#pragma once

#include <cstdint>

namespace vmcache::test {

struct SchedulePlan {
  std::uint64_t seed = 1;
  //! Marked points between two hand-overs, on average: 1 and more.
  std::uint32_t burst = 100;
  //! In how many of 100 hand-overs the thread stays away for up to a millisecond, as if its core
  //! had been taken.
  std::uint32_t stall_percent = 5;
  //! Marked points after which the run counts as one that does not end.
  std::uint64_t max_marks = std::uint64_t{2} << 30;
};

class Schedule {
 public:
  explicit Schedule(const SchedulePlan& plan);
  //! All threads but the one that made it must have been joined.
  ~Schedule();
  Schedule(const Schedule&) = delete;
  Schedule& operator=(const Schedule&) = delete;

  //! Whether a seed says all, or threads are the system's.
  [[nodiscard]] static bool deterministic() noexcept;
  //! Of all hand-overs so far: two runs with the same digest were the same.
  [[nodiscard]] static std::uint64_t digest() noexcept;
  [[nodiscard]] static std::uint64_t marks() noexcept;
  //! Called when no thread can ever run again, or max_marks are used up. Must not return.
  static void on_stuck(void (*report)(const char* what)) noexcept;
};

}  // namespace vmcache::test

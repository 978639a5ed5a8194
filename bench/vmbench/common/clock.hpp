// SPDX-License-Identifier: MIT
#pragma once

#include <x86intrin.h>

#include <cstdint>
#include <ctime>

namespace vmbench {

//! Nanoseconds of CLOCK_MONOTONIC.
inline std::uint64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(time.tv_nsec);
}

//! Of the time stamp counter; takes 5 ms.
inline double ticks_per_ns() {
  const std::uint64_t start_ns = now_ns();
  const std::uint64_t start = __rdtsc();
  while (now_ns() - start_ns < 5'000'000) {
  }
  return static_cast<double>(__rdtsc() - start) / static_cast<double>(now_ns() - start_ns);
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <ctime>

namespace vmbench {

//! Nanoseconds of CLOCK_MONOTONIC.
inline std::uint64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace vmbench

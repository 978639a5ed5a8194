// SPDX-License-Identifier: MIT
#pragma once

#include <time.h>

#include <cstdint>

namespace vmcache::detail {

//! Nanoseconds of CLOCK_MONOTONIC.
[[nodiscard]] inline std::uint64_t now_ns() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace vmcache::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace vmbench {

//! Where the time of the machine and of this process stands.
struct MachineTimes {
  std::uint64_t wall_ns = 0;
  std::uint64_t ticks = 0;       //!< time stamp counter
  std::uint64_t process_ns = 0;  //!< CPU time of all threads, those of io_uring (SQPOLL, workers) with them
};
[[nodiscard]] MachineTimes machine_times();

}  // namespace vmbench

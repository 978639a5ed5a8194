// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace vmbench {

//! Where the time of the machine and of this process stands.
struct MachineTimes {
  std::uint64_t wall_ns = 0;
  std::uint64_t ticks = 0;  //!< time stamp counter
  //! CPU time of all threads, those of io_uring (SQPOLL, workers) with them.
  std::uint64_t process_ns = 0;
  //! Of this process: it went to sleep, or another had its processor.
  std::uint64_t switches = 0;
};
[[nodiscard]] MachineTimes machine_times();

}  // namespace vmbench

// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>

namespace vmbench {

//! Tells how long the only processor of a machine had nothing to do, to a few instructions: a
//! process that runs only then (SCHED_IDLE) reads the time stamp counter in a loop and adds up the
//! steps, but not those in which something came between. For an emulated machine whose clock counts
//! instructions: the kernel's own idle time is in ticks on some versions, and without a process
//! that runs the emulator's clock leaps to the next timer.
class IdleClock {
 public:
  //! Throws std::runtime_error with the call and the errno, or where there are several processors.
  IdleClock();
  ~IdleClock();
  IdleClock(const IdleClock&) = delete;
  IdleClock& operator=(const IdleClock&) = delete;

  //! Time stamps since the start in which there was nothing to do, with what the kernel does by
  //! itself meanwhile. Any process.
  [[nodiscard]] std::uint64_t ticks() const {
    return static_cast<std::uint64_t>(static_cast<double>(counted()) * _ticks_a_counted);
  }

 private:
  [[nodiscard]] std::uint64_t counted() const {
    return _idle_ticks->load(std::memory_order_relaxed);
  }
  void calibrate();

  //! More than 1: the scheduler's ticks go on while the process runs. A wait would cost the more
  //! instructions, the longer the drive of the emulator's host takes.
  double _ticks_a_counted = 1;
  std::atomic<std::uint64_t>* _idle_ticks;  // shared with the process
  pid_t _process;
};

}  // namespace vmbench

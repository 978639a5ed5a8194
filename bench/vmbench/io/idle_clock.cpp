// SPDX-License-Identifier: MIT
#include "io/idle_clock.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <new>
#include <stdexcept>
#include <thread>

namespace vmbench {

namespace {

// A turn of the loop takes about ten instructions, the shortest interrupt more than a thousand.
constexpr std::uint64_t kTurnTicksMax = 200;

[[noreturn]] void spin(std::atomic<std::uint64_t>& idle_ticks) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::uint64_t sum = 0;
  for (std::uint64_t last = __rdtsc();;) {
    const std::uint64_t now = __rdtsc();
    if (now - last < kTurnTicksMax) idle_ticks.store(sum += now - last, std::memory_order_relaxed);
    last = now;
    // The emulator leaves its translated code here, so the process hardly gets on: a wait of some
    // milliseconds of the host's, in which it would else count millions of instructions, has few
    // timers in it, the kernel's and fio's.
    _mm_pause();
  }
}

}  // namespace

IdleClock::IdleClock() {
  if (std::thread::hardware_concurrency() != 1)
    throw std::runtime_error("--icount-clock: only on a machine with one processor");
  void* page =
      mmap(nullptr, sizeof *_idle_ticks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) throw std::runtime_error(fmt::format("mmap: {}", std::strerror(errno)));
  _idle_ticks = new (page) std::atomic<std::uint64_t>(0);
  _process = fork();
  if (_process == 0) spin(*_idle_ticks);
  const sched_param parameters{};
  if (_process < 0 || sched_setscheduler(_process, SCHED_IDLE, &parameters) != 0)
    throw std::runtime_error(
        fmt::format("{}: {}", _process < 0 ? "fork" : "sched_setscheduler", std::strerror(errno)));
  calibrate();
}

//! Looks at it while there is nothing to do.
void IdleClock::calibrate() {
  constexpr std::chrono::milliseconds kBegun{20}, kWatched{200};
  std::this_thread::sleep_for(kBegun);
  const std::uint64_t counted_before = counted();
  const std::uint64_t before = __rdtsc();
  std::this_thread::sleep_for(kWatched);
  const std::uint64_t elapsed = __rdtsc() - before;
  _ticks_a_counted = static_cast<double>(elapsed) / static_cast<double>(counted() - counted_before);
}

IdleClock::~IdleClock() {
  kill(_process, SIGKILL);
  waitpid(_process, nullptr, 0);
  munmap(_idle_ticks, sizeof *_idle_ticks);
}

}  // namespace vmbench

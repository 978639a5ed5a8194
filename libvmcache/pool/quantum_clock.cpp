// SPDX-License-Identifier: MIT
#include "pool/quantum_clock.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>

#include "vmcache/detail/own_process.hpp"

namespace vmcache::detail {
namespace {

// 10 ms at the default: so a Worker that waits for a slow disk does not wake it each time.
constexpr unsigned kQuietTicks = 100;
constexpr unsigned long kTimerSlackNs = 1'000;  // the default of 50 us is half a quantum
constexpr std::int64_t kUsPerSecond = 1'000'000;
constexpr std::int64_t kNsPerUs = 1'000;

void sleep_us(std::int64_t us) noexcept {
  const timespec duration{us / kUsPerSecond, us % kUsPerSecond * kNsPerUs};
  ::nanosleep(&duration, nullptr);
}

//! Blocks all signals while it lives, so that a thread which is made meanwhile gets none: they are
//! the program's.
class NoSignals {
 public:
  NoSignals() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &_before);
  }
  ~NoSignals() { ::pthread_sigmask(SIG_SETMASK, &_before, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t _before{};
};

}  // namespace

QuantumClock& QuantumClock::of_process() {
  // Never destroyed: Workers with static storage duration may go after it.
  alignas(QuantumClock) static std::array<std::byte, sizeof(QuantumClock)> place;
  static QuantumClock* const clock = [] {
    watch_forks();
    return ::new (place.data()) QuantumClock;
  }();
  return *clock;
}

void QuantumClock::watch_forks() {
  ::pthread_atfork([] { of_process()._mutex.lock(); }, [] { of_process()._mutex.unlock(); },
                   [] { begin_anew(of_process()); });
}

void QuantumClock::add(Safepoint& safepoint) {
  const std::lock_guard lock(_mutex);
  _watched.push_back({&safepoint, 0});
}

void QuantumClock::remove(Safepoint& safepoint) noexcept {
  std::jthread last;
  {
    const std::lock_guard lock(_mutex);
    std::erase_if(_watched, [&](const Watched& entry) { return entry.safepoint == &safepoint; });
    if (!_watched.empty()) return;
    std::vector<Watched>().swap(_watched);  // nothing stays behind
    if (!_thread.joinable()) return;
    last = std::move(_thread);
    last.request_stop();
    _asleep.store(true, std::memory_order_relaxed);
    _wanted.notify_all();  // two may wait: C5
  }
  last.join();
}

bool QuantumClock::wake() noexcept {
  const std::lock_guard lock(_mutex);
  if (!_asleep.load(std::memory_order_relaxed)) return true;
  if (!_thread.joinable()) {
    try {
      const NoSignals none;
      _thread = std::jthread([this](const std::stop_token& stop) { run(stop); });
    } catch (const std::exception&) {  // no thread, or no memory for one
      return false;
    }
  }
  _asleep.store(false, std::memory_order_relaxed);
  _wanted.notify_all();
  return true;
}

bool QuantumClock::tick() noexcept {
  bool moved = false;
  for (Watched& entry : _watched) {
    if (!entry.safepoint->shared()) continue;
    const std::uint32_t slice = entry.safepoint->slice();
    if (slice == entry.slice) {
      entry.safepoint->set_due();
    } else {
      entry.slice = slice;
      moved = true;
    }
  }
  return moved;
}

void QuantumClock::run(const std::stop_token& stop) {
  (void)::prctl(PR_SET_NAME, "vmcache-quantum");
  (void)::prctl(PR_SET_TIMERSLACK, kTimerSlackNs);
  std::unique_lock lock(_mutex);
  unsigned quiet = 0;
  for (;;) {
    lock.unlock();
    sleep_us(_quantum_us.load(std::memory_order_relaxed));
    lock.lock();
    if (stop.stop_requested()) return;
    if (tick()) {
      quiet = 0;
      _asleep.store(false, std::memory_order_relaxed);
    } else if (++quiet == kQuietTicks) {
      _asleep.store(true, std::memory_order_relaxed);  // said, and then a last look: C2
    } else if (quiet > kQuietTicks) {
      _wanted.wait(
          lock, [&] { return stop.stop_requested() || !_asleep.load(std::memory_order_relaxed); });
      if (stop.stop_requested()) return;
      quiet = 0;
    }
  }
}

}  // namespace vmcache::detail

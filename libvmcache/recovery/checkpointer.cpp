// SPDX-License-Identifier: MIT
#include "recovery/checkpointer.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "recovery/start_thread.hpp"

namespace vmcache {
namespace {

constexpr std::chrono::milliseconds kPauseAfterFailure{100};
//! Shorter sleeps are saved up: the kernel would make them longer than they should be.
constexpr std::uint64_t kMinSleepNs = 500'000;
constexpr std::uint64_t kMaxSleepNs = 50'000'000;

}  // namespace

Checkpointer::Checkpointer(std::function<bool()> checkpoint)
    : _checkpoint(std::move(checkpoint)), _thread(start_thread("checkpoints", [this] { run(); })) {}

Checkpointer::~Checkpointer() {
  {
    const std::lock_guard lock(_mutex);
    _stop = true;
  }
  _wake.notify_one();
  _thread.join();
}

void Checkpointer::request() noexcept {
  if (_requested.load(std::memory_order_relaxed)) return;
  {
    const std::lock_guard lock(_mutex);
    _requested.store(true, std::memory_order_relaxed);
  }
  _wake.notify_one();
}

void Checkpointer::run() {
  std::unique_lock lock(_mutex);
  for (;;) {
    _wake.wait(lock, [&] { return _stop || _requested.load(std::memory_order_relaxed); });
    if (_stop) return;
    lock.unlock();
    const bool made = _checkpoint();
    lock.lock();
    if (!made) _wake.wait_for(lock, kPauseAfterFailure, [&] { return _stop; });
    // Not before: what was asked for meanwhile has been done by this one.
    _requested.store(false, std::memory_order_relaxed);
  }
}

bool Throttle::pause(std::uint64_t worked_ns) {
  _owed_ns = std::min(_owed_ns + worked_ns * (100 - _percent) / _percent, kMaxSleepNs);
  std::unique_lock lock(_mutex);
  if (_owed_ns >= kMinSleepNs) {
    _wake.wait_for(lock, std::chrono::nanoseconds(_owed_ns), [&] { return _lifted > 0; });
    _owed_ns = 0;
  }
  return _lifted == 0;
}

Throttle::Lifted::Lifted(Throttle& throttle) : _throttle(throttle) {
  {
    const std::lock_guard lock(_throttle._mutex);
    ++_throttle._lifted;
  }
  _throttle._wake.notify_all();
}

Throttle::Lifted::~Lifted() {
  const std::lock_guard lock(_throttle._mutex);
  --_throttle._lifted;
}

}  // namespace vmcache

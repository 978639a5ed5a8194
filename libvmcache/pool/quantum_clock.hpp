// SPDX-License-Identifier: MIT
//
// The thread that says when a task has had its quantum. There is one in a process, while it has
// Workers with more than one task.
//
// Each tick it looks at every such Worker. If the same task runs as at the tick before, it asks
// that task to give way (Safepoint::set_due()). So a task is asked after one to two quanta.
//
// Invariants
//  C1  Worker and clock share a Safepoint and wait for nothing of each other. The hit path reads
//      one byte, which the clock writes at most once a tick.
//  C2  The clock sleeps only if no Worker has gone on to another task for kQuietTicks. Whoever goes
//      on to another task, and finds it asleep, wakes it.
//  C3  A Safepoint is in the clock's list exactly as long as its Worker lives.
//  C4  A child of fork() has a clock of its own, without a thread and with an empty list.
//  C5  A thread that was told to stop, under the mutex, changes nothing any more. From then on the
//      clock is asleep, and the next Worker starts another thread.
//
// Interleavings that would break them (tests in tests/pool/safepoint_test.cpp)
//  C2  The clock has seen nothing for long. A Worker goes on to another task and finds the clock
//      awake; then the clock falls asleep. That task may run for seconds. So the clock looks once
//      more, a tick after it said that it sleeps: by then it sees what the Worker wrote before it
//      looked.
//  C3  The last Worker goes while the clock reads its Safepoint: the list's mutex is held.
//  C5  The last Worker goes and waits for the thread. Another Worker comes, and has the clock go on
//      before the thread has seen that it is to stop: it goes on, too, and is waited for for ever.
//  C4  fork() while the clock's thread holds the mutex: it stays locked in the child for ever. So
//      the mutex is held across fork() (pthread_atfork).
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "vmcache/detail/safepoint.hpp"

namespace vmcache::detail {

//! Thread-safe.
class QuantumClock {
 public:
  static constexpr std::chrono::microseconds kDefaultQuantum{100};
  static constexpr std::chrono::microseconds kMinQuantum{10};
  static constexpr std::chrono::microseconds kMaxQuantum{1'000'000};

  //! The process's.
  static QuantumClock& of_process();
  QuantumClock() = default;
  QuantumClock(const QuantumClock&) = delete;
  QuantumClock& operator=(const QuantumClock&) = delete;

  //! Throws std::bad_alloc.
  void add(Safepoint& safepoint);
  //! With the last one the thread ends.
  void remove(Safepoint& safepoint) noexcept;

  void set_quantum(std::chrono::microseconds quantum) noexcept {
    _quantum_us.store(quantum.count(), std::memory_order_relaxed);
  }

  //! For the Worker that goes on to another task of several: sees to it that the clock ticks. False
  //! if there is no thread for it.
  bool tick_on() noexcept { return !_asleep.load(std::memory_order_relaxed) || wake(); }

 private:
  struct Watched {
    Safepoint* safepoint;
    std::uint32_t slice;  // at the last tick
  };

  static void watch_forks();
  bool wake() noexcept;
  void run(const std::stop_token& stop);
  //! False if no Worker has gone on to another task since the last one.
  bool tick() noexcept;

  std::atomic<bool> _asleep{true};
  std::atomic<std::int64_t> _quantum_us{kDefaultQuantum.count()};
  std::mutex _mutex;
  std::condition_variable _wanted;  // with _mutex: _asleep has changed, or a thread is to stop
  std::vector<Watched> _watched;
  std::jthread _thread;
};

}  // namespace vmcache::detail

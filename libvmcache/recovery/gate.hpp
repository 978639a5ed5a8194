// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "recovery/thread_slot.hpp"

namespace vmcache {

//! Many threads may be inside the gate. One thread may close it, and then waits until nobody is
//! inside. Threads that come later wait until it is open again; otherwise a busy gate would never
//! be empty. To enter and to leave costs one atomic addition each, to a counter that few other
//! threads use.
//!
//! Invariant: a visitor first counts itself in and then reads `_closed`. The thread that closes the
//! gate first sets `_closed` and then reads the counters. All four are sequentially consistent, so
//! at least one of the two sees the other: either the visitor leaves again, or it is waited for.
class Gate {
  struct alignas(64) Counter {
    std::atomic<std::uint64_t> inside{0};
  };

 public:
  //! A place inside the gate. The thread that destroys it need not be the one that entered.
  class Inside {
   public:
    //! Enters. Waits while the gate is closed.
    explicit Inside(Gate& gate) : Inside(gate, std::try_to_lock) {
      while (_counter == nullptr) {
        gate._closed.wait(true, std::memory_order_seq_cst);
        enter();
      }
    }
    //! Tries to enter and does not wait. entered() says whether it has.
    Inside(Gate& gate, std::try_to_lock_t) : _gate(gate) { enter(); }
    ~Inside() {
      if (_counter != nullptr) _gate.leave(*_counter);
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

    [[nodiscard]] bool entered() const noexcept { return _counter != nullptr; }

   private:
    void enter() noexcept {
      Counter& counter = _gate.counter_of_thread();
      counter.inside.fetch_add(1, std::memory_order_seq_cst);
      if (_gate._closed.load(std::memory_order_seq_cst)) return _gate.leave(counter);
      _counter = &counter;
    }

    Gate& _gate;
    Counter* _counter = nullptr;
  };

  //! Closes the gate and waits until nobody is inside. The destructor opens it.
  class Closed {
   public:
    explicit Closed(Gate& gate) : _gate(gate), _one_at_a_time(gate._closing) {
      _gate._closed.store(true, std::memory_order_seq_cst);
      for (;;) {
        const std::uint64_t left = _gate._left.load(std::memory_order_seq_cst);
        if (_gate.empty()) return;
        _gate._left.wait(left, std::memory_order_seq_cst);
      }
    }
    ~Closed() {
      _gate._closed.store(false, std::memory_order_seq_cst);
      _gate._closed.notify_all();
    }
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;

   private:
    Gate& _gate;
    const std::lock_guard<std::mutex> _one_at_a_time;
  };

  //! True only if everyone who was inside when the call began has left.
  [[nodiscard]] bool empty() const noexcept {
    for (const Counter& counter : _counters) {
      if (counter.inside.load(std::memory_order_seq_cst) != 0) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kCounters = 64;

  [[nodiscard]] Counter& counter_of_thread() noexcept {
    return _counters[thread_slot() % kCounters];
  }
  void leave(Counter& counter) noexcept {
    counter.inside.fetch_sub(1, std::memory_order_seq_cst);
    if (!_closed.load(std::memory_order_seq_cst)) return;
    _left.fetch_add(1, std::memory_order_seq_cst);
    _left.notify_all();
  }

  std::array<Counter, kCounters> _counters;
  alignas(64) std::atomic<bool> _closed{false};
  std::atomic<std::uint64_t> _left{0};  // counts those who leave while it is closed
  std::mutex _closing;
};

}  // namespace vmcache

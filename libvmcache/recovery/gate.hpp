// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "recovery/place_of_thread.hpp"

namespace vmcache {

//! Many may be inside; one may close it, and then waits until nobody is. Who closes has precedence: those that come
//! later wait, or a busy gate would never be empty. To go in and out costs one atomic addition each, to a counter that few
//! others use.
//!
//! Invariant: a visitor counts itself in first and looks at `_closed` then; who closes sets `_closed` first and looks at
//! the counters then (all of it sequentially consistent). So one of the two sees the other: either the visitor goes out again,
//! or it is waited for.
class Gate {
  struct alignas(64) Counter {
    std::atomic<std::uint64_t> inside{0};
  };

 public:
  //! Somebody inside. May be given back by another thread than the one that went in.
  class Inside {
   public:
    //! Waits while the gate is closed.
    explicit Inside(Gate& gate) : Inside(gate, std::try_to_lock) {
      while (_counter == nullptr) {
        gate._closed.wait(true, std::memory_order_seq_cst);
        enter();
      }
    }
    //! Does not wait: see entered().
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

 private:
  static constexpr std::size_t kCounters = 64;

  [[nodiscard]] Counter& counter_of_thread() noexcept { return _counters[place_of_thread() % kCounters]; }
  void leave(Counter& counter) noexcept {
    counter.inside.fetch_sub(1, std::memory_order_seq_cst);
    if (!_closed.load(std::memory_order_seq_cst)) return;
    _left.fetch_add(1, std::memory_order_seq_cst);
    _left.notify_all();
  }
  [[nodiscard]] bool empty() const noexcept {
    for (const Counter& counter : _counters) {
      if (counter.inside.load(std::memory_order_seq_cst) != 0) return false;
    }
    return true;
  }

  std::array<Counter, kCounters> _counters;
  alignas(64) std::atomic<bool> _closed{false};
  std::atomic<std::uint64_t> _left{0};  // grows while it is closed and somebody leaves
  std::mutex _closing;
};

}  // namespace vmcache

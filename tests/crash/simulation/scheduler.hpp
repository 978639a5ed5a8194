// SPDX-License-Identifier: MIT
//
// The inside of Schedule, for those who mark points.
#pragma once

#include <pthread.h>
#include <semaphore.h>

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "crash/simulation/schedule.hpp"

namespace vmcache::test {

//! A thread of the schedule.
struct SimulatedThread {
  enum class State : std::uint8_t { kReady, kBlocked, kEnded };

  unsigned number = 0;
  State state = State::kReady;
  const void* blocked_on = nullptr;  // an address, or null: sleeps
  std::uint64_t deadline_ns = kNever;
  bool timed_out = false;
  void* (*start)(void*) = nullptr;
  void* argument = nullptr;
  void* result = nullptr;
  pthread_t real{};
  sem_t go{};

  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
};

//! Only the thread whose turn it is calls anything here, so nothing is locked.
class Scheduler {
 public:
  explicit Scheduler(const SchedulePlan& plan);
  ~Scheduler();

  //! The schedule's thread that runs this code; null: it is not one of the schedule's.
  [[nodiscard]] static SimulatedThread* self() noexcept { return _self; }
  [[nodiscard]] static Scheduler& get() noexcept { return *_active; }

  //! A marked point; `weight`: how likely a hand-over is here, against an atomic operation.
  static void mark(std::int64_t weight) noexcept {
    if (_self != nullptr && (_budget -= weight) <= 0) _active->hand_over();
  }

  //! Lets another thread run, if there is one.
  void hand_over() noexcept;
  //! Waits for wake(address). False: the deadline came first.
  bool block(const void* address, std::uint64_t deadline_ns = SimulatedThread::kNever);
  //! Lets up to `count` of those that wait there go on.
  unsigned wake(const void* address, unsigned count);
  void sleep_until(std::uint64_t deadline_ns) { (void)block(nullptr, deadline_ns); }

  int create(SimulatedThread*& made, void* (*start)(void*), void* argument);
  void* join(SimulatedThread& thread);
  [[nodiscard]] SimulatedThread& thread(unsigned number) { return *_threads.at(number); }

  //! Looking at the clock is a marked point.
  [[nodiscard]] std::uint64_t now_ns() noexcept;
  [[nodiscard]] std::uint64_t random() { return _random(); }
  [[nodiscard]] std::uint64_t digest() const noexcept { return _digest; }
  [[nodiscard]] std::uint64_t marks() const noexcept {
    return _marks + static_cast<std::uint64_t>(_granted - _budget);
  }

 private:
  friend class Schedule;
  static void* run_thread(void* thread) noexcept;
  void pass_on();
  void settle_clock() noexcept;
  void draw_budget();
  SimulatedThread& choose();
  [[noreturn]] void stuck(const char* what) noexcept;

  static inline thread_local SimulatedThread* _self __attribute__((tls_model("initial-exec"))) =
      nullptr;
  static inline Scheduler* _active = nullptr;
  static inline std::int64_t _budget = 0;  // marks until the next hand-over

  const SchedulePlan _plan;
  std::mt19937_64 _random;
  std::vector<std::unique_ptr<SimulatedThread>> _threads;
  std::vector<SimulatedThread*> _ready;  // scratch of choose()
  std::int64_t _granted = 0;             // _budget when it was drawn
  std::uint64_t _now_ns;
  std::uint64_t _marks = 0;
  std::uint64_t _digest = 0;
};

}  // namespace vmcache::test

// SPDX-License-Identifier: MIT
#include "crash/simulation/scheduler.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace vmcache::test {
namespace {

constexpr std::uint64_t kNsPerMark = 5;
constexpr std::uint64_t kNsPerLook = 100;  // at the clock
constexpr std::uint64_t kMaxStallNs = 1'000'000;
constexpr std::uint64_t kStartNs = 1'000'000'000'000;

void (*report_stuck)(const char* what) = nullptr;
std::uint64_t last_digest = 0;
std::uint64_t last_marks = 0;

int real_create(pthread_t* thread, void* (*start)(void*), void* argument) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const Create create = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, nullptr, start, argument);
}

void real_join(pthread_t thread) {
  using Join = int (*)(pthread_t, void**);
  static const Join join = reinterpret_cast<Join>(::dlsym(RTLD_NEXT, "pthread_join"));
  (void)join(thread, nullptr);
}

void wait_for_turn(SimulatedThread& thread) noexcept {
  while (::sem_wait(&thread.go) != 0) {  // EINTR: somebody looks at us with a debugger
  }
}

}  // namespace

Scheduler::Scheduler(const SchedulePlan& plan)
    : _plan(plan), _random(plan.seed), _now_ns(kStartNs) {
  if (_active != nullptr) std::abort();
  _threads.push_back(std::make_unique<SimulatedThread>());
  ::sem_init(&_threads[0]->go, 0, 0);
  _active = this;
  draw_budget();
  _self = _threads[0].get();
}

Scheduler::~Scheduler() {
  settle_clock();
  _self = nullptr;
  _active = nullptr;
  last_digest = _digest;
  last_marks = _marks;
  for (const auto& thread : _threads) ::sem_destroy(&thread->go);
}

//! What was used of the budget becomes time.
void Scheduler::settle_clock() noexcept {
  const auto used = static_cast<std::uint64_t>(_granted - _budget);
  _granted = _budget;
  _marks += used;
  _now_ns += used * kNsPerMark;
  if (_marks > _plan.max_marks) stuck("does not end");
}

std::uint64_t Scheduler::now_ns() noexcept {
  mark(1);
  settle_clock();
  return _now_ns += kNsPerLook;
}

//! Most hand-overs come early, so that two threads take turns within a few steps; some bursts are
//! long, so that one gets far while another stands still.
void Scheduler::draw_budget() {
  const std::uint64_t kind = _random() % 8;
  const std::uint64_t max = kind == 0  ? 32 * std::uint64_t{_plan.burst}
                            : kind < 3 ? 4
                                       : 2 * std::uint64_t{_plan.burst};
  _budget = _granted = static_cast<std::int64_t>(1 + _random() % max);
}

void Scheduler::hand_over() noexcept {
  if (_random() % 100 < _plan.stall_percent && _threads.size() > 1) {
    settle_clock();
    return sleep_until(_now_ns + _random() % kMaxStallNs);
  }
  pass_on();
}

SimulatedThread& Scheduler::choose() {
  using State = SimulatedThread::State;
  for (;;) {
    _ready.clear();
    std::uint64_t next_ns = SimulatedThread::kNever;
    for (const auto& thread : _threads) {
      if (thread->state == State::kBlocked && thread->deadline_ns <= _now_ns) {
        thread->state = State::kReady;
        thread->timed_out = true;
      }
      if (thread->state == State::kReady) _ready.push_back(thread.get());
      if (thread->state == State::kBlocked) next_ns = std::min(next_ns, thread->deadline_ns);
    }
    if (!_ready.empty()) return *_ready[_random() % _ready.size()];
    if (next_ns == SimulatedThread::kNever) stuck("no thread can ever run again");
    _now_ns = next_ns;
  }
}

void Scheduler::pass_on() {
  settle_clock();
  SimulatedThread& from = *_self;
  SimulatedThread& to = choose();
  _digest = (_digest ^ (_marks << 8 | to.number)) * 0x9e3779b97f4a7c15;
  draw_budget();
  if (&to == &from) return;
  ::sem_post(&to.go);
  if (from.state != SimulatedThread::State::kEnded) wait_for_turn(from);
}

bool Scheduler::block(const void* address, std::uint64_t deadline_ns) {
  SimulatedThread& thread = *_self;
  thread.blocked_on = address;
  thread.deadline_ns = deadline_ns;
  thread.timed_out = false;
  thread.state = SimulatedThread::State::kBlocked;
  pass_on();
  return !thread.timed_out;
}

unsigned Scheduler::wake(const void* address, unsigned count) {
  std::vector<SimulatedThread*> waiting;
  for (const auto& thread : _threads) {
    if (thread->state == SimulatedThread::State::kBlocked && thread->blocked_on == address &&
        address != nullptr)
      waiting.push_back(thread.get());
  }
  const std::size_t woken = std::min<std::size_t>(count, waiting.size());
  for (std::size_t n = 0; n < woken; ++n) {
    std::swap(waiting[n], waiting[n + _random() % (waiting.size() - n)]);
    waiting[n]->state = SimulatedThread::State::kReady;
  }
  return static_cast<unsigned>(woken);
}

void* Scheduler::run_thread(void* thread) noexcept {
  auto& self = *static_cast<SimulatedThread*>(thread);
  wait_for_turn(self);
  _self = &self;
  self.result = self.start(self.argument);
  Scheduler& scheduler = get();
  self.state = SimulatedThread::State::kEnded;
  scheduler.wake(&self, ~0u);
  scheduler.pass_on();
  _self = nullptr;
  return nullptr;
}

int Scheduler::create(SimulatedThread*& made, void* (*start)(void*), void* argument) {
  auto thread = std::make_unique<SimulatedThread>();
  thread->number = static_cast<unsigned>(_threads.size());
  thread->start = start;
  thread->argument = argument;
  ::sem_init(&thread->go, 0, 0);
  if (const int error = real_create(&thread->real, run_thread, thread.get()); error != 0)
    return error;
  made = thread.get();
  _threads.push_back(std::move(thread));
  mark(16);
  return 0;
}

void* Scheduler::join(SimulatedThread& thread) {
  while (thread.state != SimulatedThread::State::kEnded) (void)block(&thread);
  real_join(thread.real);
  return thread.result;
}

void Scheduler::stuck(const char* what) noexcept {
  for (const auto& thread : _threads) {
    std::printf("  thread %u: %s at %p until %lu\n", thread->number,
                thread->state == SimulatedThread::State::kReady     ? "ready"
                : thread->state == SimulatedThread::State::kBlocked ? "blocked"
                                                                    : "ended",
                thread->blocked_on, static_cast<unsigned long>(thread->deadline_ns));
  }
  if (report_stuck != nullptr) report_stuck(what);
  std::abort();
}

Schedule::Schedule(const SchedulePlan& plan) {
  new Scheduler(plan);  // is Scheduler::get() until ~Schedule()
}
Schedule::~Schedule() {
  delete &Scheduler::get();
}
bool Schedule::deterministic() noexcept {
  return true;
}
std::uint64_t Schedule::digest() noexcept {
  return Scheduler::self() != nullptr ? Scheduler::get().digest() : last_digest;
}
std::uint64_t Schedule::marks() noexcept {
  return Scheduler::self() != nullptr ? Scheduler::get().marks() : last_marks;
}
void Schedule::on_stuck(void (*report)(const char* what)) noexcept {
  report_stuck = report;
}

}  // namespace vmcache::test

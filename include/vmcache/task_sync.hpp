// SPDX-License-Identifier: MIT
//
// For tasks that wait for each other: semaphore, mutex, channel, and groups of tasks.
//
// A task that waits is suspended, and the others of its Worker run on. Semaphore, TaskMutex and
// Channel join tasks of one or several Workers of a process; whoever came first goes on first. A
// Worker that is destroyed while a task of it holds or waits leaves them as they are, so others may
// wait for ever.
//
// Invariants
//  Y1  A permit is counted, or held, or on its way to one task.
//  Y2  While a task waits, no permit is counted.
//  Y3  Who is woken has left the list before. Nobody touches its Waiter afterwards: the frame in
//      which it lies may be gone.
//
// Interleavings that would break them (tests in tests/pool/task_sync_test.cpp)
//  Y1  A permit is counted for a task that waits, and another task takes it before that one runs.
//  Y2  A task finds no permit, another gives one back and finds nobody who waits, and the first one
//      waits.
//  Y3  The task runs in its own thread, and ends, while release() still reads where the list goes
//      on.
#pragma once

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "vmcache/export.hpp"
#include "vmcache/inbox.hpp"
#include "vmcache/task.hpp"
#include "vmcache/worker.hpp"

namespace VMCACHE_EXPORT vmcache {
namespace detail {

//! A suspended task in a list of those that wait. Lies in the task's frame.
struct Waiter {
  Wake wake;
  std::shared_ptr<InboxQueue> home;  // wakes it in its own thread
  Waiter* next = nullptr;
};

//! First come, first woken. Its user has a lock.
class WaitList {
 public:
  void push(Waiter& waiter) noexcept {
    waiter.next = nullptr;
    (_first == nullptr ? _first : _last->next) = &waiter;
    _last = &waiter;
  }
  [[nodiscard]] Waiter* pop() noexcept {
    Waiter* const first = _first;
    if (first != nullptr) _first = first->next;
    return first;
  }

 private:
  Waiter* _first = nullptr;
  Waiter* _last = nullptr;
};

//! Prepares a task of `worker` to be woken. Throws what Worker::inbox() throws.
void prepare_wait(Worker& worker, Waiter& waiter, std::coroutine_handle<> task);
//! Wakes the task, which may be gone when this returns, and its Waiter with it.
void wake_up(Waiter& waiter) noexcept;

}  // namespace detail

//! A number of permits. Any thread may call release() and try_acquire(); tasks await acquire().
class Semaphore {
 public:
  explicit Semaphore(std::size_t permits) noexcept : _permits(permits) {}
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  //! `co_await semaphore.acquire(worker)` takes a permit. Throws what Worker::inbox() throws, if it
  //! has to wait.
  [[nodiscard]] auto acquire(Worker& worker) noexcept { return Awaiter(*this, worker); }
  //! Takes a permit if there is one and nobody waits.
  [[nodiscard]] bool try_acquire() noexcept;
  //! Gives permits, to those that wait first.
  void release(std::size_t permits = 1) noexcept;

 private:
  class Awaiter {
   public:
    Awaiter(Semaphore& semaphore, Worker& worker) noexcept
        : _semaphore(semaphore), _worker(worker) {}
    [[nodiscard]] bool await_ready() noexcept { return _semaphore.try_acquire(); }
    bool await_suspend(std::coroutine_handle<> task) {
      detail::prepare_wait(_worker, _waiter, task);
      return _semaphore.wait(_waiter);
    }
    void await_resume() const noexcept {}

   private:
    Semaphore& _semaphore;
    Worker& _worker;
    detail::Waiter _waiter;
  };

  //! False if a permit came meanwhile: then it is taken.
  [[nodiscard]] bool wait(detail::Waiter& waiter) noexcept;

  std::mutex _mutex;
  std::size_t _permits;
  detail::WaitList _waiting;
};

//! One task at a time. It may hold the lock while it waits for pages, the log or a socket.
class TaskMutex {
 public:
  //! Unlocks when it goes.
  class Lock {
   public:
    Lock() noexcept = default;
    explicit Lock(TaskMutex& mutex) noexcept : _mutex(&mutex) {}
    Lock(Lock&& other) noexcept : _mutex(std::exchange(other._mutex, nullptr)) {}
    Lock& operator=(Lock&& other) noexcept {
      std::swap(_mutex, other._mutex);
      return *this;
    }
    ~Lock() {
      if (_mutex != nullptr) _mutex->_semaphore.release();
    }

   private:
    TaskMutex* _mutex = nullptr;
  };

  //! Throws what Worker::inbox() throws, if it has to wait.
  [[nodiscard]] Task<Lock> lock(Worker& worker) {
    co_await _semaphore.acquire(worker);
    co_return Lock(*this);
  }

 private:
  Semaphore _semaphore{1};
};

//! Values from tasks to tasks, at most `capacity` of them on their way (1 or more).
template <typename T>
class Channel {
 public:
  explicit Channel(std::size_t capacity) : _room(std::max<std::size_t>(capacity, 1)) {}

  //! Waits while the channel is full. False if it is closed: the value is then dropped.
  [[nodiscard]] Task<bool> send(Worker& worker, T value) {
    co_await _room.acquire(worker);
    Permit room(_room);
    const std::lock_guard lock(_mutex);
    if (_closed) co_return false;
    _values.push_back(std::move(value));
    room.pass_to(_filled);
    co_return true;
  }
  //! Waits for a value. Nullopt if the channel is closed and empty.
  [[nodiscard]] Task<std::optional<T>> receive(Worker& worker) {
    co_await _filled.acquire(worker);
    Permit filled(_filled);  // of a closed channel, the next one learns it, too
    const std::lock_guard lock(_mutex);
    if (_values.empty()) co_return std::nullopt;
    std::optional<T> value(std::move(_values.front()));
    _values.pop_front();
    filled.pass_to(_room);
    co_return value;
  }
  //! Nothing more is taken. What is in it can still be received. Any thread may call it.
  void close() noexcept {
    const std::lock_guard lock(_mutex);
    if (std::exchange(_closed, true)) return;
    _filled.release();
    _room.release();
  }

 private:
  //! Given back when it goes, by default to where it is from.
  class Permit {
   public:
    explicit Permit(Semaphore& from) noexcept : _to(&from) {}
    ~Permit() { _to->release(); }
    Permit(const Permit&) = delete;
    Permit& operator=(const Permit&) = delete;
    void pass_to(Semaphore& to) noexcept { _to = &to; }

   private:
    Semaphore* _to;
  };

  std::mutex _mutex;
  std::deque<T> _values;
  bool _closed = false;
  Semaphore _room;
  Semaphore _filled{0};
};

//! Tasks of one Worker that another task of it waits for.
class TaskGroup {
 public:
  explicit TaskGroup(Worker& worker) : _worker(worker), _state(std::make_shared<State>()) {}

  //! Throws as Worker::spawn() does.
  void spawn(Task<> task) {
    _worker.spawn(run(_worker, _state, std::move(task)));
    ++_state->running;
  }
  //! Waits until all of them have ended, and throws the first exception that left one of them. One
  //! task at a time may wait. If the group goes before, its tasks run on.
  [[nodiscard]] auto join() noexcept { return Join(*_state); }
  [[nodiscard]] std::size_t running() const noexcept { return _state->running; }

 private:
  struct State {
    std::size_t running = 0;
    std::coroutine_handle<> joining{};
    std::exception_ptr error;
  };
  class Join {
   public:
    explicit Join(State& state) noexcept : _state(state) {}
    [[nodiscard]] bool await_ready() const noexcept { return _state.running == 0; }
    void await_suspend(std::coroutine_handle<> task) noexcept { _state.joining = task; }
    void await_resume() const {
      if (_state.error) std::rethrow_exception(std::exchange(_state.error, nullptr));
    }

   private:
    State& _state;
  };

  static Task<> run(Worker& worker, std::shared_ptr<State> state, Task<> task) {
    try {
      co_await task;
    } catch (...) {
      if (!state->error) state->error = std::current_exception();
    }
    if (--state->running == 0 && state->joining)
      worker.make_ready(std::exchange(state->joining, {}));
  }

  Worker& _worker;
  std::shared_ptr<State> _state;
};

//! Runs the tasks side by side and waits for all of them. Throws the first exception that left one.
[[nodiscard]] inline Task<> when_all(Worker& worker, std::vector<Task<>> tasks) {
  TaskGroup group(worker);
  for (Task<>& task : tasks) group.spawn(std::move(task));
  co_await group.join();
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Work for a Worker from other threads: docs/scheduler.md.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "vmcache/error.hpp"
#include "vmcache/export.hpp"
#include "vmcache/operation.hpp"
#include "vmcache/task.hpp"

namespace VMCACHE_EXPORT vmcache {

class Worker;

namespace detail {

class InboxQueue;

template <typename T>
struct TaskResult {
  using type = T;
  static constexpr bool kTask = false;
};
template <typename T>
struct TaskResult<Task<T>> {
  using type = T;
  static constexpr bool kTask = true;
};
//! What `F` gives, by itself or through the Task that it returns.
template <typename F>
using ResultOf = typename TaskResult<std::invoke_result_t<F&>>::type;

//! Keeps `work` until it has ended.
template <typename F>
Task<ResultOf<F>> run_work(F work) {
  if constexpr (TaskResult<std::invoke_result_t<F&>>::kTask) {
    co_return co_await work();
  } else {
    co_return work();
  }
}

template <typename T>
class Answer;

}  // namespace detail

//! The way into a Worker from other threads (Worker::inbox()). A handle that can be copied, and
//! that may outlive its Worker.
//!
//! Thread-safe. In a child of fork() its calls throw Error kWrongProcess.
class Inbox {
 public:
  //! How much can wait in it. The Worker empties it once a round.
  static constexpr std::size_t kSlots = 1024;

  enum class Post : std::uint8_t {
    kTaken,
    kFull,    //!< kSlots wait already: try again later, or do something else
    kClosed,  //!< the Worker is gone
  };

  //! Hands over a callable, which runs as a task of the Worker in its thread. It returns nothing or
  //! a Task<>. It is kept until the task has ended, so the coroutine of a lambda may use what the
  //! lambda has captured. An exception comes out of the Worker's run(), poll() or serve(). What
  //! still waits when the Worker is destroyed is dropped without having run. Never waits. Throws
  //! std::bad_alloc.
  template <typename F>
  requires std::is_void_v<detail::ResultOf<F>>
  [[nodiscard]] Post post(F work) {
    Task<> task = detail::run_work(std::move(work));
    return put(task);
  }
  //! The same with a result, or an exception, for a thread that waits for it. If the work is
  //! dropped, the future has std::future_error (broken_promise). Nullopt: the inbox is full. Throws
  //! Error kClosed (the Worker is gone), std::bad_alloc.
  template <typename F>
  [[nodiscard]] std::optional<std::future<detail::ResultOf<F>>> ask(F work) {
    std::promise<detail::ResultOf<F>> promise;
    auto future = promise.get_future();
    Task<> task = run_asked(detail::run_work(std::move(work)), std::move(promise));
    const Post result = put(task);
    if (result == Post::kClosed) refuse();
    if (result == Post::kFull) return std::nullopt;
    return future;
  }
  //! The same, for a task of another Worker, `mine`: `co_await inbox.call(mine, work)` gives the
  //! result or throws the exception. While the inbox is full, the task waits. Throws Error kClosed
  //! if the Worker is gone, before or after it took the work.
  template <typename F>
  [[nodiscard]] Task<detail::ResultOf<F>> call(Worker& mine, F work) {
    return call_from(*this, mine, std::move(work));
  }

  //! Has the Worker's run() or serve(), the present or the next one, return after its round. Tasks
  //! that have not ended stay as they are, and go on with the next call of run(), serve() or
  //! poll(). No effect if the Worker is gone.
  void stop();

  explicit Inbox(std::shared_ptr<detail::InboxQueue> queue) noexcept : _queue(std::move(queue)) {}
  //! For awaitables whose tasks other threads wake.
  [[nodiscard]] const std::shared_ptr<detail::InboxQueue>& queue() const noexcept { return _queue; }

 private:
  template <typename T>
  friend class detail::Answer;

  template <typename R>
  static Task<> run_asked(Task<R> work, std::promise<R> promise) {
    try {
      if constexpr (std::is_void_v<R>) {
        co_await work;
        promise.set_value();
      } else {
        promise.set_value(co_await work);
      }
    } catch (...) {
      promise.set_exception(std::current_exception());
    }
  }

  template <typename F>
  static Task<detail::ResultOf<F>> call_from(Inbox to, Worker& mine, F work);

  //! Takes the task out of `task` if there is room.
  Post put(Task<>& task);
  [[noreturn]] static void refuse();

  std::shared_ptr<detail::InboxQueue> _queue;
};

namespace detail {

//! A task that another Worker's thread makes ready again. Lives in the task's frame.
struct Wake {
  std::coroutine_handle<> task;
  Wake* next = nullptr;
};

struct Nothing {};

//! What a task waits for that called another Worker. Lives in its frame.
template <typename T>
class Answer {
 public:
  using Value = std::conditional_t<std::is_void_v<T>, Nothing, T>;

  explicit Answer(Inbox back) noexcept : _back(std::move(back)) {}

  //! In the other Worker. Wakes the task when it goes, whether or not the work was done.
  class Sender {
   public:
    explicit Sender(Answer& answer) noexcept : _answer(&answer) {}
    Sender(Sender&& other) noexcept : _answer(std::exchange(other._answer, nullptr)) {}
    Sender(const Sender&) = delete;
    Sender& operator=(const Sender&) = delete;
    ~Sender() {
      if (_answer != nullptr && _answer->_awaited) _answer->wake();
    }
    Answer& operator*() const noexcept { return *_answer; }

   private:
    Answer* _answer;
  };

  //! `work` comes second, so that it is destroyed before the Sender goes.
  static Task<> run(Sender sender, Task<T> work) {
    Answer& answer = *sender;
    try {
      if constexpr (std::is_void_v<T>) {
        co_await work;
        answer._value.emplace();
      } else {
        answer._value.emplace(co_await work);
      }
    } catch (...) {
      answer._error = std::current_exception();
    }
  }

  //! Puts `work` into `to` and suspends until its Sender goes. Otherwise goes on at once, with what
  //! kept it from that.
  auto send(Inbox& to, Task<>& work) noexcept {
    struct Awaiter {
      Answer& answer;
      Inbox& to;
      Task<>& work;
      Inbox::Post result = Inbox::Post::kTaken;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> task) {
        answer._wake.task = task;
        answer._awaited = true;
        result = to.put(work);
        if (result == Inbox::Post::kTaken) return true;
        answer._awaited = false;
        return false;
      }
      [[nodiscard]] Inbox::Post await_resume() const noexcept { return result; }
    };
    return Awaiter{*this, to, work};
  }

  T take() {
    if (_error) std::rethrow_exception(_error);
    if (!_value) Inbox::refuse();
    if constexpr (!std::is_void_v<T>) return std::move(*_value);
  }

 private:
  void wake() noexcept;

  Inbox _back;
  Wake _wake;
  bool _awaited = false;  // set before the work is handed over
  std::optional<Value> _value;
  std::exception_ptr _error;
};

void wake(InboxQueue& queue, Wake& wake) noexcept;

template <typename T>
void Answer<T>::wake() noexcept {
  // The task may be gone as soon as it is woken, and this object with it.
  const std::shared_ptr<InboxQueue> queue = _back._queue;
  detail::wake(*queue, _wake);
}

//! Waits a little, once.
struct PauseOnce {
  bool paused = false;
  Need step(BufferPool&) noexcept {
    return std::exchange(paused, true) ? Need::nothing() : Need::pause();
  }
  void supply(ExclusiveGuard&&) noexcept {}
};

}  // namespace detail
}  // namespace vmcache

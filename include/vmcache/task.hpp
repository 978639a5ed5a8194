// SPDX-License-Identifier: MIT
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

template <typename T>
class Task;

namespace detail {

struct TaskPromiseBase {
  std::coroutine_handle<> continuation = std::noop_coroutine();
  std::exception_ptr error;

  struct FinalAwaiter {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      return self.promise().continuation;
    }
    void await_resume() const noexcept {}
  };

  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }
};

template <typename T>
struct TaskPromise : TaskPromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() noexcept;
  template <typename U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() {
    if (error) std::rethrow_exception(error);
    return std::move(*value);
  }
};

template <>
struct TaskPromise<void> : TaskPromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const {
    if (error) std::rethrow_exception(error);
  }
};

}  // namespace detail

//! A coroutine that starts when it is awaited or given to Worker::spawn, and resumes its awaiter
//! when it ends. It can be moved, not copied. An exception in it comes out of the co_await.
template <typename T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::TaskPromise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() noexcept = default;
  explicit Task(Handle handle) noexcept : _handle(handle) {}
  Task(Task&& other) noexcept : _handle(std::exchange(other._handle, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (_handle) _handle.destroy();
      _handle = std::exchange(other._handle, {});
    }
    return *this;
  }
  ~Task() {
    if (_handle) _handle.destroy();
  }

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) const noexcept {
    _handle.promise().continuation = awaiting;
    return _handle;
  }
  T await_resume() const { return _handle.promise().take(); }

  //! False if there is no coroutine: default-constructed, moved from, or released.
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(_handle); }

  //! For schedulers: hands over the coroutine, which the caller must then destroy.
  [[nodiscard]] Handle release() noexcept { return std::exchange(_handle, {}); }

 private:
  Handle _handle;
};

template <typename T>
Task<T> detail::TaskPromise<T>::get_return_object() noexcept {
  return Task<T>{std::coroutine_handle<TaskPromise<T>>::from_promise(*this)};
}
inline Task<void> detail::TaskPromise<void>::get_return_object() noexcept {
  return Task<void>{std::coroutine_handle<TaskPromise<void>>::from_promise(*this)};
}

}  // namespace vmcache

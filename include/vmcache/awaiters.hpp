// SPDX-License-Identifier: MIT
//
// What Worker's awaitable calls return. Included by worker.hpp; nothing here is named by users.
#pragma once

#include <coroutine>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "vmcache/worker.hpp"

namespace vmcache {

//! A request on behalf of one suspended task.
class FaultAwaiter {
 protected:
  explicit FaultAwaiter(Worker& worker) noexcept : _worker(worker) {}

  void set_task(std::coroutine_handle<> task, void (*done)(FaultRequest&) noexcept) noexcept {
    _task = task;
    _request.asker = this;
    _request.done = done;
  }
  void start(Extent extent, FaultRequest::Goal goal) {
    _request.extent = extent;
    _request.goal = goal;
    _request.status = {};
    _worker.start(_request);
  }
  void resume() noexcept { _worker.make_ready(_task); }
  void throw_if_failed() const { _worker.settle(_request); }
  //! The page of a request that ended with a latch for us.
  [[nodiscard]] PageRef page() const noexcept { return _worker.pool().page_ref(_request.extent.page_id); }

  Worker& _worker;
  FaultRequest _request;
  std::coroutine_handle<> _task;
};

template <typename Guard>
class Worker::FixAwaiter : FaultAwaiter {
 public:
  FixAwaiter(Worker& worker, Extent extent) noexcept : FaultAwaiter(worker), _extent(extent) {}

  [[nodiscard]] bool await_ready() noexcept {
    return _worker.pool().try_fix(_extent.page_id, _guard) == TryFix::kFixed;
  }
  void await_suspend(std::coroutine_handle<> task) {
    set_task(task, &on_done);
    start(_extent, kGoal);
  }
  [[nodiscard]] Guard await_resume() {
    if (!_guard) throw_if_failed();
    return std::move(_guard);
  }

 private:
  using Goal = FaultRequest::Goal;
  static constexpr bool kOptimistic = std::is_same_v<Guard, OptimisticGuard>;
  static constexpr Goal kGoal = kOptimistic                          ? Goal::kResident
                                : std::is_same_v<Guard, SharedGuard> ? Goal::kShared
                                                                     : Goal::kExclusive;

  static void on_done(FaultRequest& request) noexcept {
    auto& self = *static_cast<FixAwaiter*>(static_cast<FaultAwaiter*>(request.asker));
    if (request.status.ok()) {
      if constexpr (kOptimistic) {
        // Evicted or latched again already? Then once more: a guard must start from a readable word.
        const TryFix result = self._worker.pool().try_fix(self._extent.page_id, self._guard);
        if (result != TryFix::kFixed) {
          return self.start(self._extent, result == TryFix::kBusy ? Goal::kRetry : Goal::kResident);
        }
      } else {
        self._guard = Guard{self.page()};
      }
    }
    self.resume();
  }

  Extent _extent;
  Guard _guard;
};

class Worker::AllocateAwaiter : FaultAwaiter {
 public:
  AllocateAwaiter(Worker& worker, unsigned order) noexcept : FaultAwaiter(worker), _order(order) {}

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) {
    set_task(task, [](FaultRequest& request) noexcept {
      static_cast<AllocateAwaiter*>(static_cast<FaultAwaiter*>(request.asker))->resume();
    });
    _worker.start_allocate(_request, _order);
  }
  [[nodiscard]] ExclusiveGuard await_resume() const {
    throw_if_failed();
    return ExclusiveGuard{page()};
  }

 private:
  unsigned _order;
};

template <Operation Op>
class Worker::PerformAwaiter : FaultAwaiter {
 public:
  PerformAwaiter(Worker& worker, Op& op) noexcept : FaultAwaiter(worker), _op(op) {}

  [[nodiscard]] bool await_ready() {
    _need = _op.step(_worker.pool());
    return _need.done();
  }
  void await_suspend(std::coroutine_handle<> task) {
    set_task(task, &on_done);
    get_need();
  }
  void await_resume() const {
    if (_error) std::rethrow_exception(_error);
    throw_if_failed();
  }

 private:
  using Goal = FaultRequest::Goal;

  void get_need() {
    switch (_need.kind) {
      case Need::Kind::kPage:
        return start(_need.extent, Goal::kResident);
      case Need::Kind::kLatch:
        return start({}, Goal::kRetry);
      case Need::Kind::kPause:
        return start({}, Goal::kPause);
      case Need::Kind::kNewExtent:
        return _worker.start_allocate(_request, _need.extent.order);
      case Need::Kind::kNothing:
        return resume();
    }
  }
  static void on_done(FaultRequest& request) noexcept {
    auto& self = *static_cast<PerformAwaiter*>(static_cast<FaultAwaiter*>(request.asker));
    if (!self._need.tolerates(request.status, self._stale)) return self.resume();
    request.status = {};
    try {
      if (request.goal == Goal::kNew) self._op.supply(ExclusiveGuard{self.page()});
      self._need = self._op.step(self._worker.pool());
      self.get_need();
    } catch (...) {
      self._error = std::current_exception();
      self.resume();
    }
  }

  Op& _op;
  Need _need;
  unsigned _stale = 0;
  std::exception_ptr _error;
};

class Worker::PrefetchAwaiter {
 public:
  PrefetchAwaiter(Worker& worker, std::span<const Extent> extents);
  [[nodiscard]] bool await_ready() const noexcept { return _requests.empty(); }
  void await_suspend(std::coroutine_handle<> task);
  void await_resume() const;

 private:
  Worker& _worker;
  std::vector<FaultRequest> _requests;
  std::size_t _outstanding = 0;
  std::coroutine_handle<> _task;
};

class Worker::YieldAwaiter {
 public:
  explicit YieldAwaiter(Worker& worker) noexcept : _worker(worker) {}
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) { _worker.make_ready(task); }
  void await_resume() const noexcept {}

 private:
  Worker& _worker;
};

inline auto Worker::fix_optimistic(PageId page_id, unsigned order) noexcept -> FixAwaiter<OptimisticGuard> {
  return {*this, Extent{page_id, order}};
}
inline auto Worker::fix_shared(PageId page_id, unsigned order) noexcept -> FixAwaiter<SharedGuard> {
  return {*this, Extent{page_id, order}};
}
inline auto Worker::fix_exclusive(PageId page_id, unsigned order) noexcept -> FixAwaiter<ExclusiveGuard> {
  return {*this, Extent{page_id, order}};
}
inline auto Worker::allocate(unsigned order) noexcept -> AllocateAwaiter {
  return {*this, order};
}
inline auto Worker::prefetch(std::span<const Extent> extents) -> PrefetchAwaiter {
  return {*this, extents};
}
template <Operation Op>
auto Worker::perform(Op& op) noexcept -> PerformAwaiter<Op> {
  return {*this, op};
}
inline auto Worker::yield() noexcept -> YieldAwaiter {
  return YieldAwaiter{*this};
}

}  // namespace vmcache

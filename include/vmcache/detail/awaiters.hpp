// SPDX-License-Identifier: MIT
//
// What Worker's awaitable calls return. Users name nothing in it.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/detail/fault.hpp"
#include "vmcache/detail/worker_core.hpp"
#include "vmcache/export.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/operation.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT detail {

//! Whose page ids an awaitable has: those of the Worker's own pool, which need no memory ...
struct OwnPages {
  [[nodiscard]] static BufferPool& of(const WorkerCore& worker) noexcept { return worker.pool(); }
};
//! ... or those of a file in the same pool.
struct PagesOfFile {
  BufferPool& file;
  [[nodiscard]] BufferPool& of(const WorkerCore& /*worker*/) const noexcept { return file; }
};

//! A request on behalf of one suspended task. Its page ids are those of `pages`.
class FaultAwaiter {
 protected:
  explicit FaultAwaiter(WorkerCore& worker) noexcept : _worker(worker) {}

  void set_task(std::coroutine_handle<> task, void (*done)(FaultRequest&) noexcept) noexcept {
    _task = task;
    _request.user_data = this;
    _request.on_complete = done;
  }
  void start(const BufferPool& pages, Extent extent, FaultRequest::Goal goal) {
    _request.extent = pages.pool_extent(extent);
    _request.goal = goal;
    _request.status = {};
    _worker.start(_request, pages);
  }
  void resume() noexcept { _worker.make_ready(_task); }
  void throw_if_failed(BufferPool& pages) const { _worker.settle(_request, pages); }
  //! The page of a request that ended with a latch for the task.
  [[nodiscard]] PageRef page(const BufferPool& pages) const noexcept {
    return pages.page_ref(_request.extent.page_id - pages.pool_begin());
  }

  WorkerCore& _worker;
  FaultRequest _request;
  std::coroutine_handle<> _task;
};

template <typename Guard, typename Pages = OwnPages>
class FixAwaiter : FaultAwaiter {
 public:
  FixAwaiter(WorkerCore& worker, Extent extent, Pages pages = {}) noexcept
      : FaultAwaiter(worker), _extent(extent), _pages(pages) {}

  [[nodiscard]] bool await_ready() noexcept {
    if (_worker.safepoint().due()) [[unlikely]]
      return false;  // as if it had missed: the engine's next turn finds the page
    return pages().try_fix(_extent.page_id, _guard) == TryFix::kFixed &&
           (_extent.order == 0 || fits());
  }
  void await_suspend(std::coroutine_handle<> task) {
    set_task(task, &on_done);
    start(pages(), _extent, kGoal);
  }
  [[nodiscard]] Guard await_resume() {
    if (!_guard) throw_if_failed(pages());
    return std::move(_guard);
  }

 private:
  [[nodiscard]] BufferPool& pages() const noexcept { return _pages.of(_worker); }
  //! Whether the resident extent has the order that was asked for. If not, the fault says so.
  [[nodiscard]] bool fits() noexcept {
    const bool fits = _guard.state().load(std::memory_order_relaxed).order() == _extent.order;
    if (!fits) let_go(_guard);
    return fits;
  }

  using Goal = FaultRequest::Goal;
  static constexpr bool kOptimistic = std::is_same_v<Guard, OptimisticGuard>;
  static constexpr Goal kGoal = kOptimistic                          ? Goal::kResident
                                : std::is_same_v<Guard, SharedGuard> ? Goal::kShared
                                                                     : Goal::kExclusive;

  static void on_done(FaultRequest& request) noexcept {
    auto& self = *static_cast<FixAwaiter*>(static_cast<FaultAwaiter*>(request.user_data));
    if (request.status.ok()) {
      if constexpr (kOptimistic) {
        // Evicted or latched again already? Then fault once more: a guard must start from a
        // readable word.
        const TryFix result = self.pages().try_fix(self._extent.page_id, self._guard);
        if (result != TryFix::kFixed) {
          return self.start(self.pages(), self._extent,
                            result == TryFix::kBusy ? Goal::kRetry : Goal::kResident);
        }
      } else {
        self._guard = Guard{self.page(self.pages())};
      }
    }
    self.resume();
  }

  Extent _extent;
  Guard _guard;
  [[no_unique_address]] Pages _pages;
};

class AllocateAwaiter : FaultAwaiter {
 public:
  AllocateAwaiter(WorkerCore& worker, BufferPool& pages, unsigned order) noexcept
      : FaultAwaiter(worker), _pages(pages), _order(order) {}

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) {
    set_task(task, [](FaultRequest& request) noexcept {
      static_cast<AllocateAwaiter*>(static_cast<FaultAwaiter*>(request.user_data))->resume();
    });
    _worker.start_allocate(_request, _order, _pages);
  }
  [[nodiscard]] ExclusiveGuard await_resume() const {
    throw_if_failed(_pages);
    return ExclusiveGuard{page(_pages)};
  }

 private:
  BufferPool& _pages;
  unsigned _order;
};

class FreeAwaiter : FaultAwaiter {
 public:
  //! `guard` is empty if nothing is left to do.
  FreeAwaiter(WorkerCore& worker, BufferPool& pages, ExclusiveGuard guard, Extent extent) noexcept
      : FaultAwaiter(worker), _pages(pages), _guard(std::move(guard)), _extent(extent) {}

  [[nodiscard]] bool await_ready() const noexcept { return !_guard; }
  bool await_suspend(std::coroutine_handle<> task);
  void await_resume() const noexcept {}

 private:
  BufferPool& _pages;
  ExclusiveGuard _guard;
  Extent _extent;
};

//! An operation on the pages of a certain pool or file has pool(). Others take what they are given.
template <typename Op>
concept HasPool = requires(const Op& op) {
  { op.pool() } -> std::same_as<BufferPool&>;
};

template <Operation Op>
class PerformAwaiter : FaultAwaiter {
 public:
  PerformAwaiter(WorkerCore& worker, Op& op) noexcept : FaultAwaiter(worker), _op(op) {
    if constexpr (LongOperation<Op>) _op.heed(&worker.safepoint());
  }
  PerformAwaiter(const PerformAwaiter&) = delete;
  PerformAwaiter& operator=(const PerformAwaiter&) = delete;
  ~PerformAwaiter() {
    if constexpr (LongOperation<Op>) _op.heed(nullptr);
  }

  [[nodiscard]] bool await_ready() {
    if (_worker.safepoint().due()) [[unlikely]] {
      _need = Need::turn();
      return false;
    }
    _need = _op.step(pages());
    return _need.done();
  }
  void await_suspend(std::coroutine_handle<> task) {
    set_task(task, &on_done);
    get_need();
  }
  void await_resume() const {
    if (_error) std::rethrow_exception(_error);
    throw_if_failed(pages());
  }

 private:
  using Goal = FaultRequest::Goal;

  [[nodiscard]] BufferPool& pages() const noexcept {
    if constexpr (HasPool<Op>) {
      return _op.pool();
    } else {
      return _worker.pool();
    }
  }

  void get_need() {
    switch (_need.kind) {
      case Need::Kind::kPage:
        return start(pages(), _need.extent, Goal::kResident);
      case Need::Kind::kLatch:
        return start(pages(), _need.extent, Goal::kRetry);
      case Need::Kind::kPause:
        return start(pages(), {}, Goal::kPause);
      case Need::Kind::kTurn:
        return start(pages(), {}, Goal::kTurn);
      case Need::Kind::kNewExtent:
        return _worker.start_allocate(_request, _need.extent.order, pages());
      case Need::Kind::kNothing:
        return resume();
    }
  }
  static void on_done(FaultRequest& request) noexcept {
    auto& self = *static_cast<PerformAwaiter*>(static_cast<FaultAwaiter*>(request.user_data));
    if (!self._need.tolerates(request.status, self._stale)) return self.resume();
    request.status = {};
    self._worker.begin_slice();
    try {
      if (request.goal == Goal::kNew) self._op.supply(ExclusiveGuard{self.page(self.pages())});
      self._need = self._op.step(self.pages());
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

class PrefetchAwaiter {
 public:
  PrefetchAwaiter(WorkerCore& worker, BufferPool& pages, std::span<const Extent> extents);
  [[nodiscard]] bool await_ready() const noexcept { return _requests.empty(); }
  void await_suspend(std::coroutine_handle<> task);
  void await_resume() const;

 private:
  WorkerCore& _worker;
  BufferPool& _pages;
  std::vector<FaultRequest> _requests;
  std::size_t _outstanding = 0;
  std::coroutine_handle<> _task;
};

class YieldAwaiter {
 public:
  explicit YieldAwaiter(WorkerCore& worker) noexcept : _worker(worker) {}
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) {
    _worker.require_own_task();
    _worker.make_ready(task);
  }
  void await_resume() const noexcept {}

 protected:
  WorkerCore& _worker;
};

class MaybeYieldAwaiter : public YieldAwaiter {
 public:
  using YieldAwaiter::YieldAwaiter;
  [[nodiscard]] bool await_ready() const noexcept { return !_worker.safepoint().due(); }
};

}  // namespace detail
}  // namespace vmcache

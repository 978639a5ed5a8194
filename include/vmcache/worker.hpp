// SPDX-License-Identifier: MIT
//
// A worker: one thread's scheduler of many tasks. A task that misses is suspended, the others run on; misses
// are collected and submitted together, completions are reaped together, and eviction is done between turns.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/task.hpp"

namespace vmcache {

namespace detail {
class EngineLease;
}

//! Made, used and destroyed by one thread. Destroy it before the pool is closed, after its tasks have ended.
class Worker {
 public:
  template <typename Guard>
  class FixAwaiter;
  template <Operation Op>
  class PerformAwaiter;
  class AllocateAwaiter;
  class PrefetchAwaiter;
  class YieldAwaiter;

  //! Takes one of the pool's `workers` places; waits if none is free.
  explicit Worker(BufferPool& pool);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  [[nodiscard]] BufferPool& pool() const noexcept { return _pool; }

  //! Adds a task; it first runs inside run(). May be called from a task of this worker.
  void spawn(Task<void> task);
  //! Runs until every task has ended, then throws the first exception that left a spawned task, if any.
  void run();
  //! Spawned tasks that have not ended.
  [[nodiscard]] std::size_t tasks() const noexcept { return _alive; }

  //! \name To be awaited in this worker's tasks
  //! They throw Error like their blocking namesakes of BufferPool.
  //! @{
  [[nodiscard]] FixAwaiter<OptimisticGuard> fix_optimistic(PageId page_id, unsigned order = 0) noexcept;
  [[nodiscard]] FixAwaiter<SharedGuard> fix_shared(PageId page_id, unsigned order = 0) noexcept;
  [[nodiscard]] FixAwaiter<ExclusiveGuard> fix_exclusive(PageId page_id, unsigned order = 0) noexcept;
  [[nodiscard]] AllocateAwaiter allocate(unsigned order = 0) noexcept;
  //! Loads a set of extents; resumes when all have ended.
  [[nodiscard]] PrefetchAwaiter prefetch(std::span<const Extent> extents);
  //! Runs an operation; `op` must outlive the co_await.
  template <Operation Op>
  [[nodiscard]] PerformAwaiter<Op> perform(Op& op) noexcept;
  //! Lets the other tasks run, once each, in no particular order. Tasks that are in each other's way may try again after it:
  //! the order changes, so that they do not meet for ever.
  [[nodiscard]] YieldAwaiter yield() noexcept;
  //! @}

  //! \name For awaitables written outside the library
  //! @{
  //! Starts a fault; `request.done` is called from a later turn of run().
  void start(FaultRequest& request);
  //! Starts the fault of a new extent: takes a page id first. Throws Error kDatabaseFull, kInvalidPage.
  void start_allocate(FaultRequest& request, unsigned order);
  //! Throws if a request has failed, after undoing what start_allocate() did.
  void settle(const FaultRequest& request);
  //! Resumes `task` in its turn.
  void make_ready(std::coroutine_handle<> task) { _ready.push_back(task); }
  //! @}

 private:
  struct Detached;
  static Detached drive(Worker& worker, Task<void> task);
  void resume_ready();
  void change_order() noexcept;

  BufferPool& _pool;
  std::unique_ptr<detail::EngineLease> _engine;
  std::vector<std::coroutine_handle<>> _ready;
  std::vector<std::coroutine_handle<>> _running;
  std::minstd_rand _random;  // which task is first
  std::size_t _alive = 0;
  std::exception_ptr _first_error;
};

}  // namespace vmcache

#include "vmcache/awaiters.hpp"

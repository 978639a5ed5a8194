// SPDX-License-Identifier: MIT
//
// A Worker is one thread's scheduler of many tasks. A task that misses is suspended and the others
// run on. Misses are collected and submitted together, completions are reaped together, and pages
// are evicted between turns. A task that misses nothing gives way, too, once it has had its
// quantum: at its next await, and scans at their next leaf (docs/scheduler.md). Whatever it has
// latched stays latched, as at a miss.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/detail/awaiters.hpp"
#include "vmcache/detail/worker_core.hpp"
#include "vmcache/export.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/inbox.hpp"
#include "vmcache/operation.hpp"
#include "vmcache/task.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

class AsyncIo;

namespace detail {
class HelperThreads;
class WorkerSignal;
}  // namespace detail

//! One thread makes and uses a Worker. In another thread run() and spawn(), and what tasks await,
//! throw Error kWrongThread, because the ring belongs to the thread that made it. Destroy a Worker
//! after its tasks have ended and before the pool is closed. Tasks that were spawned and never ran
//! are dropped. If others have not ended, they stay as they are, because their requests may be
//! under way. The Worker's place in the pool is then not given back, and the pool cannot be closed
//! (kBusy). This holds for tasks in a write-back, too: what is on its way to storage gets there,
//! the rest stays dirty, and the destructor waits for a flush that has begun. Such a file cannot
//! be closed (kBusy).
class Worker : public detail::WorkerCore {
 public:
  //! Takes one of the pool's `workers` places; waits if none is free. Throws Error kBusy if none is
  //! free and this thread already has one, because it would wait for itself. Also throws kClosed,
  //! kWrongProcess and kUnsupported.
  explicit Worker(BufferPool& pool);
  ~Worker();

  //! Adds a task, which first runs inside run(). A task of this Worker may call it. Throws Error
  //! kInvalidOption for a Task without a coroutine.
  void spawn(Task<void> task);
  //! Runs until every task has ended and the inbox is empty. Then throws the first exception that
  //! left a spawned task, if there was one. Throws Error kWrongThread; kInvalidOption in a task of
  //! this Worker. Throws kWrongProcess in the child if a task has called fork(); the tasks do not
  //! go on there.
  void run();

  //! Runs until somebody calls Inbox::stop(), also while there are no tasks. Throws as run() does,
  //! but at once, and kOutOfMemory as fd() does. The next call goes on with the other tasks.
  void serve();

  //! \name For a loop of the embedder's, instead of run()
  //! @{
  //! Waits until there is something to do, but no longer than `timeout` (negative: as long as it
  //! takes), and runs one round. Returns the number of tasks that have not ended. Throws as poll()
  //! and fd() do.
  std::size_t run_once(std::chrono::milliseconds timeout);
  //! Runs one round: the tasks that may go on, once each, and one turn of the fault engine. Never
  //! waits. Returns the number of tasks that have not ended. Throws as run() does; the other tasks
  //! are then as before, and the next call goes on with them.
  std::size_t poll();
  //! A descriptor that poll(2), epoll and select find readable when poll() may have something to
  //! do. It may be readable too often: now and then, for example, while a task waits for a latch of
  //! another thread. Stays the same until the Worker is destroyed, which closes it. Do not read
  //! from it.
  //! Throws Error kOutOfMemory (no descriptor is left: os_error()), kWrongThread, kWrongProcess.
  [[nodiscard]] int fd();
  //! @}

  //! How long a task may run before it gives way: 10 us .. 1 s; 100 us if this is not called. For
  //! all Workers of the process. Any thread may call it. Throws Error kInvalidOption.
  static void set_quantum(std::chrono::microseconds quantum);

  //! For other threads that have work for this Worker. From the first call on, the Worker sleeps on
  //! its descriptor and not in the queue of its storage. Throws Error kOutOfMemory, kWrongThread,
  //! kWrongProcess; std::bad_alloc.
  [[nodiscard]] Inbox inbox();

  //! Sockets, timers and files outside the pool (async_io.hpp), made by the first call. It stays
  //! until the Worker is destroyed, which ends all calls that wait. From the first call on, the
  //! Worker sleeps in the ring that it has for them. Throws Error kUnsupported (the system allows
  //! no io_uring), kOutOfMemory, kWrongThread, kWrongProcess; std::bad_alloc.
  [[nodiscard]] AsyncIo& async_io();

  //! Number of spawned tasks that have not ended.
  [[nodiscard]] std::size_t tasks() const noexcept { return _alive; }

  //! \name To be awaited in this Worker's tasks
  //! They throw Error like their blocking namesakes of BufferPool.
  //! @{
  [[nodiscard]] auto fix_optimistic(PageId page_id, unsigned order = 0) noexcept {
    return detail::FixAwaiter<OptimisticGuard>{*this, Extent{page_id, order}};
  }
  [[nodiscard]] auto fix_shared(PageId page_id, unsigned order = 0) noexcept {
    return detail::FixAwaiter<SharedGuard>{*this, Extent{page_id, order}};
  }
  [[nodiscard]] auto fix_exclusive(PageId page_id, unsigned order = 0) noexcept {
    return detail::FixAwaiter<ExclusiveGuard>{*this, Extent{page_id, order}};
  }
  [[nodiscard]] auto allocate(unsigned order = 0) noexcept {
    return detail::AllocateAwaiter{*this, pool(), order};
  }
  //! Like BufferPool::free(), but extents of several pages that tasks free in one round share a
  //! page-table call. It throws when it is called, not when it is awaited. If the result is not
  //! awaited, the guard is released and the page is not freed.
  [[nodiscard]] detail::FreeAwaiter free(ExclusiveGuard&& guard) {
    return free(pool(), std::move(guard));
  }
  //! Does the same for an extent that nothing leads to any more, as BufferPool::try_free() does,
  //! but waits for latches and faults that are in the way. Throws Error kInvalidPage, as that;
  //! kBusy (it is latched or pinned for frame_wait).
  [[nodiscard]] Task<> free(Extent extent) { return free(pool(), extent); }
  //! Loads a set of extents and resumes when all have ended.
  [[nodiscard]] auto prefetch(std::span<const Extent> extents) {
    return detail::PrefetchAwaiter{*this, pool(), extents};
  }
  //! Runs an operation. `op` must outlive the co_await. If it has a function `BufferPool& pool()
  //! const`, it runs on the pages of that one.
  template <Operation Op>
  [[nodiscard]] auto perform(Op& op) noexcept {
    return detail::PerformAwaiter<Op>{*this, op};
  }

  //! \name The same for pages of `file`, a PagedFile of the Worker's pool, or that pool itself
  //! @{
  [[nodiscard]] auto fix_optimistic(BufferPool& file, PageId page_id, unsigned order = 0) noexcept {
    return FixIn<OptimisticGuard>{*this, Extent{page_id, order}, {file}};
  }
  [[nodiscard]] auto fix_shared(BufferPool& file, PageId page_id, unsigned order = 0) noexcept {
    return FixIn<SharedGuard>{*this, Extent{page_id, order}, {file}};
  }
  [[nodiscard]] auto fix_exclusive(BufferPool& file, PageId page_id, unsigned order = 0) noexcept {
    return FixIn<ExclusiveGuard>{*this, Extent{page_id, order}, {file}};
  }
  [[nodiscard]] auto allocate(BufferPool& file, unsigned order = 0) noexcept {
    return detail::AllocateAwaiter{*this, file, order};
  }
  [[nodiscard]] detail::FreeAwaiter free(BufferPool& file, ExclusiveGuard&& guard);
  [[nodiscard]] Task<> free(BufferPool& file, Extent extent);
  [[nodiscard]] auto prefetch(BufferPool& file, std::span<const Extent> extents) {
    return detail::PrefetchAwaiter{*this, file, extents};
  }
  //! @}

  //! Lets the other tasks run once each, in no particular order. Tasks that are in each other's way
  //! may try again after it: the order changes, so they do not meet for ever.
  [[nodiscard]] auto yield() noexcept { return detail::YieldAwaiter{*this}; }
  //! Does that only if the task has had its quantum. For code that awaits nothing else for long.
  [[nodiscard]] auto maybe_yield() noexcept { return detail::MaybeYieldAwaiter{*this}; }
  //! @}

  //! \name Write-back, to be awaited in this Worker's tasks
  //! They do what their namesakes of BufferPool and File do, with the same errors, for what was
  //! changed before they were first resumed. The other tasks run on: writes go through this
  //! Worker's queue, of which they leave a part for reads, and a flush waits in a thread that the
  //! Worker makes for it. (A kernel that is asked for an asynchronous fsync does it in a thread,
  //! too.) If the system refuses a thread, the flush holds the Worker up. A task of this Worker may
  //! flush the log that a page waits for. The file cannot be closed meanwhile (kBusy); the File
  //! object may move. A file of another pool is kInvalidOption.
  //! @{
  [[nodiscard]] Task<> checkpoint() { return checkpoint(pool()); }
  //! Of a PagedFile of the Worker's pool, or of that pool itself.
  [[nodiscard]] Task<> checkpoint(BufferPool& file);
  [[nodiscard]] Task<> sync(File& file);
  [[nodiscard]] Task<> write_back(File& file);
  [[nodiscard]] Task<> write_back(File& file, std::span<const std::uint64_t> pages);
  [[nodiscard]] Task<> flush(File& file);
  //! @}

 private:
  friend class AsyncIo;
  template <typename Guard>
  using FixIn = detail::FixAwaiter<Guard, detail::PagesOfFile>;
  struct Detached;
  struct VMCACHE_LOCAL FileTasks;
  static Detached drive(Worker& worker, Task<void> task);
  void begin(Task<void> task);
  void require_outside(const char* call) const;
  void take_posted();
  void round(bool may_wait);
  void wait_and_round(int timeout_ms);
  void wait(int timeout_ms);
  std::size_t leave_round();
  [[nodiscard]] bool stop_asked() noexcept;
  void share() noexcept;
  [[nodiscard]] std::uint64_t wants_round_in_ns() noexcept;
  void set_signal() noexcept;
  void throw_first_error();
  void resume_ready();
  void change_order() noexcept;
  Task<> in_thread(std::function<void()> call);
  Task<> write_extents(BufferPool& file, std::vector<Extent> extents, WriteAhead* log);

  std::vector<std::coroutine_handle<>> _running;
  std::minstd_rand _random;  // chooses the task that runs first
  std::size_t _alive = 0;
  bool _has_run = false;
  std::unique_ptr<detail::WorkerSignal> _signal;
  std::unique_ptr<AsyncIo> _async;
  std::shared_ptr<detail::InboxQueue> _inbox;
  std::vector<Task<>> _posted;                      // scratch of take_posted()
  bool _stopping = false;                           // Inbox::stop() was called
  std::unique_ptr<detail::HelperThreads> _helpers;  // made when first needed
  std::exception_ptr _first_error;
};

template <typename F>
Task<detail::ResultOf<F>> Inbox::call_from(Inbox to, Worker& mine, F work) {
  using Answer = detail::Answer<detail::ResultOf<F>>;
  Answer answer(mine.inbox());
  Task<> task = Answer::run(typename Answer::Sender(answer), detail::run_work(std::move(work)));
  for (;;) {
    const Post result = co_await answer.send(to, task);
    if (result == Post::kTaken) co_return answer.take();
    if (result == Post::kClosed) refuse();
    detail::PauseOnce pause;
    co_await mine.perform(pause);
  }
}

}  // namespace vmcache

#include "vmcache/detail/awaiters.hpp"

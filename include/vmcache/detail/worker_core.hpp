// SPDX-License-Identifier: MIT
//
// What a Worker is to those who wait in it: the way to its fault engine, and its list of tasks that
// may go on.
#pragma once

#include <coroutine>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/detail/fault.hpp"
#include "vmcache/detail/safepoint.hpp"
#include "vmcache/export.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT detail {

class EngineLease;

class WorkerCore {
 public:
  WorkerCore(const WorkerCore&) = delete;
  WorkerCore& operator=(const WorkerCore&) = delete;

  [[nodiscard]] BufferPool& pool() const noexcept { return _pool; }
  [[nodiscard]] const Safepoint& safepoint() const noexcept { return _safepoint; }

  //! \name For awaitables written outside the library
  //! start(), start_allocate() and reserve() throw Error kWrongThread, kWrongProcess, kClosed,
  //! kInvalidOption, and std::bad_alloc.
  //! @{
  //! Starts a fault. A later turn of Worker::run() calls `request.on_complete`. The request's page
  //! ids are the pool's: BufferPool::pool_extent(). With `pages`, it is for a page of that one,
  //! which must be the Worker's own pool or a file in it (kInvalidOption).
  void start(FaultRequest& request) { start(request, _pool); }
  void start(FaultRequest& request, const BufferPool& pages);
  //! Takes a page id and starts the fault of a new extent, in the Worker's own pool or in `pages`,
  //! a file of the same pool. Throws Error kDatabaseFull, kInvalidPage, kReadOnly.
  void start_allocate(FaultRequest& request, unsigned order) {
    start_allocate(request, order, _pool);
  }
  void start_allocate(FaultRequest& request, unsigned order, BufferPool& pages);
  //! Reserves what that many start() need, so that those cannot throw std::bad_alloc.
  void reserve(std::size_t requests);
  //! If the request has failed, undoes what start_allocate() did and throws.
  void settle(const FaultRequest& request) { settle(request, _pool); }
  void settle(const FaultRequest& request, BufferPool& pages);
  //! Throws Error kInvalidOption in a task that another Worker runs: it could not be resumed.
  void require_own_task() const;
  //! Resumes `task` when it is its turn.
  void make_ready(std::coroutine_handle<> task) { _ready.push_back(task); }
  //! Another task runs from now on, or an operation of one.
  void begin_slice() noexcept;
  //! @}

 protected:
  explicit WorkerCore(BufferPool& pool);
  ~WorkerCore();
  void require_usable() const;
  void require_same_pool(const BufferPool& pages) const;

  BufferPool& _pool;
  Safepoint _safepoint;
  const std::thread::id _thread = std::this_thread::get_id();
  std::unique_ptr<EngineLease> _engine;
  std::vector<std::coroutine_handle<>> _ready;
  bool _untimed = false;  // the clock has no thread, which was said
};

}  // namespace detail
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// The io_uring of a Worker for sockets, timers and files outside the pool (AsyncIo).
//
// It is another ring than that of the pool's storage, because that one may be polled, and a polled
// ring takes nothing but reads and writes of storage. The Worker sleeps in this ring. Whatever else
// may wake it writes its eventfd (WorkerSignal), for which this ring waits, too.
//
// Invariants
//  A1  A call is in the list from start() until its completion is reaped. Only then does its task
//      go on, so frame and buffer stay for as long as the kernel may touch them.
//  A2  Before the Worker sleeps, all calls are submitted, and the eventfd is waited for.
//  A3  The destructor ends all calls and waits for them: a buffer outside a frame may be freed when
//      the Worker is gone.
//  A4  A timeout's own completion, and a cancellation's, name no call: the call may be gone.
//
// Interleavings that would break them (tests in tests/pool/async_io_test.cpp)
//  A2  The kernel ends a wait for an eventfd that another ring writes (it fears a circle), and the
//      Worker sleeps while a page is read.
//  A3  A task waits for bytes in a buffer on the heap, the Worker is destroyed, the buffer is
//      freed, and the bytes come.
//  A4  Bytes and timeout come at once, the task ends, and its frame is another one's when the
//      timeout is reaped.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>

#include "vmcache/async_io.hpp"
#include "vmcache/detail/worker_core.hpp"
#include "vmcache/export.hpp"

namespace vmcache::detail {

//! The Worker's thread makes it, uses it and destroys it.
class VMCACHE_LOCAL AsyncRing {
 public:
  //! `event_fd`: what else wakes the Worker. Throws Error kUnsupported, kOutOfMemory.
  AsyncRing(WorkerCore& worker, int event_fd);
  ~AsyncRing();
  AsyncRing(const AsyncRing&) = delete;
  AsyncRing& operator=(const AsyncRing&) = delete;

  //! Readable when a call has completed.
  [[nodiscard]] int fd() const noexcept { return _ring.ring_fd; }
  [[nodiscard]] std::size_t pending() const noexcept { return _pending; }

  //! Throws Error kIo.
  void start(AsyncCall& call);
  //! Asks for the end of all calls on `fd`, or of all (-1). Returns their number. Throws Error kIo.
  std::size_t cancel(int fd);
  //! Submits what start() has prepared, and waits that many ns for a completion: not at all for 0,
  //! without a bound for Engine::kNoTurn. Throws Error kIo.
  void enter(std::uint64_t wait_ns);
  //! Makes the tasks ready whose calls have completed.
  void reap();

 private:
  [[nodiscard]] io_uring_sqe& entry(unsigned together = 1);
  void submit();
  void prepare(AsyncCall& call);
  [[nodiscard]] int prepare_rest(AsyncCall& call) noexcept;
  void watch_event();
  void complete(AsyncCall& call, int result);

  WorkerCore& _worker;
  io_uring _ring{};
  const int _event_fd;
  bool _watching = false;
  bool _ending = false;  // no task goes on any more
  AsyncCall* _calls = nullptr;
  std::size_t _pending = 0;
};

}  // namespace vmcache::detail

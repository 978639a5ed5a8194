// SPDX-License-Identifier: MIT
#include "pool/async_ring.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "pool/engine.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {
namespace {

using Kind = AsyncCall::Kind;

// Calls that are prepared before they must be submitted, and completions that fit into the ring:
// past that the kernel keeps them in a list.
constexpr unsigned kEntries = 256;
constexpr unsigned kCompletions = 4096;

// So often the kernel may refuse for the moment to take entries when there is no room for more.
constexpr unsigned kMaxTries = 1000;

// What a completion is for if it is not for a call. No call lies at such an address.
constexpr std::uint64_t kNobody = 0;
constexpr std::uint64_t kEvent = 1;

__kernel_timespec timespec_of(std::uint64_t ns) noexcept {
  constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
  return {static_cast<std::int64_t>(ns / kNsPerSecond), static_cast<long long>(ns % kNsPerSecond)};
}

std::uint64_t ns_of(std::chrono::nanoseconds duration) noexcept {
  return duration.count() < 0 ? 0 : static_cast<std::uint64_t>(duration.count());
}

[[noreturn]] void refuse(int error) {
  throw Error(Status{Errc::kIo, error, kNoPage}, "submitting calls of AsyncIo");
}

//! A call whose timeout is the kernel's business.
bool timed(const AsyncCall& call) noexcept {
  return call.kind != Kind::kSleep && call.timeout != AsyncIo::kForever;
}

}  // namespace

AsyncRing::AsyncRing(WorkerCore& worker, int event_fd) : _worker(worker), _event_fd(event_fd) {
  io_uring_params params{};
  // Completions do not interrupt the thread: it asks for them, or enters the kernel anyway.
  params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG;
  params.cq_entries = kCompletions;
  const int error = ::io_uring_queue_init_params(kEntries, &_ring, &params);
  if (error == 0) return;
  const bool scarce = error == -ENOMEM || error == -EMFILE || error == -ENFILE;
  throw Error(Status{scarce ? Errc::kOutOfMemory : Errc::kUnsupported, -error, kNoPage},
              "Worker::async_io: setting up an io_uring");
}

AsyncRing::~AsyncRing() {
  _ending = true;
  try {
    if (_pending > 0) (void)cancel(-1);
    while (_pending > 0) {
      submit();
      io_uring_cqe* cqe = nullptr;
      (void)::io_uring_wait_cqe(&_ring, &cqe);
      reap();
    }
  } catch (const Error&) {  // the kernel takes nothing: closing the ring ends the calls, if later
  }
  ::io_uring_queue_exit(&_ring);
}

void AsyncRing::start(AsyncCall& call) {
  call.done_bytes = 0;
  call.cancelled = false;
  prepare(call);
  call.previous = nullptr;
  call.next = _calls;
  if (_calls != nullptr) _calls->previous = &call;
  _calls = &call;
  ++_pending;
}

std::size_t AsyncRing::cancel(int fd) {
  std::size_t count = 0;
  for (AsyncCall* call = _calls; call != nullptr; call = call->next) {
    if (fd >= 0 && (call->fd != fd || call->kind == Kind::kSleep)) continue;
    io_uring_sqe& sqe = entry();
    ::io_uring_prep_cancel(&sqe, call, 0);
    ::io_uring_sqe_set_data64(&sqe, kNobody);
    call->cancelled = true;
    ++count;
  }
  return count;
}

void AsyncRing::enter(std::uint64_t wait_ns) {
  watch_event();
  if (wait_ns == 0) return submit();
  int result = 0;
  if (wait_ns == Engine::kNoTurn) {
    result = ::io_uring_submit_and_wait(&_ring, 1);
  } else {
    __kernel_timespec most = timespec_of(wait_ns);
    io_uring_cqe* cqe = nullptr;
    result = ::io_uring_submit_and_wait_timeout(&_ring, &cqe, 1, &most, nullptr);
  }
  if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY)
    refuse(-result);
}

void AsyncRing::reap() {
  io_uring_cqe* cqe = nullptr;
  while (::io_uring_peek_cqe(&_ring, &cqe) == 0) {
    const std::uint64_t whose = ::io_uring_cqe_get_data64(cqe);
    const int result = cqe->res;
    if (whose == kEvent && (cqe->flags & IORING_CQE_F_MORE) == 0) _watching = false;
    ::io_uring_cqe_seen(&_ring, cqe);
    if (whose > kEvent) complete(*reinterpret_cast<AsyncCall*>(whose), result);
  }
}

//! Room for `together` entries that must be submitted in one piece; returns the first.
io_uring_sqe& AsyncRing::entry(unsigned together) {
  for (unsigned tries = 0; ::io_uring_sq_space_left(&_ring) < together; ++tries) {
    if (tries == kMaxTries) refuse(EAGAIN);
    submit();
  }
  return *::io_uring_get_sqe(&_ring);
}

void AsyncRing::submit() {
  if (::io_uring_sq_ready(&_ring) == 0) return;
  const int result = ::io_uring_submit(&_ring);
  if (result == -EBUSY) return reap();  // it wants its completions to be taken first
  if (result < 0 && result != -EINTR && result != -EAGAIN) refuse(-result);
}

//! Waits for the eventfd, if it does not yet. A completion tells each time that it is written.
void AsyncRing::watch_event() {
  if (_watching) return;
  io_uring_sqe& sqe = entry();
  ::io_uring_prep_poll_multishot(&sqe, _event_fd, POLLIN);
  ::io_uring_sqe_set_data64(&sqe, kEvent);
  _watching = true;
}

void AsyncRing::prepare(AsyncCall& call) {
  io_uring_sqe* const sqe = &entry(timed(call) ? 2 : 1);
  std::byte* const data = call.data + call.done_bytes;
  const std::size_t bytes = call.bytes - call.done_bytes;
  const auto length = static_cast<unsigned>(std::min<std::size_t>(bytes, 1U << 30));
  switch (call.kind) {
    case Kind::kAccept:
      ::io_uring_prep_accept(sqe, call.fd, nullptr, nullptr, SOCK_CLOEXEC);
      break;
    case Kind::kConnect:
      ::io_uring_prep_connect(sqe, call.fd, reinterpret_cast<const sockaddr*>(call.data),
                              static_cast<socklen_t>(call.bytes));
      break;
    case Kind::kReceive:
      ::io_uring_prep_recv(sqe, call.fd, data, length, 0);
      break;
    case Kind::kSend:
      ::io_uring_prep_send(sqe, call.fd, data, length, MSG_NOSIGNAL | MSG_WAITALL);
      break;
    case Kind::kRead:
      ::io_uring_prep_read(sqe, call.fd, data, length, call.offset);
      break;
    case Kind::kWrite:
      ::io_uring_prep_write(sqe, call.fd, data, length, call.offset);
      break;
    case Kind::kFlush:
      ::io_uring_prep_fsync(sqe, call.fd, IORING_FSYNC_DATASYNC);
      break;
    case Kind::kSleep:
      call.when = timespec_of(ns_of(call.timeout));
      ::io_uring_prep_timeout(sqe, &call.when, 0, 0);
      break;
  }
  ::io_uring_sqe_set_data(sqe, &call);
  if (!timed(call)) return;
  sqe->flags |= IOSQE_IO_LINK;
  call.when = timespec_of(ns_of(call.timeout));
  io_uring_sqe& timeout = *::io_uring_get_sqe(&_ring);
  ::io_uring_prep_link_timeout(&timeout, &call.when, 0);
  ::io_uring_sqe_set_data64(&timeout, kNobody);
}

//! Returns 0 or -errno.
int AsyncRing::prepare_rest(AsyncCall& call) noexcept {
  try {
    prepare(call);
    return 0;
  } catch (const Error& error) {
    return -error.os_error();
  }
}

void AsyncRing::complete(AsyncCall& call, int result) {
  if (call.kind == Kind::kSend && result > 0) {
    call.done_bytes += static_cast<std::size_t>(result);
    if (call.done_bytes < call.bytes) {
      result = call.cancelled ? -ECANCELED : prepare_rest(call);
      if (result == 0) return;
    }
  }
  if (call.kind == Kind::kSleep && result == -ETIME) result = 0;
  // A call that a worker thread of the kernel makes is interrupted.
  if (result == -ECANCELED || result == -EINTR)
    result = call.cancelled || !timed(call) ? -ECANCELED : -ETIME;
  call.result = result;
  if (_ending && call.kind == Kind::kAccept && result >= 0) (void)::close(result);  // nobody's
  (call.previous != nullptr ? call.previous->next : _calls) = call.next;
  if (call.next != nullptr) call.next->previous = call.previous;
  --_pending;
  _worker.make_ready(call.task);
}

}  // namespace vmcache::detail

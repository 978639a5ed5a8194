// SPDX-License-Identifier: MIT
#include "vmcache/async_io.hpp"

#include <cerrno>
#include <string>
#include <string_view>

#include "pool/async_ring.hpp"
#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"
#include "pool/socket_address.hpp"
#include "pool/worker_signal.hpp"
#include "vmcache/detail/own_process.hpp"
#include "vmcache/error.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace detail {
namespace {

std::string_view name_of(AsyncCall::Kind kind) noexcept {
  switch (kind) {
    case AsyncCall::Kind::kAccept:
      return "accept";
    case AsyncCall::Kind::kConnect:
      return "connect";
    case AsyncCall::Kind::kReceive:
      return "receive";
    case AsyncCall::Kind::kSend:
      return "send";
    case AsyncCall::Kind::kRead:
      return "read";
    case AsyncCall::Kind::kWrite:
      return "write";
    case AsyncCall::Kind::kFlush:
      return "flush";
    case AsyncCall::Kind::kSleep:
      return "sleep_for";
  }
  return "";
}

}  // namespace

void AsyncAwaiter::await_suspend(std::coroutine_handle<> task) {
  _call.task = task;
  _io.start(_call);
}

std::size_t AsyncAwaiter::result() const {
  if (_call.result >= 0) [[likely]]
    return static_cast<std::size_t>(_call.result);
  const int error = static_cast<int>(-_call.result);
  const std::string what(name_of(_call.kind));
  if (error == ECANCELED) throw Error(Status{Errc::kCancelled, 0, kNoPage}, what);
  if (error == ETIME) throw Error(Status{Errc::kTimedOut, 0, kNoPage}, what);
  throw Error(Status{Errc::kIo, error, kNoPage}, what);
}

ConnectAwaiter::ConnectAwaiter(AsyncIo& io, const std::string& address, std::uint16_t port,
                               std::chrono::nanoseconds timeout)
    : AsyncAwaiter(io, {.kind = AsyncCall::Kind::kConnect, .timeout = timeout}) {
  _call.bytes = address_of(address, port, _address);
  _socket = new_socket(_address.ss_family);
  _call.fd = _socket.fd();
}

void ConnectAwaiter::await_suspend(std::coroutine_handle<> task) {
  _call.data = reinterpret_cast<std::byte*>(&_address);  // only now is it where it stays
  AsyncAwaiter::await_suspend(task);
}

}  // namespace detail

AsyncIo::AsyncIo(Worker& worker)
    : _worker(worker),
      _ring(std::make_unique<detail::AsyncRing>(worker, worker._signal->event_fd())) {
  worker._signal->watch(_ring->fd());
}

AsyncIo::~AsyncIo() {
  if (!detail::core_of(_worker.pool()).process.here()) detail::abandon(_ring);
}

void AsyncIo::start(detail::AsyncCall& call) {
  _worker.require_usable();
  _worker.require_own_task();
  _ring->start(call);
}

std::size_t AsyncIo::cancel(const Socket& socket) {
  _worker.require_usable();
  if (!socket) return 0;
  return _ring->cancel(socket.fd());
}

std::size_t AsyncIo::cancel_all() {
  _worker.require_usable();
  return _ring->cancel(-1);
}

std::size_t AsyncIo::pending() const noexcept {
  return _ring->pending();
}

AsyncIo& Worker::async_io() {
  (void)fd();
  if (!_async) _async.reset(new AsyncIo(*this));
  return *_async;
}

}  // namespace vmcache

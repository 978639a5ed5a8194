// SPDX-License-Identifier: MIT
//
// Sockets, other files and timers, awaited in a Worker's tasks:
//
//   AsyncIo& io = worker.async_io();
//   Socket client = co_await io.accept(listener);
//   std::size_t n = co_await io.receive(client, buffer, 30s);
//   co_await io.send(client, reply);
//
// The calls of one round are submitted together. The Worker waits in one place for them, for its
// storage and for its inbox (docs/scheduler.md).
#pragma once

#include <linux/time_types.h>
#include <sys/socket.h>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "vmcache/export.hpp"
#include "vmcache/socket.hpp"

namespace VMCACHE_EXPORT vmcache {

class AsyncIo;
class Worker;

namespace detail {

class AsyncRing;

//! One call on behalf of one suspended task. Lies in the task's frame.
struct AsyncCall {
  enum class Kind : std::uint8_t {
    kAccept,
    kConnect,
    kReceive,
    kSend,
    kRead,
    kWrite,
    kFlush,
    kSleep,
  };
  Kind kind = Kind::kSleep;
  bool cancelled = false;  // somebody asked for its end
  int fd = -1;
  std::byte* data = nullptr;
  std::size_t bytes = 0;  // kConnect: of the address
  std::uint64_t offset = 0;
  std::chrono::nanoseconds timeout{};  // kSleep: how long

  std::coroutine_handle<> task{};
  std::int64_t result = 0;  // what the system's call returns, or -errno
  std::size_t done_bytes = 0;
  __kernel_timespec when{};
  AsyncCall* previous = nullptr;
  AsyncCall* next = nullptr;
};

class AsyncAwaiter {
 public:
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task);

 protected:
  AsyncAwaiter(AsyncIo& io, const AsyncCall& call) noexcept : _io(io), _call(call) {}
  //! Throws Error if the call has failed.
  [[nodiscard]] std::size_t result() const;

  AsyncIo& _io;
  AsyncCall _call;
};

struct SocketAwaiter : AsyncAwaiter {
  SocketAwaiter(AsyncIo& io, const AsyncCall& call) noexcept : AsyncAwaiter(io, call) {}
  [[nodiscard]] Socket await_resume() const { return Socket(static_cast<int>(result())); }
};

struct BytesAwaiter : AsyncAwaiter {
  BytesAwaiter(AsyncIo& io, const AsyncCall& call) noexcept : AsyncAwaiter(io, call) {}
  [[nodiscard]] std::size_t await_resume() const { return result(); }
};

struct DoneAwaiter : AsyncAwaiter {
  DoneAwaiter(AsyncIo& io, const AsyncCall& call) noexcept : AsyncAwaiter(io, call) {}
  void await_resume() const { (void)result(); }
};

class ConnectAwaiter : public AsyncAwaiter {
 public:
  //! Throws Error kInvalidOption (address), kIo.
  ConnectAwaiter(AsyncIo& io, const std::string& address, std::uint16_t port,
                 std::chrono::nanoseconds timeout);
  ConnectAwaiter(const ConnectAwaiter&) = delete;
  ConnectAwaiter& operator=(const ConnectAwaiter&) = delete;
  void await_suspend(std::coroutine_handle<> task);
  [[nodiscard]] Socket await_resume() {
    (void)result();
    return std::move(_socket);
  }

 private:
  Socket _socket;
  sockaddr_storage _address{};
};

}  // namespace detail

//! The Worker's thread uses it. What tasks await throws Error
//! - kIo: the call failed; os_error() says why (ECONNRESET, say, or EPIPE);
//! - kTimedOut: it took longer than its `timeout`;
//! - kCancelled: cancel() or cancel_all() ended it;
//! - kWrongThread, kWrongProcess, kClosed, and kInvalidOption in a task of another Worker.
//! Buffers must stay as they are until the call has ended, and a descriptor should stay open.
class AsyncIo {
 public:
  using Timeout = std::chrono::nanoseconds;
  static constexpr Timeout kForever = Timeout::max();

  AsyncIo(const AsyncIo&) = delete;
  AsyncIo& operator=(const AsyncIo&) = delete;
  ~AsyncIo();

  //! A connection to `listener`.
  [[nodiscard]] detail::SocketAwaiter accept(const Socket& listener,
                                             Timeout timeout = kForever) noexcept {
    return {*this, {.kind = Kind::kAccept, .fd = listener.fd(), .timeout = timeout}};
  }
  //! A TCP connection. `address` is IPv4 or IPv6, in digits.
  [[nodiscard]] detail::ConnectAwaiter connect(const std::string& address, std::uint16_t port,
                                               Timeout timeout = kForever) {
    return {*this, address, port, timeout};
  }
  //! Waits for bytes and returns how many came: at most to.size(), and 0 if the peer has closed.
  [[nodiscard]] detail::BytesAwaiter receive(const Socket& socket, std::span<std::byte> to,
                                             Timeout timeout = kForever) noexcept {
    return {*this, call(Kind::kReceive, socket.fd(), to, 0, timeout)};
  }
  //! Sends all of `from`. If it throws, nobody knows how much was sent. A peer that is gone gives
  //! no signal (SIGPIPE). `timeout` is for each part that the kernel takes.
  [[nodiscard]] detail::DoneAwaiter send(const Socket& socket, std::span<const std::byte> from,
                                         Timeout timeout = kForever) noexcept {
    return {*this, call(Kind::kSend, socket.fd(), from, 0, timeout)};
  }

  //! \name Files that are not in the pool, as pread(2), pwrite(2) and fdatasync(2) have them
  //! The first two return how many bytes were read or written. It may be fewer than asked for.
  //! @{
  [[nodiscard]] detail::BytesAwaiter read(int fd, std::span<std::byte> to,
                                          std::uint64_t offset) noexcept {
    return {*this, call(Kind::kRead, fd, to, offset, kForever)};
  }
  [[nodiscard]] detail::BytesAwaiter write(int fd, std::span<const std::byte> from,
                                           std::uint64_t offset) noexcept {
    return {*this, call(Kind::kWrite, fd, from, offset, kForever)};
  }
  [[nodiscard]] detail::DoneAwaiter flush(int fd) noexcept {
    return {*this, {.kind = Kind::kFlush, .fd = fd, .timeout = kForever}};
  }
  //! @}

  //! Lets the other tasks run for that long. 0 or less: one round.
  [[nodiscard]] detail::DoneAwaiter sleep_for(std::chrono::nanoseconds duration) noexcept {
    return {*this, {.kind = Kind::kSleep, .timeout = duration}};
  }

  //! Ends the calls that wait for `socket` now: each throws kCancelled, unless it has just ended.
  //! Returns their number. Throws Error kIo, kWrongThread, kWrongProcess.
  std::size_t cancel(const Socket& socket);
  //! The same for all calls of this Worker, sleeping tasks included.
  std::size_t cancel_all();

  //! Calls that have not ended.
  [[nodiscard]] std::size_t pending() const noexcept;

 private:
  friend class Worker;
  friend class detail::AsyncAwaiter;
  using Kind = detail::AsyncCall::Kind;
  explicit AsyncIo(Worker& worker);
  void start(detail::AsyncCall& call);

  template <typename Byte>
  [[nodiscard]] static detail::AsyncCall call(Kind kind, int fd, std::span<Byte> data,
                                              std::uint64_t offset, Timeout timeout) noexcept {
    return {.kind = kind,
            .fd = fd,
            .data = const_cast<std::byte*>(data.data()),
            .bytes = data.size(),
            .offset = offset,
            .timeout = timeout};
  }

  Worker& _worker;
  std::unique_ptr<detail::AsyncRing> _ring;
};

}  // namespace vmcache

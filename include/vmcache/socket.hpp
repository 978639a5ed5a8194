// SPDX-License-Identifier: MIT
//
// Sockets for AsyncIo (async_io.hpp). They are plain descriptors: whatever else a program wants of
// them (TLS, options, Unix domain sockets), it does with the system's calls.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

//! Owns the descriptor of a socket, or nothing (-1). Not thread-safe.
class Socket {
 public:
  Socket() noexcept = default;
  //! Takes over `fd`. AsyncIo waits for it, so it should not have O_NONBLOCK.
  explicit Socket(int fd) noexcept : _fd(fd) {}
  Socket(Socket&& other) noexcept : _fd(other.release()) {}
  Socket& operator=(Socket&& other) noexcept {
    if (this != &other) {
      close();
      _fd = other.release();
    }
    return *this;
  }
  ~Socket() { close(); }

  [[nodiscard]] int fd() const noexcept { return _fd; }
  [[nodiscard]] explicit operator bool() const noexcept { return _fd >= 0; }
  //! Hands over the descriptor.
  [[nodiscard]] int release() noexcept { return std::exchange(_fd, -1); }
  //! A call of AsyncIo that waits for the socket goes on waiting: cancel() it first.
  void close() noexcept;

 private:
  int _fd = -1;
};

struct ListenOptions {
  //! An IPv4 or IPv6 address in digits. "0.0.0.0" and "::" listen on all of the machine's.
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;  //!< 0: one that is free, which local_port() tells
  int backlog = 1024;      //!< connections that may wait to be accepted: 1 .. 65535
  //! Several sockets may listen on one port, and the kernel shares connections out among them
  //! (SO_REUSEPORT): one for each Worker.
  bool reuse_port = false;
};

//! A TCP socket that listens. Throws Error kInvalidOption (address, backlog), kIo (os_error():
//! EADDRINUSE if the port is taken).
[[nodiscard]] Socket listen_on(const ListenOptions& options);

//! The port that the socket is bound to. Throws Error kIo, kInvalidOption (no TCP socket).
[[nodiscard]] std::uint16_t local_port(const Socket& socket);

}  // namespace vmcache

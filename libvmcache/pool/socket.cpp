// SPDX-License-Identifier: MIT
#include "vmcache/socket.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "pool/socket_address.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(Status{Errc::kIo, errno, kNoPage}, what);
}

}  // namespace

namespace detail {

std::size_t address_of(const std::string& address, std::uint16_t port, sockaddr_storage& to) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&to, &v4, sizeof v4);
    return sizeof v4;
  }
  if (::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&to, &v6, sizeof v6);
    return sizeof v6;
  }
  throw Error(Errc::kInvalidOption,
              "address '" + address + "' (allowed: an IPv4 or IPv6 address in digits)");
}

Socket new_socket(int family) {
  Socket socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) refuse("making a socket");
  return socket;
}

}  // namespace detail

void Socket::close() noexcept {
  if (_fd >= 0) (void)::close(release());
}

Socket listen_on(const ListenOptions& options) {
  constexpr int kMaxBacklog = 65535;
  if (options.backlog < 1 || options.backlog > kMaxBacklog) {
    throw Error(Errc::kInvalidOption, "backlog " + std::to_string(options.backlog) +
                                          " (allowed: 1 .. " + std::to_string(kMaxBacklog) + ")");
  }
  sockaddr_storage address{};
  const std::size_t length = detail::address_of(options.address, options.port, address);
  Socket socket = detail::new_socket(address.ss_family);
  const int on = 1;
  const std::string where = options.address + " port " + std::to_string(options.port);
  // A server that starts anew need not wait for connections of the last one to be forgotten.
  if (::setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      (options.reuse_port &&
       ::setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0))
    refuse(where);
  if (::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&address),
             static_cast<socklen_t>(length)) != 0 ||
      ::listen(socket.fd(), options.backlog) != 0)
    refuse("listening on " + where);
  return socket;
}

std::uint16_t local_port(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
    refuse("asking for a socket's port");
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    return ntohs(v4.sin_port);
  }
  if (address.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof v6);
    return ntohs(v6.sin6_port);
  }
  throw Error(Errc::kInvalidOption, "local_port: not a TCP socket");
}

}  // namespace vmcache

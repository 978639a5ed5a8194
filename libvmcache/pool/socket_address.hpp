// SPDX-License-Identifier: MIT
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "vmcache/socket.hpp"

namespace vmcache::detail {

//! Writes the address to `to` and returns its length. Throws Error kInvalidOption.
[[nodiscard]] std::size_t address_of(const std::string& address, std::uint16_t port,
                                     sockaddr_storage& to);
//! A TCP socket. Throws Error kIo.
[[nodiscard]] Socket new_socket(int family);

}  // namespace vmcache::detail

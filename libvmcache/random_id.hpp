// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "vmcache/identity.hpp"

namespace vmcache {

//! A UUID of version 4 (RFC 4122). Throws Error kUnsupported if the system has no random numbers.
[[nodiscard]] DatabaseId random_id();
//! Not 0. Throws Error kUnsupported.
[[nodiscard]] std::uint64_t random_number();
//! As UUIDs are written.
[[nodiscard]] std::string to_text(const DatabaseId& id);

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>

#include "vmcache/types.hpp"

namespace vmcache {

//! One page's bytes outside the pool, aligned for O_DIRECT.
struct alignas(kPageSize) PageBuffer {
  std::array<std::byte, kPageSize> bytes{};
};

}  // namespace vmcache

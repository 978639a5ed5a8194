// SPDX-License-Identifier: MIT
#pragma once

#include "vmcache/buffer_pool.hpp"

namespace vmcache::detail {

class PoolCore;

//! The way from a pool to its inside, for the library and its tests. It is not installed.
struct PoolAccess {
  [[nodiscard]] static PoolCore& core(const BufferPool& pool) noexcept { return *pool._core; }
};

[[nodiscard]] inline PoolCore& core_of(const BufferPool& pool) noexcept {
  return PoolAccess::core(pool);
}

}  // namespace vmcache::detail

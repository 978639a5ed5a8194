// SPDX-License-Identifier: MIT
#pragma once

#include <memory>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/file.hpp"

namespace vmcache::detail {

class PoolCore;
class RawFile;

//! The way from a pool to its inside, for the library and its tests. It is not installed.
struct PoolAccess {
  [[nodiscard]] static PoolCore& core(const BufferPool& pool) noexcept { return *pool._core; }
  //! Null if it holds none.
  [[nodiscard]] static const std::shared_ptr<RawFile>& file(const File& file) noexcept {
    return file._file;
  }
};

[[nodiscard]] inline PoolCore& core_of(const BufferPool& pool) noexcept {
  return PoolAccess::core(pool);
}

}  // namespace vmcache::detail

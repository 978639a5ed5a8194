// SPDX-License-Identifier: MIT
#pragma once

#include <memory>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/file.hpp"

namespace vmcache::detail {

class PagedStore;
class PoolCore;
class RawFile;

//! The way from a pool to its inside, for the library and its tests. It is not installed.
struct PoolAccess {
  [[nodiscard]] static PoolCore& core(const BufferPool& pool) noexcept { return *pool._core; }
  //! Null if it holds none.
  [[nodiscard]] static const std::shared_ptr<RawFile>& file(const File& file) noexcept {
    return file._file;
  }
  //! Of a PagedFile, else null.
  [[nodiscard]] static const std::shared_ptr<RawFile>& file(const BufferPool& pool) noexcept {
    return pool._file;
  }
  static void require_usable(const BufferPool& pool) { pool.require_usable(); }
  [[nodiscard]] static PagedStore& store(const BufferPool& pool) noexcept { return *pool._store; }
};

[[nodiscard]] inline PoolCore& core_of(const BufferPool& pool) noexcept {
  return PoolAccess::core(pool);
}

//! The database whose page ids this object has.
[[nodiscard]] inline PagedStore& store_of(const BufferPool& pool) noexcept {
  return PoolAccess::store(pool);
}

}  // namespace vmcache::detail

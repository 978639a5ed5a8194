// SPDX-License-Identifier: MIT
//
// The bytes of one database file, as they are in the pool.
//
// SQLite's locks decide who may read and write which bytes. Two connections may change different
// bytes of one page of the pool at a time, when pages of SQLite are smaller: latches order those.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "vmcache/buffer_pool.hpp"

namespace vmcache::sqlite {

//! What a connection's reads look like: those that go forward bring pages in ahead, as the kernel
//! does for SQLite's own VFS. Used by one thread at a time.
struct ReadAhead {
  std::uint64_t next = 0;   // page after the last one that was read
  std::uint64_t pages = 0;  // to bring in with the next one that is missing
};

//! The pins of one page of SQLite: one, as a rule. Without memory of its own for that one.
struct PagePins {
  Pin first;
  std::vector<Pin> others;
};

//! Thread-safe. Calls wait for I/O and throw Error, std::bad_alloc.
class CachedFile {
 public:
  CachedFile(BufferPool& pool, File file) noexcept : _pool(pool), _file(std::move(file)) {}

  [[nodiscard]] std::uint64_t size_bytes() const { return _file.size_bytes(); }
  //! Fills `to`. Returns how many of its bytes are in the file; what lies after the end is zeros.
  [[nodiscard]] std::size_t read(std::span<std::byte> to, std::uint64_t offset, ReadAhead& ahead);
  //! Makes the file longer if need be.
  void write(std::span<const std::byte> from, std::uint64_t offset);
  //! What was written before is in the kernel's hands afterwards: it survives the end of this
  //! process.
  void write_back();
  //! Makes it durable.
  void sync();
  //! Makes the file longer, or shorter. Writes nothing back.
  void resize(std::uint64_t bytes);
  //! Makes the file at least as long as that.
  void grow(std::uint64_t bytes);
  //! Pins the pages that hold these bytes, and returns the address of the first byte. Nothing
  //! (null) is pinned if the bytes are not all in the file, or the pool has too few pages for it.
  [[nodiscard]] const std::byte* pin(std::uint64_t offset, std::size_t bytes, PagePins& pins,
                                     ReadAhead& ahead);
  //! A flush of the file has failed: only opening it again helps.
  [[nodiscard]] bool failed() const noexcept { return _failed.load(std::memory_order_acquire); }

 private:
  //! Brings pages that are missing into memory together, and those ahead of them with them.
  void prefetch(std::uint64_t first, std::uint64_t pages, ReadAhead& ahead);
  void note_dirty(std::uint64_t page);

  BufferPool& _pool;
  File _file;
  std::mutex _size_mutex;  // what is longer must not be cut by a thread that thought it short
  std::mutex _dirty_mutex;
  std::vector<std::uint64_t> _dirty;  // pages written since write_back(), in the order of writes
  std::atomic<bool> _failed{false};
};

}  // namespace vmcache::sqlite

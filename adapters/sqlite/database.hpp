// SPDX-License-Identifier: MIT
//
// One database file, for all connections of this process.
//
// B1: the file is in the pool (_cached) from the first time that a connection becomes SHARED until
//     the last connection goes. All that time the process lock is held, so no other process changes
//     the file, and what the pool has of it is right.
// B2: a connection that is SHARED or more may use _cached without the mutex: it changes only while
//     nobody is. One that has no lock uses it under the mutex. (SQLite reads the header before its
//     first lock. VFSes on top of this one may lock one of several files for all of them.)
// B3: before a transaction counts as committed, its pages are in the kernel's hands. SQLite says
//     when: SQLITE_FCNTL_SYNC comes before it deletes a journal, and xTruncate before it lets a WAL
//     be overwritten, at every setting of `synchronous`. So a killed process loses no commit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "cached_file.hpp"
#include "lock_table.hpp"
#include "parameters.hpp"
#include "process_lock.hpp"
#include "shared_memory.hpp"

namespace vmcache::sqlite {

//! Thread-safe; a Holder is used by one thread at a time. Calls return one of SQLite's codes, and
//! report what is an error. They wait for I/O.
class Database {
 public:
  //! A connection's part.
  struct Holder : LockTable::Holder {
    ReadAhead read_ahead;
  };

  //! Takes over `fd`, which is the file open for reading and writing. `max_gib` as in Parameters.
  Database(BufferPool& pool, std::string path, int fd, const Parameters& parameters);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return _path; }
  //! Throws std::invalid_argument if the parameters name other values for this file.
  void require_same(const Parameters& parameters) const;
  //! Whether the path leads to another file by now, or to none.
  [[nodiscard]] bool moved() const noexcept;

  //! \name Locks
  //! @{
  [[nodiscard]] int lock(Holder& holder, int wanted) noexcept;
  [[nodiscard]] int unlock(Holder& holder, int to) noexcept;
  [[nodiscard]] bool reserved() noexcept;
  [[nodiscard]] SharedMemory& shared_memory() noexcept { return _shared_memory; }
  //! @}

  //! \name Bytes
  //! @{
  //! SQLITE_IOERR_SHORT_READ if some lie after the end; those are zeros.
  [[nodiscard]] int read(Holder& holder, std::span<std::byte> to, std::uint64_t offset) noexcept;
  [[nodiscard]] int write(const Holder& holder, std::span<const std::byte> from,
                          std::uint64_t offset) noexcept;
  [[nodiscard]] int truncate(const Holder& holder, std::uint64_t bytes) noexcept;
  [[nodiscard]] int grow(const Holder& holder, std::uint64_t bytes) noexcept;
  [[nodiscard]] int write_back(const Holder& holder) noexcept;
  [[nodiscard]] int sync(const Holder& holder) noexcept;
  [[nodiscard]] int size(const Holder& holder, std::uint64_t& bytes) noexcept;
  //! As CachedFile::pin().
  [[nodiscard]] int fetch(Holder& holder, std::uint64_t offset, std::size_t bytes, PagePins& pins,
                          const std::byte*& data) noexcept;
  //! @}

 private:
  //! B1. The mutex is held.
  [[nodiscard]] int become_ready() noexcept;
  //! Calls use(file) for a change (B2). Returns its result, or a code if it throws.
  template <typename Use>
  [[nodiscard]] int change(const Holder& holder, int io_code, const char* doing, Use use) noexcept;

  BufferPool& _pool;
  const std::string _path;
  const int _fd;
  const std::uint64_t _max_gib;
  const bool _direct_io;
  std::mutex _mutex;  // _locks, _process_lock, and changes of _cached
  LockTable _locks;
  ProcessLock _process_lock;
  SharedMemory _shared_memory;
  std::unique_ptr<CachedFile> _cached;
};

}  // namespace vmcache::sqlite

// SPDX-License-Identifier: MIT
//
// What SQLite's WAL mode shares among connections: the WAL's index and eight locks. All connections
// are of this process, so it lies on the heap, and is gone with the process: SQLite then reads the
// WAL again.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "api.hpp"

namespace vmcache::sqlite {

//! Thread-safe; a Member is used by one thread at a time.
class SharedMemory {
 public:
  //! A connection's part.
  struct Member {
    bool joined = false;
    unsigned shared = 0;     // a bit for each lock
    unsigned exclusive = 0;  // a bit for each lock
  };

  //! The region's address, zeroed when it is new; null if it is missing and `extend` is not set.
  //! Joins the member. All regions have the same size. Throws std::bad_alloc.
  [[nodiscard]] void* map(Member& member, std::size_t region, std::size_t bytes, bool extend);
  //! Takes or gives back `count` locks from `first` on, as sqlite3_io_methods::xShmLock says.
  //! Returns SQLITE_OK, SQLITE_BUSY or SQLITE_IOERR_SHMLOCK (not joined, or a wrong range).
  [[nodiscard]] int lock(Member& member, int first, int count, int flags) noexcept;
  //! Gives the member's locks back. The last one that leaves takes the regions with it.
  void leave(Member& member) noexcept;

 private:
  static constexpr int kExclusive = -1;

  void unlock(Member& member, int first, int count) noexcept;

  std::mutex _mutex;
  std::vector<std::unique_ptr<std::byte[]>> _regions;
  unsigned _members = 0;
  std::array<int, SQLITE_SHM_NLOCK> _locks{};  // holders, or kExclusive
};

}  // namespace vmcache::sqlite

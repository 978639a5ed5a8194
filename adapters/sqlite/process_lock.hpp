// SPDX-License-Identifier: MIT
//
// Keeps other processes out of a database: a write lock on the bytes of the file that SQLite locks
// for reading, as its VFS "unix-excl" does. Other processes' connections get SQLITE_BUSY.
//
// It is a lock of the open file (F_OFD_SETLK). It conflicts with the locks that other VFSes
// take (F_SETLK), in other processes and in this one. Unlike them it stays when the process closes
// some other descriptor of the file.
#pragma once

#include <string>

namespace vmcache::sqlite {

//! Not thread-safe: the database's mutex is held.
class ProcessLock {
 public:
  //! `fd` is the file, open for writing. It stays the caller's.
  explicit ProcessLock(int fd) noexcept : _fd(fd) {}

  [[nodiscard]] bool held() const noexcept { return _held; }
  //! Does not wait. Returns SQLITE_OK, SQLITE_BUSY (somebody has a lock) or SQLITE_IOERR_LOCK; the
  //! latter two are reported, SQLITE_BUSY once until the lock was there.
  [[nodiscard]] int take(const std::string& path);
  void give_back() noexcept;

 private:
  const int _fd;
  bool _held = false;
  bool _told = false;
};

}  // namespace vmcache::sqlite

// SPDX-License-Identifier: MIT
#include "process_lock.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "api.hpp"
#include "report.hpp"

namespace vmcache::sqlite {
namespace {

//! The bytes that SQLite's file format keeps for locks: PENDING, RESERVED, and 510 of which readers
//! lock all. A writer has them all, too.
constexpr off_t kPendingByte = 0x40000000;
constexpr off_t kSharedFirst = kPendingByte + 2;
constexpr off_t kSharedBytes = 510;

int lock_call(int fd, int command, struct flock& lock) noexcept {
  int result = 0;
  do {
    result = ::fcntl(fd, command, &lock);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? errno : 0;
}

struct flock shared_bytes(short type) noexcept {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = kSharedFirst;
  lock.l_len = kSharedBytes;
  return lock;
}

//! Who has the lock, as far as the kernel tells.
std::string holder(int fd) {
  struct flock lock = shared_bytes(F_WRLCK);
  if (lock_call(fd, F_OFD_GETLK, lock) != 0 || lock.l_type == F_UNLCK) return "somebody";
  if (lock.l_pid <= 0) return "another program that has it open with the VFS vmcache";
  if (lock.l_pid == ::getpid()) return "a connection of this process with another VFS";
  return "process " + std::to_string(lock.l_pid);
}

}  // namespace

int ProcessLock::take(const std::string& path) {
  if (_held) return SQLITE_OK;
  struct flock lock = shared_bytes(F_WRLCK);
  const int error = lock_call(_fd, F_OFD_SETLK, lock);
  if (error == 0) {
    _held = true;
    _told = false;
    return SQLITE_OK;
  }
  if (error != EAGAIN && error != EACCES) {
    return report(SQLITE_IOERR_LOCK, "locking " + path + ": " + std::strerror(error) +
                                         ": the file system must have locks (fcntl)");
  }
  if (!std::exchange(_told, true)) {
    report(SQLITE_BUSY, path + ": " + holder(_fd) +
                            " has a lock on it. One process at a time can have a database open "
                            "with the VFS vmcache, and no other VFS at that time");
  }
  return SQLITE_BUSY;
}

void ProcessLock::give_back() noexcept {
  if (!std::exchange(_held, false)) return;
  struct flock lock = shared_bytes(F_UNLCK);
  lock_call(_fd, F_OFD_SETLK, lock);
}

}  // namespace vmcache::sqlite

// SPDX-License-Identifier: MIT
//
// The locks that the connections of this process hold on one database.
//
// L1: any number of connections are SHARED or more; at most one of them, the writer, is more.
// L2: while the writer is PENDING or more, nobody becomes SHARED.
// L3: the writer is EXCLUSIVE only while nobody else is SHARED. If others still are, it becomes
//     PENDING and is told SQLITE_BUSY; it asks again, and no new reader gets in between (L2).
#pragma once

#include "api.hpp"

namespace vmcache::sqlite {

//! SQLite's names for the levels; it asks for SHARED, RESERVED and EXCLUSIVE.
enum LockLevel : int {
  kNone = SQLITE_LOCK_NONE,
  kShared = SQLITE_LOCK_SHARED,
  kReserved = SQLITE_LOCK_RESERVED,
  kPending = SQLITE_LOCK_PENDING,
  kExclusive = SQLITE_LOCK_EXCLUSIVE,
};

//! Not thread-safe: the database's mutex is held, except that a connection may read its own level.
class LockTable {
 public:
  struct Holder {
    int level = kNone;
  };

  //! Whether try_lock() would let one more connection become SHARED.
  [[nodiscard]] bool admits_reader() const noexcept {
    return _writer == nullptr || _writer->level < kPending;
  }
  //! Returns SQLITE_OK, or SQLITE_BUSY: another connection is in the way.
  [[nodiscard]] int try_lock(Holder& holder, int wanted) noexcept {
    if (holder.level >= wanted) return SQLITE_OK;
    if (wanted == kShared) {
      if (!admits_reader()) return SQLITE_BUSY;
      ++_holders;
      holder.level = kShared;
      return SQLITE_OK;
    }
    // Without SHARED there is no way to more: SQLite never asks for it.
    if (holder.level < kShared) return SQLITE_MISUSE;
    if (_writer != nullptr && _writer != &holder) return SQLITE_BUSY;
    _writer = &holder;
    if (wanted == kExclusive && _holders > 1) {
      holder.level = kPending;
      return SQLITE_BUSY;
    }
    holder.level = wanted;
    return SQLITE_OK;
  }
  //! `to` is kShared or kNone. Does nothing if the level is not above it.
  void unlock(Holder& holder, int to) noexcept {
    if (holder.level <= to) return;
    if (_writer == &holder) _writer = nullptr;
    if (to == kNone) --_holders;
    holder.level = to;
  }
  //! Whether somebody holds RESERVED or more.
  [[nodiscard]] bool reserved() const noexcept { return _writer != nullptr; }
  [[nodiscard]] bool unused() const noexcept { return _holders == 0; }

 private:
  unsigned _holders = 0;      // that are SHARED or more
  Holder* _writer = nullptr;  // the one that is RESERVED or more
};

}  // namespace vmcache::sqlite

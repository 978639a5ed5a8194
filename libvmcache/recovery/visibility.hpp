// SPDX-License-Identifier: MIT
//
// "Visible together" (docs/recovery.md, R13): which commits are in the trees only in part, and how
// a reader finds out whether it has met one. A look-up returns only after the commit that last
// changed its key has been applied as a whole. So whatever the reader reads later, it sees all of
// that commit.
//
// Invariants
//  V1  A leaf that holds a change of a commit C while C is being applied has an LSN of at least the
//      end of C's record (R2). That stays true when the entry moves, because splits and merges give
//      all their pages the end of a later record.
//  V2  applied_lsn() is a position a such that no commit whose record ends at or before a is being
//      applied, now or later. To find it, the log's end is read first, and then the gate is found
//      empty. A commit that was inside before has left, so its changes are in the trees. A commit
//      that enters later appends its record behind a.
//  V3  While C is being applied, C's transaction has locked each key that C changes. Its number
//      (LockOwner::applying) is the end of C's record. The number is set before C's first change,
//      and the locks are released after its last. No other commit has the same number.
//
// A reader takes key and LSN from one version of a leaf. If the LSN is at most a, no change in the
// leaf is of a commit that is being applied (V1, V2). Otherwise the reader looks at the key's lock.
// If the lock has a number, the reader waits until that number is gone. It holds no latch while it
// waits, and it does not read again.
//
// Interleavings
//  - The leaf is read before C's change, and the lock is looked at while C is applied. The reader
//    waits although it need not, but no longer than C takes. It returns what was there before C,
//    and has seen nothing of C.
//  - The leaf is read after C's change, and the lock is looked at after C has ended and D has
//    locked the key. D's number is 0 until D logs. If it is not 0, the reader waits for D although
//    it need not; that wait ends, too. It never takes D's change for C's, because it does not read
//    again. For the same reason, a key that is changed all the time cannot keep a reader waiting.
//  - A split moves the entry between the reader's looks at the parent and at the leaf. The parent's
//    version has changed, and the look-up begins anew.
//  - The leaf is written, evicted and read again while C is being applied. Its LSN is a part of it.
//  - C fails half-way, and with it the log. Its locks are never released. Whoever meets one gets
//    the log's error.
//
// Who waits for whom: readers wait for commits that are being applied. These wait for frames,
// latches and the log's writer, and never for a reader. (A reader holds only locks, which are
// answered with Errc::kConflict, and guards of its own making.) A task waits by letting other tasks
// run, so the committing task of its thread goes on. A blocking call inside a task cannot do so,
// and gives up with kBusy.
#pragma once

#include <atomic>
#include <cstdint>

#include "recovery/gate.hpp"
#include "recovery/lock_table.hpp"
#include "recovery/tree_set.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

//! Answers what readers ask in ChangeLog. Thread-safe.
class Visibility {
 public:
  Visibility(const WriteAheadLog& log, const Gate& gate, const TreeSet& trees,
             LockTable& locks) noexcept
      : _log(log), _gate(gate), _trees(trees), _locks(locks) {}

  //! V2. Looks only every few calls of a thread; in between it returns what it found last.
  [[nodiscard]] Lsn applied_lsn() noexcept;
  //! ChangeLog::commit_being_applied(). Throws Error kIo.
  [[nodiscard]] std::uint64_t commit_being_applied(PageId root, Bytes key);

 private:
  const WriteAheadLog& _log;
  const Gate& _gate;
  const TreeSet& _trees;
  LockTable& _locks;
  std::atomic<Lsn> _applied{0};  // what was found last
};

}  // namespace vmcache

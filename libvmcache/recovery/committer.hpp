// SPDX-License-Identifier: MIT
//
// The way of a commit. What it must have before its record is in the log, it gets in this order:
//
//   1  space in the log for all that it may append (R10); it may wait for a checkpoint
//   2  pages for all that its changes may allocate (R15); it gets them at once or is refused
//   3  a place in the gate, which is closed while a snapshot is taken (R5)
//   4  extents for its large values, filled with their bytes (R15)
//
// Then the record is appended, and the changes are made in the trees. The commit keeps 1 to 3 until
// all its changes are made. If a change fails, log and trees differ, which only a recovery can
// mend: the log fails, and with it the database.
#pragma once

#include <cstdint>
#include <exception>
#include <vector>

#include "recovery/change_recorder.hpp"
#include "recovery/checkpoints.hpp"
#include "recovery/commit_needs.hpp"
#include "recovery/gate.hpp"
#include "recovery/lock_table.hpp"
#include "recovery/log_space.hpp"
#include "recovery/page_space.hpp"
#include "recovery/tree_set.hpp"
#include "recovery/write_set.hpp"
#include "vmcache/detail/btree/large_value.hpp"
#include "vmcache/task.hpp"
#include "vmcache/worker.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

namespace detail {
class PagedStore;
class StorageFlush;
}  // namespace detail

//! Logs changes, then makes them in the trees. Thread-safe.
class Committer {
 public:
  Committer(WriteAheadLog& log, BufferPool& pool, detail::PagedStore& store, Gate& gate,
            TreeSet& trees, ChangeRecorder& recorder, LogSpace& log_space,
            Checkpoints& checkpoints);

  //! Commits, and returns the end of the commit's record. `owner` has locked the keys. Waits.
  //! Throws Error: kTooLarge, kDatabaseFull, kIo, and what changing a tree throws. Nothing has
  //! happened then, unless the log has failed.
  Lsn commit(const WriteSet& changes, LockOwner& owner);
  //! Does the same in a Worker's task, and suspends the task where commit() waits. It needs the
  //! thread for checkpoints (otherwise Error kInvalidOption).
  Task<Lsn> commit(Worker& worker, const WriteSet& changes, LockOwner& owner);
  //! Suspends a task until the log is durable up to `lsn`. Throws Error kIo.
  Task<> wait_durable(Worker& worker, Lsn lsn);
  //! Opens a tree for the first time, and makes it if there is none. Waits. Throws Error.
  const BTree& open_tree(unsigned index);

 private:
  class ReserveLogOp;
  class GateOp;
  using PlacedValues = std::vector<btree::PlacedValue>;  // in the order of the changes

  [[nodiscard]] BTree& tree_of(const WriteSet::Change& change) const noexcept {
    return *_trees.find(change.tree);
  }
  void check_log_size(std::uint64_t bytes) const;
  [[nodiscard]] LogReservation reserve_log(std::uint64_t bytes);
  [[nodiscard]] PageReservation reserve_exact_pages(const WriteSet& changes);
  [[nodiscard]] Task<PageReservation> reserve_exact_pages(Worker& worker, const WriteSet& changes);
  [[nodiscard]] PageReservation reserve_pages_or_throw(std::uint64_t pages);
  [[nodiscard]] PlacedValues place_large(const WriteSet& changes);
  Lsn append(const WriteSet& changes, LockOwner& owner);
  void fail_half_made(const std::exception& error, LockOwner& owner) noexcept;

  WriteAheadLog& _log;
  BufferPool& _pool;
  const PageAllocator& _allocator;
  const detail::StorageFlush& _storage_flush;
  Gate& _gate;
  TreeSet& _trees;
  ChangeRecorder& _recorder;
  LogSpace& _log_space;
  Checkpoints& _checkpoints;
  const CommitNeeds _needs;
  PageSpace _page_space;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "recovery/checkpointer.hpp"
#include "recovery/gate.hpp"
#include "recovery/lock_table.hpp"
#include "recovery/log_format.hpp"
#include "recovery/log_room.hpp"
#include "recovery/write_set.hpp"
#include "vmcache/database.hpp"

namespace vmcache {

//! The inside of a Database. R1 ... are the rules of docs/recovery.md.
class Database::Impl final : public ChangeLog {
 public:
  explicit Impl(const DatabaseOptions& options);
  ~Impl() override;

  void close();
  //! Says what went wrong where nobody can be told by an exception.
  void report(const char* doing, const char* what) noexcept;
  //! At its pace.
  void checkpoint();
  [[nodiscard]] const BTree& tree(unsigned index);

  //! Of a Worker that runs this thread.
  [[nodiscard]] bool in_task() const noexcept;
  //! What waits for the gate or a checkpoint must not be done there: they may wait for another task of the thread. Throws Error
  //! kInvalidOption.
  void refuse_in_task(const char* doing) const;

  //! Logs the changes, then makes them in the trees. Returns the record's end.
  Lsn apply(const WriteSet& changes);
  //! The same in a task.
  Task<Lsn> apply(Worker& worker, const WriteSet& changes);
  Task<> wait_durable(Worker& worker, Lsn lsn);

  // ChangeLog: told by the trees, under the pages' exclusive latches.
  void page_will_change(PageId page_id) noexcept override;
  void page_changed(PageId page_id) noexcept override;
  void structure_changed(std::span<const PageChange> pages) noexcept override;
  void value_written(PageId page_id) noexcept override;

  WriteAheadLog log;
  std::unique_ptr<BufferPool> pool;
  LockTable locks;
  RecoveryStats recovery;
  std::atomic<std::uint64_t> checkpoints{0};

 private:
  class Entry;
  //! What the changes may append at worst.
  [[nodiscard]] static std::uint64_t most_logged(const WriteSet& changes) noexcept;
  //! Appends the commit's record. For who has room and is inside the gate.
  Lsn log_commit(const WriteSet& changes);
  [[nodiscard]] BTree& tree_of(const WriteSet::Change& change) const noexcept {
    return *_by_index[change.tree].load(std::memory_order_acquire);
  }
  //! Only a recovery can make whole what is in the log and half in the trees.
  void fail_half_made(const std::exception& error) noexcept;
  //! Room in the log for what a commit may append at worst, taken before it enters the gate (R10). Makes a checkpoint
  //! if there is none. Throws Error kTooLarge, and what checkpoint() throws.
  [[nodiscard]] LogRoom::Held take_room(std::uint64_t bytes);
  void open(const DatabaseOptions& options);
  void append_snapshot(std::uint64_t next_page, std::span<const Extent> free, std::span<const PageId> roots);
  Lsn take_snapshot();
  void append_pages(std::span<const PageChange> pages, unsigned root);
  void append_or_fail(std::span<const PageChange> pages) noexcept;
  [[nodiscard]] const BTree& make_tree(unsigned index);
  [[nodiscard]] BTree& tree_at(PageId root);
  //! Throws Error kTooLarge if the log is too small for that.
  void check_room(std::uint64_t bytes) const;
  void checkpoint_if_due(Lsn end) noexcept;
  //! Under _checkpoint_mutex.
  void make_checkpoint();
  //! Reports what goes wrong. Returns whether nothing did.
  [[nodiscard]] bool try_checkpoint() noexcept;

  const LogCallback _callback;
  LogRoom _room{log};
  Gate _gate;
  // What every commit reads and next to nobody writes, apart from what each commit writes.
  //! E: a page whose LSN is not greater has no image since the checkpoint's start.
  alignas(64) std::atomic<Lsn> _image_after{0};
  std::array<std::atomic<BTree*>, kTrees> _by_index{};
  bool _open = false;
  alignas(64) std::mutex _checkpoint_mutex;
  Pace _pace;
  std::atomic<std::uint64_t> _failed_checkpoints{0};  // those of try_checkpoint()
  std::mutex _trees_mutex;
  std::map<PageId, std::unique_ptr<BTree>> _trees;
  std::optional<Checkpointer> _checkpointer;  // last: it uses the rest
};

}  // namespace vmcache

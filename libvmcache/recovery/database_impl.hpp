// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "recovery/gate.hpp"
#include "recovery/lock_table.hpp"
#include "recovery/log_format.hpp"
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
  void checkpoint();
  [[nodiscard]] const BTree& tree(unsigned index);

  //! Logs the changes (ChangeHeader, key, value, ...), then makes them in the trees. Returns the record's end.
  Lsn apply(Bytes changes, std::uint64_t count);

  // ChangeLog: told by the trees, under the pages' exclusive latches.
  void page_changed(PageId page_id) noexcept override;
  void structure_changed(std::span<const PageChange> pages) noexcept override;

  WriteAheadLog log;
  std::unique_ptr<BufferPool> pool;
  LockTable locks;
  RecoveryStats recovery;
  std::atomic<std::uint64_t> checkpoints{0};

 private:
  //! Room in the log for what a commit may append at worst, taken before it enters the gate (R10).
  class Room {
   public:
    Room(Impl& database, std::uint64_t bytes);
    ~Room();
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;

   private:
    Impl& _database;
    const std::uint64_t _bytes;
  };

  void open(const DatabaseOptions& options);
  void append_snapshot(std::uint64_t next_page, std::span<const Extent> free, std::span<const PageId> roots);
  Lsn take_snapshot();
  void append_pages(std::span<const PageChange> pages, unsigned root);
  void redo_changes(Bytes changes);
  [[nodiscard]] const BTree& make_tree(unsigned index);
  [[nodiscard]] BTree& tree_at(PageId root);
  void checkpoint_if_due() noexcept;

  const LogCallback _callback;
  Gate _gate;
  std::atomic<Lsn> _image_after{
      0};  // E: a page whose LSN is not greater has no image since the checkpoint's start
  std::mutex _checkpoint_mutex;
  std::mutex _room_mutex;
  std::uint64_t _reserved = 0;
  std::mutex _trees_mutex;
  std::map<PageId, std::unique_ptr<BTree>> _trees;
  std::array<std::atomic<const BTree*>, kTrees> _by_index{};
  bool _open = false;
};

}  // namespace vmcache

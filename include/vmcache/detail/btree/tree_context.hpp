// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <span>
#include <vector>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/export.hpp"
#include "vmcache/types.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT btree {

//! What the operations of one BTree object share. Thread-safe.
class TreeContext {
 public:
  TreeContext(BufferPool& pool, PageId root);
  TreeContext(const TreeContext&) = delete;
  TreeContext& operator=(const TreeContext&) = delete;

  [[nodiscard]] BufferPool& pool() const noexcept { return _pool; }
  [[nodiscard]] PageId root() const noexcept { return _root; }
  //! For what changes the tree. Throws Error kReadOnly.
  void require_writable() const {
    if (_pool.read_only()) [[unlikely]]
      refuse_change();
  }

  //! Asks for permission to hold a new page while waiting for other pages. If it is granted,
  //! leave_split() gives it back. At most an eighth of the pool may be held like this. If every one
  //! of many tasks held a page, none would find frames for its path. If instead each gave its page
  //! back before it waits, new pages and paths would evict each other for ever.
  [[nodiscard]] bool try_enter_split() noexcept;
  void leave_split() noexcept { _splits.fetch_sub(1, std::memory_order_relaxed); }

  //! \name Which structural changes the tree may make. For recovery, which sets this between its
  //! passes. @{
  struct Structure {
    //! If false, an upsert that finds a full leaf ends without a change.
    bool may_split = true;
    bool may_merge = true;  //!< if false, leaves may stay nearly or wholly empty
  };
  [[nodiscard]] Structure structure() const noexcept { return _structure; }
  //! Call it only while no operation is under way.
  void set_structure(Structure structure) noexcept { _structure = structure; }
  //! @}

  //! For the log, if there is one. Called under the exclusive latches of the pages, before they are
  //! changed or freed ...
  void pages_will_change(std::initializer_list<const ExclusiveGuard*> guards) const noexcept {
    if (ChangeLog* log = _pool.change_log()) {
      for (const ExclusiveGuard* guard : guards) log->page_will_change(guard->page_id());
    }
  }
  //! ... and after that.
  void page_changed(const ExclusiveGuard& guard) const noexcept {
    if (ChangeLog* log = _pool.change_log()) log->page_changed(guard.page_id());
  }
  void structure_changed(std::initializer_list<PageChange> pages) const noexcept {
    if (ChangeLog* log = _pool.change_log()) log->structure_changed({pages.begin(), pages.size()});
  }
  //! An entry of `leaf` has changed. It now leads to the extents `placed`, and no longer to `left`.
  void value_changed(const ExclusiveGuard& leaf, std::span<const Extent> placed,
                     std::span<const Extent> left) const noexcept;
  void value_written(const ExclusiveGuard& extent) const noexcept {
    if (ChangeLog* log = _pool.change_log()) log->value_written(extent.page_id());
  }

  //! Maximum number of levels that the tree has had; 0: not known.
  [[nodiscard]] unsigned max_levels() const noexcept {
    return _max_levels.load(std::memory_order_relaxed);
  }
  void note_levels(unsigned levels) noexcept {
    unsigned known = max_levels();
    while (known < levels &&
           !_max_levels.compare_exchange_weak(known, levels, std::memory_order_relaxed))
      continue;
  }
  //! \name "Visible together": what a reader asks of the log (docs/recovery.md, R13)
  //! @{

  //! False if a leaf with that LSN cannot hold a change of a commit that is being applied.
  [[nodiscard]] bool may_be_applying(Lsn leaf) const noexcept {
    // Acquire: a thread that sees a commit as applied also sees its changes. Pairs with the release
    // in commit_on().
    return leaf > _applied.load(std::memory_order_acquire);
  }
  //! The number of the commit that is being applied and changes `key`, which was read in a leaf
  //! with that LSN. 0 if there is none. Throws Error kIo.
  [[nodiscard]] std::uint64_t commit_on(Bytes key, Lsn leaf) const;
  //! True while that commit is being applied. Throws Error kIo.
  [[nodiscard]] bool still_on(Bytes key, std::uint64_t commit) const;
  //! @}

  //! A new stamp. It tells apart two large values that lie in the same place one after the other.
  [[nodiscard]] std::uint64_t next_stamp() noexcept {
    return _stamp.fetch_add(1, std::memory_order_relaxed);
  }

  //! Keeps extents that belong to nothing any more and could not be freed, because their operation
  //! ended early. Later operations try again. After the next open the extents are free in any case.
  void leave_orphans(std::vector<Extent>&& extents) noexcept;
  //! Frees an extent that belongs to nothing any more, or keeps it as an orphan.
  void give_back(Extent extent) noexcept;
  [[nodiscard]] bool has_orphans() const noexcept {
    return _orphans_left.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::vector<Extent> take_orphans();
  [[nodiscard]] std::uint64_t orphan_pages() const;

 private:
  [[noreturn]] void refuse_change() const;

  BufferPool& _pool;
  const PageId _root;
  //! Leaves with an LSN up to this hold only changes of commits that have been applied. Without a
  //! log: all leaves.
  mutable std::atomic<Lsn> _applied;
  Structure _structure;
  std::atomic<std::uint64_t> _stamp;
  std::atomic<std::uint64_t> _splits{0};
  std::atomic<unsigned> _max_levels{0};
  std::atomic<bool> _orphans_left{false};
  mutable std::mutex _mutex;
  std::vector<Extent> _orphans;
};

//! The page contradicts itself or its parent. Throws Error kCorrupt.
[[noreturn]] void throw_corrupt(PageId page_id, const char* what);

}  // namespace btree
}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <span>
#include <vector>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/types.hpp"

namespace vmcache::btree {

//! What the operations of one BTree object share. Thread-safe.
class TreeContext {
 public:
  TreeContext(BufferPool& pool, PageId root);
  TreeContext(const TreeContext&) = delete;
  TreeContext& operator=(const TreeContext&) = delete;

  [[nodiscard]] BufferPool& pool() const noexcept { return _pool; }
  [[nodiscard]] PageId root() const noexcept { return _root; }

  //! Whether the caller may hold a new page while it waits for others; if so, leave_split() ends that. There are places
  //! for an eighth of the pool: were each of many tasks to hold a page, none would find frames for its path; and were
  //! each to give its page back before it waits, new pages and paths would drive each other out for ever.
  [[nodiscard]] bool try_enter_split() noexcept;
  void leave_split() noexcept { _splits.fetch_sub(1, std::memory_order_relaxed); }

  //! For the log, if there is one. To be called under the exclusive latches of the pages, before they are changed (or freed) ...
  void pages_will_change(std::initializer_list<const ExclusiveGuard*> guards) const noexcept {
    if (ChangeLog* log = _pool.change_log()) {
      for (const ExclusiveGuard* guard : guards) log->page_will_change(guard->page_id());
    }
  }
  //! ... and when they were.
  void page_changed(const ExclusiveGuard& guard) const noexcept {
    if (ChangeLog* log = _pool.change_log()) log->page_changed(guard.page_id());
  }
  void structure_changed(std::initializer_list<PageChange> pages) const noexcept {
    if (ChangeLog* log = _pool.change_log()) log->structure_changed({pages.begin(), pages.size()});
  }
  //! A leaf's entry has changed that leads, or led, to extents with a value.
  void value_changed(const ExclusiveGuard& leaf, std::span<const Extent> placed,
                     std::span<const Extent> left) const noexcept;
  void value_written(const ExclusiveGuard& extent) const noexcept {
    if (ChangeLog* log = _pool.change_log()) log->value_written(extent.page_id());
  }

  //! Tells apart two large values that lie in the same place one after the other.
  [[nodiscard]] std::uint64_t next_stamp() noexcept { return _stamp.fetch_add(1, std::memory_order_relaxed); }

  //! Extents that belong to nothing any more and could not be given back yet, because their operation ended
  //! early. Later operations try again.
  void leave_orphans(std::vector<Extent>&& extents) noexcept;
  [[nodiscard]] bool has_orphans() const noexcept { return _orphans_left.load(std::memory_order_relaxed); }
  [[nodiscard]] std::vector<Extent> take_orphans();
  [[nodiscard]] std::uint64_t orphan_pages() const;

 private:
  BufferPool& _pool;
  const PageId _root;
  std::atomic<std::uint64_t> _stamp;
  std::atomic<std::uint64_t> _splits{0};
  std::atomic<bool> _orphans_left{false};
  mutable std::mutex _mutex;
  std::vector<Extent> _orphans;
};

//! The page contradicts itself or its parent. Throws Error kCorrupt.
[[noreturn]] void throw_corrupt(PageId page_id, const char* what);

}  // namespace vmcache::btree

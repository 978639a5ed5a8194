// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <vector>

#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

//! Which page ids are in use: a buddy system over everything below `next_page`, which grows. Thread-safe.
class PageAllocator {
 public:
  //! `storage` is grown ahead of the ids that are handed out.
  PageAllocator(Storage& storage, std::uint64_t capacity_pages, std::uint64_t next_page);

  //! Throws Error kDatabaseFull (capacity, or os_error() from growing the storage); std::bad_alloc.
  [[nodiscard]] Extent allocate(unsigned order);
  //! Never fails, as giving back has to work where something else has failed: what it needs is taken by allocate(), or
  //! else from a reserve. If even that is used up, the page ids are not handed out again until the next open.
  void free(Extent extent) noexcept;

  //! Takes over extents nobody owns. Throws Error kInvalidOption.
  void adopt(const std::vector<Extent>& extents);
  //! Calls use(next_page, free extents) with both as of one moment.
  template <typename Use>
  void snapshot(Use use) {
    const std::lock_guard lock(_mutex);
    use(next_page(), free_extents());
  }

  //! Lowest id never handed out.
  [[nodiscard]] std::uint64_t next_page() const noexcept {
    return _next_page.load(std::memory_order_acquire);
  }

  //! \name Telling the device of freed extents
  //! Extents that are held are free, but are not handed out.
  //! @{

  //! From now on, free() remembers what was freed.
  void remember_freed() {
    const std::lock_guard lock(_mutex);
    _remember = true;
  }
  //! True if hold_freed() might find something.
  [[nodiscard]] bool freed_to_tell() const {
    const std::lock_guard lock(_mutex);
    return !_last_freed.empty();
  }
  //! A number for hold_freed(): all that was freed until now.
  [[nodiscard]] std::uint64_t freed_mark() const {
    const std::lock_guard lock(_mutex);
    return _first_freed + _last_freed.size();
  }
  //! Of what was freed before `mark` and not been held since: holds what is still free and was not freed again, and
  //! returns it in the order of page ids. Until release_held() it must not be called again.
  [[nodiscard]] std::vector<Extent> hold_freed(std::uint64_t mark);
  void release_held();
  //! @}

  //! \name The free list in storage: a chain of pages, themselves free
  //! @{

  //! Writes it and returns its first page, kNoPage if nothing is free. Throws Error kIo.
  [[nodiscard]] PageId save();
  //! Reads what save() wrote. Throws Error kIo, kCorrupt.
  void load(PageId first);
  //! @}

  [[nodiscard]] std::uint64_t allocated_pages() const noexcept {
    return _allocated.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t freed_pages() const noexcept { return _freed.load(std::memory_order_relaxed); }

 private:
  using Ids = std::set<PageId>;
  using Node = Ids::node_type;

  [[nodiscard]] static Node make_node(PageId page_id);
  void insert(Extent extent, Node node) noexcept;
  void fill_reserve() noexcept;
  [[nodiscard]] bool take_free(unsigned order, Extent& extent);
  [[nodiscard]] Extent extend(unsigned order);
  void grow_storage(std::uint64_t pages);
  [[nodiscard]] std::vector<Extent> free_extents() const;
  [[nodiscard]] bool hold(Extent extent);

  Storage& _storage;
  const std::uint64_t _capacity_pages;
  mutable std::mutex _mutex;
  std::array<Ids, kMaxOrder + 1> _free;
  Ids _reserve;  // nodes for free()
  bool _remember = false;
  std::vector<Extent> _last_freed;  // since they were last held
  std::uint64_t _first_freed = 0;   // number of the first of them
  std::vector<Extent> _held;        // in the order of page ids, while they are being collected
  std::atomic<std::uint64_t> _next_page;
  std::uint64_t _storage_pages;
  std::atomic<std::uint64_t> _allocated{0};
  std::atomic<std::uint64_t> _freed{0};
};

}  // namespace vmcache

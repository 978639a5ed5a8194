// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <vector>

#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

//! Which page ids are in use: a buddy system over everything below `next_page`, which grows.
//! Thread-safe.
class PageAllocator {
 public:
  //! `storage` is grown ahead of the ids that are handed out.
  PageAllocator(Storage& storage, std::uint64_t capacity_pages, std::uint64_t next_page);

  //! Throws Error kDatabaseFull (capacity, or os_error() from growing the storage); std::bad_alloc.
  [[nodiscard]] Extent allocate(unsigned order);
  //! `count` single pages, or none. `in_a_row`: with ids that follow one another, all of which were
  //! never handed out. The same errors.
  [[nodiscard]] std::vector<Extent> allocate_pages(std::size_t count, bool in_a_row);
  //! False, and nothing is changed, if the extent is not in_use(). Never fails otherwise, as giving
  //! back has to work where something else has failed: what it needs is taken by allocate(), or
  //! else from a reserve. If even that is used up, the page ids are not handed out again until the
  //! next open.
  [[nodiscard]] bool free(Extent extent) noexcept;

  //! Whether an extent may lie there: aligned, of an order up to kMaxOrder, below next_page().
  [[nodiscard]] bool covers(Extent extent) const noexcept;
  //! Whether it covers the extent and none of its pages is free.
  [[nodiscard]] bool in_use(Extent extent) const;

  //! Takes over extents nobody owns. Throws Error kInvalidOption.
  void adopt(std::vector<Extent> extents);
  //! Calls use(next_page, free extents) with both as of one moment.
  template <typename Use>
  void snapshot(Use use) {
    const std::lock_guard lock(_mutex);
    use(next_page(), free_extents());
  }

  //! \name Room
  //! @{

  //! Pages that can be handed out, one by one at least, without making the storage longer.
  [[nodiscard]] std::uint64_t available() const noexcept {
    return _available.load(std::memory_order_acquire);
  }
  //! Makes the storage longer so that `wished` pages are available, or at least `needed`. Returns
  //! whether these are; if not, growth_error() says why.
  [[nodiscard]] bool make_available(std::uint64_t needed, std::uint64_t wished) noexcept;
  //! The errno with which the storage last refused to become longer; 0: it has not, so the capacity
  //! is the limit.
  [[nodiscard]] int growth_error() const noexcept {
    return _growth_error.load(std::memory_order_relaxed);
  }
  //! @}

  //! \name Extents that nobody owns any more and that cannot be freed yet, because a latch or fault
  //! is in the way @{

  //! From now on they are free for all that ask what is free (snapshot(), save()), but are not
  //! handed out before free(). Whoever calls this calls free() later, or never: then it is the next
  //! open that hands them out.
  void leave(Extent extent) noexcept;
  //! @}

  //! \name The lists of free extents that a database's checkpoints write, in pages that are free
  //! themselves
  //!
  //! There are two: the one from which a recovery would begin, and the one of a checkpoint that is
  //! being made. Their pages are held: they are free for all that ask what is free, but are not
  //! handed out.
  //!
  //! Invariants
  //!  L1  The pages of a list are held from before it is written until no recovery begins with it
  //!      any more.
  //!  L2  A list is written to pages that were free, and held for nothing else, when its extents
  //!      were counted.
  //!  L3  There is always a page for the next list: of the unused pages, those for it and those for
  //!      the current one are not available(). As many as a list of that many extents could need
  //!      are set aside, and the number falls with the unused pages. So work uses up the rest only;
  //!      to begin a list and to end it makes nothing less available, and a page that is freed pays
  //!      for the entry that it needs. (Some 250 extents of leave() are counted in.)
  //! @{

  //! From now on, with these pages as those of the current list. Throws Error kInvalidOption if one
  //! is in use.
  void keep_lists(const std::vector<PageId>& pages);
  struct FreeList {
    PageId next_page = 1;
    std::vector<Extent> extents;  //!< all that are free
    std::vector<PageId> pages;    //!< for all of them but `elsewhere`
  };
  //! The list as of now, and its pages. Without I/O. Throws Error kDatabaseFull, std::bad_alloc;
  //! then nothing is held.
  [[nodiscard]] FreeList begin_list(std::uint64_t elsewhere);
  //! A recovery would begin with the list that was begun last: gives the pages of the one before
  //! back.
  void end_list() noexcept;
  //! The list that was begun last will not be written.
  void cancel_list() noexcept;
  //! @}

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
  //! Of what was freed before `mark` and not been held since: holds what is still free and was not
  //! freed again, and returns it in the order of page ids. Until release_held() it must not be
  //! called again.
  [[nodiscard]] std::vector<Extent> hold_freed(std::uint64_t mark);
  void release_held();
  //! @}

  //! \name The free list that a close leaves in storage: a chain of pages, themselves free
  //! @{

  //! Writes it, not into the pages of a database's list, and returns its first page, kNoPage if
  //! nothing is free. Throws Error kIo, kDatabaseFull.
  [[nodiscard]] PageId save();
  //! Reads what save() wrote. Throws Error kIo, kCorrupt.
  void load(PageId first);
  //! @}

  [[nodiscard]] std::uint64_t allocated_pages() const noexcept {
    return _allocated.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t freed_pages() const noexcept {
    return _freed.load(std::memory_order_relaxed);
  }

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
  [[nodiscard]] bool any_free(Extent extent) const noexcept;
  [[nodiscard]] std::uint64_t count_free_extents() const noexcept;
  void take_list_page();
  void release(Ids& list) noexcept;
  [[nodiscard]] std::int64_t room() const noexcept;
  void publish_available() noexcept;
  [[nodiscard]] int lengthen_storage(std::uint64_t pages) noexcept;

  Storage& _storage;
  const std::uint64_t _capacity_pages;
  mutable std::mutex _mutex;
  std::array<Ids, kMaxOrder + 1> _free;
  Ids _reserve;  // nodes for free()
  bool _remember = false;
  std::vector<Extent> _last_freed;  // since they were last held
  std::uint64_t _first_freed = 0;   // number of the first of them
  std::vector<Extent> _held;        // in the order of page ids, while they are being collected
  std::vector<Extent> _left;        // leave()
  bool _keeps_lists = false;
  Ids _list;       // pages of the current list
  Ids _next_list;  // ... and of the one that was begun
  std::atomic<std::uint64_t> _next_page;
  std::uint64_t _storage_pages;
  std::uint64_t _free_pages = 0;  // in _free
  std::atomic<std::uint64_t> _available{0};
  std::atomic<int> _growth_error{0};
  std::atomic<std::uint64_t> _allocated{0};
  std::atomic<std::uint64_t> _freed{0};
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Which extents are in memory, and which of them should leave next.
//
// Resident extents are in an array of slots, so that the hands of the replacement can go round
// them. A slot's word names the page whose extent it holds. A page's entry (4 bytes a page) names
// the slot. Whoever brings a page in writes both, and whoever takes it out clears both. Nothing
// searches for a slot, and no slot is ever out of date.
//
// Invariants. "Holds the page" means holding its state word at 0xfe or 0xff.
//  S1  A page's entry, and the page that a slot's word names, change only while that page is held.
//      So any latch, even a shared one, keeps both as they are. Only the bits hot and probed may
//      change at any time, by compare-and-swap.
//  S2  A page that can be latched is in exactly one slot. enter() writes entry and slot before it
//      publishes the page. leave() clears both before it publishes the page as evicted. So a dirty
//      page is always in a slot.
//  S3  A slot is on the free list, or in the hands of one fault that has its frames, or named by
//      one page's entry. Extents do not overlap, so there are never more slots taken than pages,
//      and a free one is always found.
//  S4  A slot's generation moves on when a page leaves it. A compare-and-swap of hot or probed
//      carries the generation. It therefore fails if the page has left meanwhile, even if the same
//      page is back in the same slot. (16 bits: a hand that sleeps while 65536 pages leave one slot
//      marks the wrong resident hot. Nothing worse can happen.)
//  S5  What a hand reads in a slot only tells it where to look. What it takes is what the state
//      word says that it has latched: the order from that word, the slot from the page's entry.
//  S6  A pin is counted under a latch on the page. Whoever takes a page out of memory holds it at
//      0xff, and has then found no pin. So a pinned page stays.
//
// Interleavings that these rules out
//  - A hand reads that slot 7 holds page 8, then stops. The extent at 8 of order 3 is freed, its
//    pages become single pages, and page 8 enters slot 9. The hand goes on and latches page 8: it
//    takes a single page, out of slot 9 (S5). If it believed the order that it saw first, it would
//    take the frames of seven neighbours, too.
//  - A hand reads page 8 in slot 7, cold and not probed. Page 8 leaves, returns to slot 7, and is
//    not probed again. The hand's mark fails (S4).
//  - A checkpoint that scans the slots passes slot 7 when it is empty. Page 8 enters it, is
//    published, and changes. That change is newer than the scan, so newer than the checkpoint's
//    begin, and the checkpoint may miss it. If the slot were entered after publishing, the change
//    could come before the scan, and the checkpoint would miss a page that was dirty when it began
//    (S2).
//  - The scan has passed slot 2 and not reached slot 7. Page 8 leaves slot 7 and enters slot 2. It
//    was clean when it left. So what the checkpoint owes of it is in storage; or it was freed, and
//    nothing is owed.
//  - The scan finds page 8 in a slot while it is being loaded (0xfe). It is clean, or new and not
//    yet given to anybody. The scan passes it by.
//  - An extent is freed while a hand looks at it. Freeing gives the page another version, so the
//    hand's compare-and-swap of the state word fails (I4 in page_state.hpp).
//
// Replacement. Slots are cold or hot. A page enters cold. It enters hot if it was evicted less than
// one turnover of the pool ago; the evicted state word carries the time, so no "ghost list" is
// needed. The cold hand gives every cold page one round. On its first visit it marks the page. On
// the second it evicts the page if nobody has touched it since, or makes it hot. What a page's
// first users do right after its load does not count (correlated references). Hot pages are looked
// at only while fewer than an eighth of all are cold, or the cold ones yield too little. The hot
// hand then marks them and cools those that were not touched for a round. So one scan replaces an
// eighth of the pool. (Ideas: 2Q, Johnson and Shasha, VLDB 1994; CLOCK-Pro, Jiang et al., ATC 2005;
// S3-FIFO, Yang et al., SOSP 2023. Marking without shared writes on hits: vmcache, Leis et al.,
// SIGMOD 2023.)
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "memory/reservation.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

//! How hard a sweep tries.
enum class SweepEffort : std::uint8_t {
  kCold,      //!< by the rules above
  kUnmarked,  //!< hot pages too
  kAny,       //!< any page that is not latched
};

//! The result of sweeps.
struct SweepResult {
  struct Victim {
    Extent extent;
    PageState word;  //!< as it was before the sweep latched it: unlocked and clean
  };
  std::vector<Victim> victims;  //!< clean; exclusively latched by the sweep
  std::vector<Extent> dirty;    //!< shared-latched by the sweep, to be written back
  std::uint64_t victim_pages = 0;

  //! Reserves room for all that sweeps may add; they stop when it is full. `written`: victims that
  //! may come from elsewhere at the same time.
  void reserve(std::size_t written) {
    constexpr std::size_t kMax = 4096;
    victims.reserve(kMax + written);
    dirty.reserve(kMax);
  }
  [[nodiscard]] bool full() const noexcept {
    return victims.size() == victims.capacity() || dirty.size() == dirty.capacity();
  }
  void clear() noexcept {
    victims.clear();
    dirty.clear();
    victim_pages = 0;
  }
};

//! Thread-safe. Lock-free except the list of free slots. Never allocates after construction.
class Residency {
 public:
  //! For `frames` frames now, and page ids below `capacity_pages`. Only reserves address space.
  //! Throws Error kOutOfMemory.
  Residency(AtomicPageState* states, std::uint64_t frames, std::uint64_t capacity_pages);

  //! Of the pages from `first` on few are used, here and there: what is known of them gets no large
  //! pages.
  void expect_few_pages_from(PageId first) const noexcept;

  //! Follows a change of the pool's size.
  void resize(std::uint64_t frames) noexcept { _frames.store(frames, std::memory_order_relaxed); }

  //! Fills `slots`, each for one extent that the caller holds and that has its frames (S3).
  void take_slots(std::span<std::uint32_t> slots) noexcept;
  //! Takes back slots that no page has entered.
  void give_slots(std::span<const std::uint32_t> slots) noexcept;

  //! Puts a page that the caller holds into a slot from take_slots(), then publishes it with the
  //! word `published` (S2). `claimed` is the page's evicted word.
  void enter(std::uint32_t slot, PageId page_id, PageState claimed, PageState published) noexcept;
  //! Takes the victims out of their slots and publishes them as evicted (next version, time of
  //! eviction). Their frames must be gone from their pages.
  void leave(std::span<const SweepResult::Victim> victims) noexcept;
  //! The same for one page that the caller holds. `evicted` is the word that the page gets.
  void leave(PageId page_id, PageState evicted) noexcept;

  //! Adds to `swept` until it has `pages` pages of victims, or `max_dirty` extents to write back
  //! (they will be victims soon), or every slot was seen. With max_dirty = 0, none is picked for
  //! write-back, and only a part is seen.
  void sweep(std::uint64_t pages, std::size_t max_dirty, SweepEffort effort, SweepResult& swept);

  //! Gives slots that no hand has visited yet their first visit: the fewer frames are free the more
  //! slots, and all of them when no frame is free. Called while a pool fills, so that the first
  //! fault that finds it full need not go round all of it. Makes at most some thousand visits a
  //! call, and none once every slot has had one.
  void visit_new(std::uint64_t free_frames) noexcept;

  //! A page that nobody is expected to use again: the cold hand takes it at its first visit, unless
  //! somebody uses it until then. The caller holds a shared latch on it.
  void used_once(PageId page_id) noexcept;

  //! Looks at twice as many hot pages as are `wanted`, and makes those cold that were not used for
  //! a round.
  void cool_down(std::uint64_t wanted) noexcept;

  //! Calls visit(PageId) for the first page of each resident, and of some that are being loaded.
  //! Pages come and go meanwhile; one that was dirty when the call began, and is dirty still, is
  //! not missed.
  template <typename Visit>
  void for_each(Visit visit) const {
    const std::uint64_t slots = _used_slots.load(std::memory_order_acquire);
    for (std::uint64_t slot = 0; slot < slots; ++slot) {
      const Entry entry{_slots[slot].load(std::memory_order_acquire)};
      if (!entry.empty()) visit(entry.page_id());
    }
  }

  //! \name Pins (S6)
  //! @{
  //! False if more than `max` pages would be pinned in all. The caller holds a latch on the page.
  [[nodiscard]] bool pin(PageId page_id, std::uint64_t max) noexcept;
  void unpin(PageId page_id) noexcept;
  //! What the holder of 0xff finds stays so.
  [[nodiscard]] bool pinned(PageId page_id) const noexcept {
    return _pins.load(std::memory_order_acquire) > 0 &&
           _pins_of[page_id].load(std::memory_order_acquire) > 0;
  }
  [[nodiscard]] std::uint64_t pins() const noexcept {
    return _pins.load(std::memory_order_relaxed);
  }
  //! @}

  [[nodiscard]] std::uint64_t promotions() const noexcept {
    return _promotions.load(std::memory_order_relaxed);
  }

 private:
  //! A slot's word: page id (46 bits) | generation (16 bits) | probed | hot. Page id 0 never
  //! resides, so a slot without one is empty; it keeps its generation.
  struct Entry {
    std::uint64_t bits = 0;
    static constexpr std::uint64_t kHot = 1 << 0;
    static constexpr std::uint64_t kProbed = 1 << 1;  // the cold hand has visited it once
    static constexpr std::uint64_t kGenerationUnit = 1 << 2;
    static constexpr std::uint64_t kGenerationMask = std::uint64_t{0xffff} << 2;
    static constexpr unsigned kPageShift = 18;
    [[nodiscard]] bool empty() const noexcept { return page_id() == kNoPage; }
    [[nodiscard]] bool hot() const noexcept { return (bits & kHot) != 0; }
    [[nodiscard]] bool probed() const noexcept { return (bits & kProbed) != 0; }
    [[nodiscard]] PageId page_id() const noexcept { return bits >> kPageShift; }
    //! The word of the slot after the page has left it.
    [[nodiscard]] std::uint64_t left() const noexcept {
      return (bits + kGenerationUnit) & kGenerationMask;
    }
  };
  using Slot = std::atomic<std::uint64_t>;

  [[nodiscard]] std::uint32_t remove(PageId page_id) noexcept;
  void visit_cold(std::uint32_t slot, Entry entry, SweepEffort effort, std::size_t max_dirty,
                  SweepResult& swept);
  void visit_hot(std::uint32_t slot, Entry entry) noexcept;
  void pick(PageId page_id, PageState word, std::size_t max_dirty, SweepResult& swept);
  bool mark(std::uint32_t slot, Entry from, std::uint64_t to) noexcept;
  [[nodiscard]] std::uint8_t stamp() const noexcept;

  AtomicPageState* _states;
  const Reservation _slot_memory;
  const Reservation _entry_memory;
  const Reservation _free_memory;
  const Reservation _pin_memory;
  Slot* const _slots;
  // The pages' entries: slot + 1, or 0 for none (S1: ordered by the pages' latches).
  std::uint32_t* const _slot_of;
  std::atomic<std::uint32_t>* const _pins_of;  // by page
  std::atomic<std::uint64_t> _pins{0};         // pages of all pins
  std::atomic<std::uint64_t> _frames;
  std::atomic<std::uint64_t> _used_slots{0};  // slots ever used; the hands go round these
  // so many slots, from the first, have had their first visit
  std::atomic<std::uint64_t> _visited_slots{0};
  std::atomic<std::uint64_t> _cold_hand{0};
  std::atomic<std::uint64_t> _hot_hand{0};
  std::atomic<std::int64_t> _resident{0};
  std::atomic<std::int64_t> _hot{0};
  std::atomic<std::uint64_t> _evictions{0};
  std::atomic<std::uint64_t> _promotions{0};
  std::mutex _free_mutex;
  std::uint32_t* const _free;  // a stack of the slots that were used and are free
  std::size_t _free_count = 0;
};

}  // namespace vmcache

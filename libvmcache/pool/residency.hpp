// SPDX-License-Identifier: MIT
//
// Which extents are in memory, and which of them should leave next.
//
// Residents are kept in an array of slots. A slot's word names the extent; a page enters a slot when it has
// been loaded, and leaves it lazily: whoever sweeps over a slot whose page is evicted, or is resident under
// another slot (the tag in the state word is the low byte of the right one), clears it. So nothing ever
// searches for a slot.
//
// Replacement. Slots are cold or hot. A page enters cold (hot if it was evicted less than one turnover of the
// pool ago: the evicted state word carries the time, so the "ghost list" costs nothing). The cold hand gives
// every cold page one round: on its first visit it marks it, on the second it evicts it if nobody touched it
// since, or makes it hot. What a page's first users do right after its load does not count (correlated
// references). Hot pages are looked at only while the cold ones are fewer than an eighth of all, or yield too
// little: the hot hand marks them, and cools those untouched for a round. So one scan replaces an eighth of the pool.
// (Ideas: 2Q, Johnson and Shasha, VLDB 1994; CLOCK-Pro, Jiang et al., ATC 2005; S3-FIFO, Yang et al., SOSP
// 2023. Marking without shared writes on hits: vmcache, Leis et al., SIGMOD 2023.)
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

//! What a sweep brings back.
struct Harvest {
  struct Victim {
    Extent extent;
    std::uint32_t slot;
    PageState word;  //!< as it was before we latched it: unlocked and clean
  };
  struct Dirty {
    Extent extent;
    std::uint32_t slot;
  };
  std::vector<Victim> victims;  //!< clean; exclusively latched by the sweep
  std::vector<Dirty> dirty;     //!< shared-latched by the sweep, to be written back
  std::uint64_t victim_pages = 0;

  //! The most it takes: sweeps stop when it is full. `written`: victims that may come from elsewhere at once.
  void reserve(std::size_t written) {
    constexpr std::size_t kMost = 4096;
    victims.reserve(kMost + written);
    dirty.reserve(kMost);
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

//! Thread-safe; all of it lock-free but the list of free slots.
class Residency {
 public:
  //! Slots for `frames` extents and the slack that lazy leaving needs; grows up to `max_frames`.
  Residency(AtomicPageState* states, std::uint64_t frames, std::uint64_t max_frames, unsigned slack);

  void grow(std::uint64_t frames);

  //! Fills `slots`. There is always one for an extent that has its frames: stale ones are collected when too few are
  //! left.
  void take_slots(std::span<std::uint32_t> slots);
  void give_slots(std::span<const std::uint32_t> slots);

  //! Tag to publish in the state word of a page that will enter `slot`.
  [[nodiscard]] static std::uint8_t tag_of(std::uint32_t slot) noexcept {
    return static_cast<std::uint8_t>(slot);
  }
  //! `claimed` is the page's evicted word; the page must have been published with the slot's tag before.
  void enter(std::uint32_t slot, Extent extent, PageState claimed) noexcept;
  //! Books the victims out of their slots, publishes them as evicted (next version, time of eviction) and frees the slots.
  //! Their frames must be gone from their pages.
  void leave(std::span<const Harvest::Victim> victims) noexcept;

  //! Adds to `harvest` until it has `pages` pages of victims, or `max_dirty` extents to write back (they will
  //! be victims soon), or every slot was seen. With max_dirty = 0, none is picked for write-back, and
  //! only a part is seen.
  void sweep(std::uint64_t pages, std::size_t max_dirty, SweepEffort effort, Harvest& harvest);

  //! Looks at hot pages, twice as many as are `wanted`, and makes those cold that were not used for a round.
  void cool_down(std::uint64_t wanted) noexcept;

  //! Calls visit(Extent) for what is in the slots; racy by nature.
  template <typename Visit>
  void for_each(Visit visit) const {
    const std::uint64_t slots = _used_slots.load(std::memory_order_acquire);
    for (std::uint64_t slot = 0; slot < slots; ++slot) {
      const Entry entry{_slots[slot].load(std::memory_order_acquire)};
      if (!entry.empty()) visit(entry.extent());
    }
  }

  [[nodiscard]] std::uint64_t promotions() const noexcept {
    return _promotions.load(std::memory_order_relaxed);
  }

 private:
  //! A slot's word: page id << 8 | probed | hot | order. Page id 0 never resides, so 0 is an empty slot.
  struct Entry {
    std::uint64_t bits = 0;
    static constexpr std::uint64_t kHot = 1 << 4;
    static constexpr std::uint64_t kProbed = 1 << 5;  // the cold hand has visited it once
    [[nodiscard]] bool empty() const noexcept { return bits == 0; }
    [[nodiscard]] bool hot() const noexcept { return (bits & kHot) != 0; }
    [[nodiscard]] bool probed() const noexcept { return (bits & kProbed) != 0; }
    [[nodiscard]] Extent extent() const noexcept { return {bits >> 8, static_cast<unsigned>(bits & 0xf)}; }
  };
  using Slot = std::atomic<std::uint64_t>;

  //! How many of `slots` it could fill, from the front.
  [[nodiscard]] std::size_t try_take_slots(std::span<std::uint32_t> slots);
  void collect_stale();
  [[nodiscard]] bool book_out(const Harvest::Victim& victim) noexcept;
  void visit_cold(std::uint32_t slot, Entry entry, SweepEffort effort, std::size_t max_dirty,
                  Harvest& harvest);
  void visit_hot(std::uint32_t slot, Entry entry) noexcept;
  [[nodiscard]] bool drop_if_stale(std::uint32_t slot, Entry entry, PageState word);
  void pick(std::uint32_t slot, Entry entry, PageState word, std::size_t max_dirty, Harvest& harvest);
  bool replace(std::uint32_t slot, Entry from, std::uint64_t to) noexcept;
  [[nodiscard]] std::uint8_t stamp() const noexcept;

  AtomicPageState* _states;
  Reservation _memory;
  Slot* _slots;
  std::atomic<std::uint64_t> _frames;
  std::atomic<std::uint64_t> _limit;          // slots that may be used
  std::atomic<std::uint64_t> _used_slots{0};  // slots ever used: what the hands go round
  const unsigned _slack;
  std::atomic<std::uint64_t> _cold_hand{0};
  std::atomic<std::uint64_t> _hot_hand{0};
  std::atomic<std::int64_t> _resident{0};
  std::atomic<std::int64_t> _hot{0};
  std::atomic<std::uint64_t> _evictions{0};
  std::atomic<std::uint64_t> _promotions{0};
  std::mutex _free_mutex;
  std::vector<std::uint32_t> _free;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "pool/page_allocator.hpp"
#include "recovery/counted_reservation.hpp"
#include "recovery/thread_slot.hpp"

namespace vmcache {

class PageSpace;
//! Pages of the page file. Kept until what they were reserved for is in the trees.
using PageReservation = CountedReservation<PageSpace>;

//! Reserves page ids, and storage for them, before a commit's record is in the log (R15). Whatever
//! is in the log can then be applied. Thread-safe.
//!
//! A commit reserves as many pages as it may allocate at worst, and gives the reservation back when
//! its changes are in the trees. A page that it allocates meanwhile is counted twice: as allocated
//! and as reserved. That may refuse another commit, but never promises one too much.
//!
//! As in LogSpace there are two ways to reserve. A small commit reserves in one of a few slots, and
//! so writes to a cache line that few other threads use. Each slot has a bounded part, so all slots
//! together hold at most kQuick pages. All other reservations are counted in one counter.
//!
//! Invariant P1: all reserved pages that are not allocated yet are together at most available().
//!   A quick reservation raises its slot, then reads `counted`, and reads available() last. It
//!   needs counted + kQuick available pages. A counted reservation raises `counted`, then reads
//!   the slots, and reads available() last. It needs their sum to be available.
//!   The first two steps of each are sequentially consistent. So of a quick and a counted
//!   reservation made at the same time, at least one sees the other. If the counted one does, the
//!   quick one is in its sum. If the quick one does, it has left the whole quick share free. Two
//!   quick reservations need not see each other, because they share the quick share.
//!   available() is read last because a commit allocates pages before it gives its reservation
//!   back. Whoever no longer sees the reservation sees the pages as allocated. The release in
//!   ~CountedReservation and the acquire in these reads ensure that.
class PageSpace {
 public:
  explicit PageSpace(PageAllocator& allocator) noexcept : _allocator(allocator) {}

  //! Makes the storage longer if necessary. Returns an empty reservation if too few pages are left.
  //! Reserving 0 pages always succeeds.
  [[nodiscard]] PageReservation try_reserve(std::uint64_t pages) noexcept {
    if (pages == 0) return {_counted, 0};
    std::atomic<std::uint64_t>& quick = _slots[thread_slot() % kSlots].quick;
    if (pages <= kPart) {
      const bool in_part = quick.fetch_add(pages, std::memory_order_seq_cst) + pages <= kPart;
      if (in_part && leaves_quick_share(_counted.load(std::memory_order_seq_cst)))
        return {quick, pages};
      quick.fetch_sub(pages, std::memory_order_release);
    }
    const std::uint64_t counted = _counted.fetch_add(pages, std::memory_order_seq_cst) + pages;
    if (leaves_quick_share(counted) || is_available(counted)) return {_counted, pages};
    _counted.fetch_sub(pages, std::memory_order_release);
    return {};
  }

 private:
  static constexpr std::size_t kSlots = 16;
  //! Pages of one slot. Enough for two changes of a tree of three levels.
  static constexpr std::uint64_t kPart = 24;
  static constexpr std::uint64_t kQuick = kSlots * kPart;
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> quick{0};
  };

  [[nodiscard]] bool leaves_quick_share(std::uint64_t counted) const noexcept {
    return counted + kQuick <= _allocator.available();
  }
  //! The slow way: few pages are left, or the storage can be made longer.
  [[nodiscard]] bool is_available(std::uint64_t counted) noexcept {
    std::uint64_t reserved = counted;
    for (const Slot& slot : _slots) reserved += slot.quick.load(std::memory_order_seq_cst);
    // Asks for some more pages, so that the next callers need not read all slots.
    return _allocator.make_available(reserved, reserved + 2 * kQuick);
  }

  PageAllocator& _allocator;
  std::array<Slot, kSlots> _slots;
  alignas(64) std::atomic<std::uint64_t> _counted{0};
};

}  // namespace vmcache

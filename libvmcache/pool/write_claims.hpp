// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "vmcache/types.hpp"

namespace vmcache::detail {

//! The pages that are on their way to storage. A page whose copy is being written is not latched
//! meanwhile. So it may change, become dirty again, and even be freed and belong to another owner.
//! But a second write of the same place must not overtake the first.
//!
//! Invariants
//!  W1  Every write of a page begins with its claim, and ends, in storage or with an error, before
//!      the claim is given back. So at most one write of a page is under way.
//!  W2  The dirty mark is read after the claim was taken: what an earlier write has made clean is
//!      seen clean.
//!  W3  An extent of several pages is written only if none of its pages is claimed as a single
//!      page, which it was before it became part of the extent. (The reverse cannot happen: such
//!      extents are latched while they are written.)
//! Thread-safe, lock-free, never allocates.
class WriteClaims {
 public:
  WriteClaims() : _slots(std::make_unique<std::atomic<PageId>[]>(kSlots)) {}

  //! False if the page is claimed, or, rarely, another page is that has the same slot; try again
  //! later.
  [[nodiscard]] bool try_claim(PageId page_id) noexcept {
    PageId none = 0;  // page 0 is the header's and never resides
    return slot_of(page_id).compare_exchange_strong(none, page_id, std::memory_order_acq_rel);
  }
  void release(PageId page_id) noexcept { slot_of(page_id).store(0, std::memory_order_release); }
  [[nodiscard]] bool claimed(PageId page_id) const noexcept {
    return slot_of(page_id).load(std::memory_order_acquire) == page_id;
  }

 private:
  //! Many times the writes that are on the way at once.
  static constexpr std::size_t kSlots = std::size_t{1} << 14;

  [[nodiscard]] std::atomic<PageId>& slot_of(PageId page_id) const noexcept {
    return _slots[page_id * 0x9e3779b97f4a7c15 >> 50];
  }

  std::unique_ptr<std::atomic<PageId>[]> _slots;
};

}  // namespace vmcache::detail

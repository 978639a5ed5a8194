// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "vmcache/types.hpp"

namespace vmcache::detail {

//! The pages that are on their way to storage. A page that was copied to be written is not latched while its copy is written, so
//! it may change, become dirty again, even be freed and be somebody else's; what must not happen is that a second write of the
//! place overtakes the first.
//!
//! Invariants
//!  W1  Every write of a page begins with its claim and ends, in storage or with an error, before the claim is given back. So there is
//!      at most one write of a page on the way.
//!  W2  The dirty mark is looked at after the claim was taken: what an earlier write has made clean is seen clean.
//!  W3  An extent of several pages is written only if none of its pages is claimed as a page of its own, which it was before
//!      it became a part of the extent. (The other way round cannot be: such extents are latched while they are written.)
//! Thread-safe, lock-free, never allocates.
class WriteClaims {
 public:
  WriteClaims() : _slots(std::make_unique<std::atomic<PageId>[]>(kSlots)) {}

  //! False if the page is claimed, or, by a rare chance, another one that lies in the same slot: try again later.
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

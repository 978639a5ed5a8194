// SPDX-License-Identifier: MIT
//
// Pages of a file that leave memory because the file is cut, or closed.
#pragma once

#include <cstdint>

#include "vmcache/types.hpp"

namespace vmcache::detail {

class PoolCore;

//! Latches a page of a file exclusively if it is in memory, with no write of it under way, so that
//! what is done to it and to its place in the file cannot be undone by that write.
class PageHold {
 public:
  enum class Result : std::uint8_t { kHeld, kNotThere, kBusy };

  //! Waits until `deadline_ns` at most.
  [[nodiscard]] static Result take(PoolCore& core, PageId page_id, std::uint64_t deadline_ns);
  //! Unchanged.
  static void give_back(PoolCore& core, PageId page_id) noexcept;
};

//! A page of [begin, end) that stays latched or pinned for frame_wait, or kNoPage.
[[nodiscard]] PageId find_held(PoolCore& core, PageId begin, PageId end);

enum class Dirty : std::uint8_t { kDrop, kKeep };

struct TakenOut {
  PageId gone = kNoPage;  //!< the lowest page of those that are gone
  PageId held = kNoPage;  //!< the first page of the extent that has stopped it, or kNoPage
};

//! Takes the pages [begin, end) of a file out of memory, from the last one down, without writing
//! them, and forgets their orders. `begin` is not inside an extent. No more of them come in (D1).
//! Stops at an extent that is latched or pinned for frame_wait, or is dirty and to be kept.
[[nodiscard]] TakenOut take_out(PoolCore& core, PageId begin, PageId end, Dirty dirty);

}  // namespace vmcache::detail

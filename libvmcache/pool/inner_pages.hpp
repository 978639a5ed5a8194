// SPDX-License-Identifier: MIT
#pragma once

#include "vmcache/types.hpp"

namespace vmcache::detail {

class PoolCore;

//! Marks the pages of an extent behind its first one as its inner pages (I10 of page_state.hpp).
//! For an extent that the caller has claimed, and that this pool has not seen before. False, with
//! nothing changed, if a page inside is known to be something else.
[[nodiscard]] bool mark_inner(PoolCore& core, Extent extent) noexcept;

//! Undoes mark_inner() for what lies between `first` and `end`. All that is marked there is the
//! caller's: an extent that began in between would have been in mark_inner()'s way.
void unmark_inner(PoolCore& core, PageId first, PageId end) noexcept;

//! The first page of the extent that a page is inside of, as far as this pool knows, or the page
//! itself. It may be out of date at once.
[[nodiscard]] PageId extent_head(const PoolCore& core, PageId page_id) noexcept;

//! Forgets what extent begins at a page of a file that is not in memory: another one may be fixed
//! there. False, with nothing changed, if the page is in memory or on its way.
[[nodiscard]] bool forget_extent(PoolCore& core, PageId page_id) noexcept;

}  // namespace vmcache::detail

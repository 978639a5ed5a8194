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

}  // namespace vmcache::detail

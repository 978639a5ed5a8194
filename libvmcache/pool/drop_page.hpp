// SPDX-License-Identifier: MIT
//
// Pages that leave memory because their owner asks for it: BufferPool::drop(), File::drop() and
// File::discard().
#pragma once

#include "pool/take_out.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

class PoolCore;

//! Takes the extents that begin in [begin, end) out of memory. All of them are of the database, or
//! of one file that stays open meanwhile. With Dirty::kKeep, changes are written back first; with
//! kDrop they are lost. Throws Error: kBusy, with the page (it stays latched, or is changed all the
//! time, for frame_wait; or it is pinned); kInvalidPage (`begin` is inside an extent); kIo. The
//! extents before that page are then gone. Of a file's extents, in memory or not, the order is
//! forgotten. Returns one past the last page: that of the last extent, if it reaches beyond `end`.
[[nodiscard]] PageId drop_pages(PoolCore& core, PageId begin, PageId end, Dirty dirty);

}  // namespace vmcache::detail

// SPDX-License-Identifier: MIT
//
// How extents are given back.
//
//  F1  An extent is freed once. Whoever frees it holds its state word at 0xfe or 0xff. Of two who
//      free the same extent, the second therefore finds the word of a free page. The page allocator
//      also refuses an extent of which any page is free. Both are checked before anything changes.
//  F2  The frames of an extent of several pages are gone before its page ids are handed out again,
//      because those may come back as parts of other extents, which have words of their own. A
//      single page keeps its frame: its next owner finds it under the same word.
//  F3  From the moment that the guard is taken from the caller nothing can fail, and nothing waits
//      for I/O, for a checkpoint or for a resize. The page-table call has a context of its own,
//      whose lock is held for that call only.
#pragma once

#include <span>

#include "vmcache/error.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

class PagedStore;
class PoolCore;

//! \name Extents and guards with the page ids of a database
//! @{
//! Returns the extent under `guard`, of any size. Throws Error kInvalidPage if it cannot be freed.
//! Changes nothing.
[[nodiscard]] Extent check_free(const PagedStore& store, const ExclusiveGuard& guard);
//! BufferPool::free(). Throws Error kInvalidPage; the guard then holds the page as before.
void free_extent(PagedStore& store, ExclusiveGuard& guard);
//! BufferPool::try_free() for an extent whose word was seen to be `word`, which is evicted. False
//! if the word has changed.
[[nodiscard]] bool try_free_evicted(PagedStore& store, Extent extent, PageState word);
//! @}

//! Takes away the frames of extents that the caller holds exclusively, with one page-table call,
//! and publishes the extents as evicted and of that use: kUnknown forgets their orders, too. One
//! thread at a time uses a context. A failure is that of the page-table call; the rest is done all
//! the same.
Status drop(PoolCore& core, unsigned context, std::span<const Extent> extents,
            PageState::Use use = PageState::Use::kFree) noexcept;
//! Gives back the ids of extents that were dropped.
void free_dropped(PoolCore& core, std::span<const Extent> extents, const Status& dropped) noexcept;

//! Takes all pages of [begin, end) that are neither latched nor pinned out of memory, dirty ones
//! without writing them, so that no fix of them is a hit. For use after a failed flush, when their
//! content no longer counts (R14).
void drop_all(PoolCore& core, PageId begin, PageId end) noexcept;
//! T4 of paged_store.hpp, for pages none of which is in memory.
void forget(PoolCore& core, PageId begin, PageId end) noexcept;

}  // namespace vmcache::detail

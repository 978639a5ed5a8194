// SPDX-License-Identifier: MIT
//
// What a pool does as a whole, or a database in it, on top of the engines: checkpoints, shrinking,
// new extents.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pool/free_list.hpp"
#include "vmcache/detail/fault.hpp"
#include "vmcache/function_ref.hpp"
#include "vmcache/identity.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache::detail {

class Engine;
class PagedStore;
class PoolCore;

//! What a checkpoint says between two bursts of writes.
struct CheckpointProgress {
  std::uint64_t worked_ns =
      0;  //!< by it or the device since it was last said; not what it has waited for a log
  std::uint64_t done = 0, all = 0;  //!< extents
};
//! Sleeps for as long as is right, or returns false: then the next burst does not wait for this
//! one's end.
using CheckpointThrottle = FunctionRef<bool(const CheckpointProgress&)>;

//! The extents of [begin, end) that are dirty or latched exclusively, in the order of page ids:
//! that is the order of the file. One that was so when the call began, and is so still, is not
//! missed.
[[nodiscard]] std::vector<Extent> dirty_extents(const PoolCore& core, PageId begin, PageId end);
//! Writes back all pages of the database that are dirty now. Throws Error: kIo with the first page
//! that could not be written, kBusy with the first page that stayed exclusively latched for
//! frame_wait (the others were then tried once), or that others wrote for ten times as long.
//! Pages that were not written stay dirty.
void write_back_all(PagedStore& store, CheckpointThrottle throttle);
//! Throws Error kBusy, with the page, if somebody holds a latch: `doing` must not go on then. What
//! it does not see is latches that are taken meanwhile.
void refuse_latched(const PoolCore& core, const char* doing);
//! Writes back, flushes, writes the header, and tells the storage of freed page ids:
//! BufferPool::checkpoint(). The header says that all changes from before the checkpoint `identity`
//! are in the page file, if it is given. Throws Error.
void checkpoint(PagedStore& store, CheckpointThrottle throttle, const Identity* identity = nullptr);
//! Writes extents to pages of the free list that are held for it. To flush it is the caller's.
//! Throws Error: kIo, kBusy with a page of which an older write does not end.
void write_list(PagedStore& store, std::span<const Extent> extents, std::span<const PageId> pages,
                const FreeListId& id);
//! The part of it that comes after the write-back, for which what was freed before `freed`
//! (PageAllocator::freed_mark()) does not count any more.
void end_checkpoint(PagedStore& store, std::uint64_t freed, const Identity* identity);
//! Writes back those of these extents that are dirty, with an engine of its own: waits for nobody
//! else's writes. They are in ascending order, and have this log or none. Throws Error as
//! write_back_all(), with the page ids of `store` if it is given.
void write_back_pages(PoolCore& core, const std::vector<Extent>& pages, WriteAhead* log,
                      const PagedStore* store = nullptr);
//! As fast as it goes.
inline constexpr auto kWithoutPause = [](const CheckpointProgress&) { return false; };
//! BufferPool::digest(), for when all is written. Throws Error kIo.
[[nodiscard]] std::uint64_t digest(PagedStore& store);
//! Tells the storage of the page ids that were freed before `mark` (PageAllocator::freed_mark())
//! and are free still. For what a checkpoint has made durable: nothing there leads to them any
//! more. What fails is logged.
void deallocate_freed(PagedStore& store, std::uint64_t mark);
//! Throws Error kPoolExhausted; the size is then as before.
void resize(PoolCore& core, Engine& engine, std::uint64_t frames);

//! Gives `request` the goal of a new extent of 2^order pages. Throws Error kDatabaseFull,
//! kInvalidPage, kReadOnly.
void prepare_new(PagedStore& store, FaultRequest& request, unsigned order);
//! After it has ended: throws if it failed, and gives the page ids back then.
void settle_new(PagedStore& store, const FaultRequest& request);
//! Gives the ids of a new extent back that nobody has got.
void undo_new(PagedStore& store, const FaultRequest& request) noexcept;

}  // namespace vmcache::detail

// SPDX-License-Identifier: MIT
//
// What a pool does as a whole, on top of its engines: checkpoints, shrinking, new extents.
#pragma once

#include <cstdint>

#include "vmcache/btree/bytes.hpp"
#include "vmcache/fault.hpp"

namespace vmcache::detail {

class Engine;
class PoolCore;

//! What a checkpoint says between two bursts of writes.
struct CheckpointProgress {
  std::uint64_t worked_ns =
      0;  //!< by it or the device since it was last said; not what it has waited for a log
  std::uint64_t done = 0, all = 0;  //!< extents
};
//! Sleeps for as long as is right, or returns false: then the next burst does not wait for this one's end.
using CheckpointPace = FunctionRef<bool(const CheckpointProgress&)>;

//! Writes back all pages dirty now. Throws Error: kIo with the first page that could not be written, kBusy
//! with a page that stayed exclusively latched for frame_wait. Pages that were not written stay dirty.
void write_back_all(PoolCore& core, CheckpointPace pace);
//! Writes back, flushes, and tells the storage of freed page ids: BufferPool::checkpoint(). Throws Error.
void checkpoint(PoolCore& core, CheckpointPace pace);
//! As fast as it goes.
inline constexpr auto without_pause = [](const CheckpointProgress&) { return false; };
//! BufferPool::digest(), for when all is written. Throws Error kIo.
[[nodiscard]] std::uint64_t digest(PoolCore& core);
//! Makes durable what was written. Throws Error kIo.
void flush(PoolCore& core);
//! Tells the storage of the page ids that were freed before `mark` (PageAllocator::freed_mark()) and are free still.
//! For what a checkpoint has made durable: nothing there leads to them any more. What fails is logged.
void deallocate_freed(PoolCore& core, std::uint64_t mark);
//! Throws Error kPoolExhausted; the size is then as before.
void resize(PoolCore& core, Engine& engine, std::uint64_t frames);

//! Gives `request` the goal of a new extent of 2^order pages. Throws Error kDatabaseFull, kInvalidPage.
void prepare_new(PoolCore& core, FaultRequest& request, unsigned order);
//! After it has ended: throws if it failed, and gives the page ids back then.
void settle_new(PoolCore& core, const FaultRequest& request);

}  // namespace vmcache::detail

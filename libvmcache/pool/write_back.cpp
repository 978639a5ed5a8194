// SPDX-License-Identifier: MIT
#include "pool/write_back.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <vector>

#include "pool/engine.hpp"
#include "pool/pool_core.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {
namespace {

std::uint64_t patience_ns(const PoolCore& core) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(core.options.frame_wait).count());
}

//! In the order of page ids: that is the order of the file.
std::vector<Extent> dirty_extents(const PoolCore& core) {
  std::vector<Extent> extents;
  core.residency.for_each([&](Extent extent) {
    const PageState word = core.states()[extent.page_id].load();
    // An exclusive holder may be about to dirty it: that counts as dirty.
    if (word.dirty() || word.exclusive()) extents.push_back(extent);
  });
  std::ranges::sort(extents, {}, &Extent::page_id);
  return extents;
}

//! Starts the write-back of an extent that may be dirty. False if it stayed exclusively latched. The service engine is
//! not kept while waiting: whoever frees an extent holds its latch and needs the engine.
bool start_write_back(PoolCore& core, Extent extent, WriteBatch& batch) {
  constexpr timespec kPause{0, 50'000};
  const std::uint64_t deadline = now_ns() + patience_ns(core);
  for (;;) {
    bool started = false;
    core.engines.with_service([&](Engine& engine) {
      started = engine.write_back(extent, batch);
      if (!started) engine.turn(false);
    });
    if (started) return true;
    if (now_ns() > deadline) return false;
    ::nanosleep(&kPause, nullptr);
  }
}

}  // namespace

void write_back_all(PoolCore& core) {
  const std::vector<Extent> extents = dirty_extents(core);
  WriteBatch batch;
  Status busy;
  try {
    for (const Extent& extent : extents) {
      if (!start_write_back(core, extent, batch)) busy = {Errc::kBusy, 0, extent.page_id};
    }
  } catch (const std::bad_alloc&) {
    core.engines.with_service([](Engine& engine) { engine.drain(); });  // they know of the batch
    throw;
  }
  core.engines.with_service([](Engine& engine) { engine.drain(); });
  if (!batch.first_error.ok()) throw Error(batch.first_error, "write-back");
  if (!busy.ok()) throw Error(busy, "write-back: the page stayed exclusively latched");
}

void flush(PoolCore& core) {
  core.flushes.fetch_add(1, std::memory_order_relaxed);
  if (const int error = core.storage->flush(); error != 0) {
    throw Error(Status{Errc::kIo, error, kNoPage},
                fmt::format("flushing {} {}", core.storage->description(), core.storage->last_failure()));
  }
}

void deallocate_freed(PoolCore& core, std::uint64_t mark) {
  const std::lock_guard lock(core.deallocate_mutex);
  std::vector<ByteRange> ranges;
  for (const Extent& extent : core.allocator.hold_freed(mark)) {
    const std::uint64_t offset = extent.page_id * kPageSize;
    if (!ranges.empty() && ranges.back().offset + ranges.back().bytes == offset) {
      ranges.back().bytes += extent.bytes();
    } else {
      ranges.push_back({offset, extent.bytes()});
    }
  }
  const int error = ranges.empty() ? 0 : core.storage->deallocate(ranges);
  core.allocator.release_held();
  if (error == 0) return;
  core.log(LogLevel::kWarning,
           fmt::format("deallocating freed pages: {} {}", Status{Errc::kIo, error, kNoPage}.to_string(),
                       core.storage->last_failure()));
}

void resize(PoolCore& core, Engine& engine, std::uint64_t frames) {
  const std::uint64_t before = core.pool_frames.load(std::memory_order_relaxed);
  if (frames >= before) {
    if (const Status status = core.memory->resize(frames); !status.ok())
      throw Error(status, "growing the pool");
    core.residency.grow(frames);
    core.pool_frames.store(frames, std::memory_order_relaxed);
    core.give_frames(frames - before);
    return;
  }
  const std::uint64_t fewer = before - frames;
  core.owe_frames(fewer);
  const std::uint64_t deadline = now_ns() + patience_ns(core);
  while (core.free_frames() < 0) {
    if (now_ns() > deadline) {
      core.give_frames(fewer);
      engine.drain();
      throw Error(
          Status{Errc::kPoolExhausted, core.last_write_error(), kNoPage},
          fmt::format("shrinking the pool from {} to {} pages: too many are latched or cannot be written",
                      before, frames));
    }
    const auto owed = static_cast<std::uint64_t>(std::max<std::int64_t>(-core.free_frames(), 1));
    const bool late = now_ns() + patience_ns(core) / 2 > deadline;
    engine.evict(std::min<std::uint64_t>(owed, core.options.evict_batch),
                 late ? SweepEffort::kAny : SweepEffort::kUnmarked);
    engine.turn(true);
  }
  engine.drain();
  core.pool_frames.store(frames, std::memory_order_relaxed);
  core.residency.grow(frames);
  // A registration would keep what is given back.
  core.memory->hide_frames();
  core.storage->forget_memory();
  (void)core.memory->resize(frames);  // giving memory back is a courtesy; the frames are not used any more
}

void prepare_new(PoolCore& core, FaultRequest& request, unsigned order) {
  if (order > kMaxOrder) {
    throw Error(Errc::kInvalidPage, fmt::format("allocate: order {}; allowed are 0 to {}", order, kMaxOrder));
  }
  request.extent = core.allocator.allocate(order);
  request.goal = FaultRequest::Goal::kNew;
  request.status = {};
}

void settle_new(PoolCore& core, const FaultRequest& request) {
  if (request.status.ok()) return;
  core.allocator.free(request.extent);
  throw Error(request.status);
}

}  // namespace vmcache::detail

// SPDX-License-Identifier: MIT
#include "pool/write_back.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <new>
#include <span>
#include <utility>
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

//! A run of pages at a time, so that the service engine is free for others in between.
class WriteBackAll {
 public:
  WriteBackAll(PoolCore& core, CheckpointPace pace) : _core(core), _pace(pace) {}

  void run() {
    const std::vector<Extent> extents = dirty_extents(_core);
    _busy.reserve(extents.size());
    _batch.again.reserve(extents.size());
    try {
      for (std::span<const Extent> rest = extents; !rest.empty();) {
        rest = start_burst(rest);
        const std::uint64_t left = rest.size();
        if (_paced) finish_burst();
        _paced = _pace({std::exchange(_worked_ns, 0), extents.size() - left, extents.size()});
      }
      for (const Extent& extent : _busy) wait_and_start(extent);
      drain();
      write_again();
    } catch (const std::bad_alloc&) {
      drain();  // they know of the batch
      throw;
    }
    drain();
    if (!_batch.first_error.ok()) throw Error(_batch.first_error, "write-back");
    if (!_late.ok()) throw Error(_late, "write-back: the page stayed exclusively latched");
  }

 private:
  //! Requests on the way: enough for a device, few enough for the memory of their copies.
  static constexpr std::uint64_t kRequests = 16;

  //! Requests between two pauses: a device that has just been given them keeps others waiting for about a millisecond.
  static constexpr unsigned kBurst = 8;

  //! Starts with the first of them, and returns the rest.
  std::span<const Extent> start_burst(std::span<const Extent> rest) {
    const std::uint64_t began = now_ns();
    for (unsigned i = 0; i < kBurst && !rest.empty(); ++i) rest = rest.subspan(start(rest));
    _worked_ns += now_ns() - began;
    return rest;
  }
  //! Leaves the device to others.
  void finish_burst() {
    for (bool more = true; more;) {
      _core.engines.with_service([&](Engine& engine) {
        more = _batch.outstanding > 0;  // whoever else has the engine may have ended the last of ours
        if (!more) return;
        const std::uint64_t began = now_ns();
        const bool at_the_device = engine.in_flight() > 0;
        engine.turn(true);
        if (at_the_device) _worked_ns += now_ns() - began;
      });
    }
  }
  //! Starts with the first of them, and returns how many it has dealt with.
  std::size_t start(std::span<const Extent> rest) {
    std::size_t seen = 0;
    _core.engines.with_service([&](Engine& engine) {
      while (_batch.outstanding >= kRequests) engine.turn(true);
      if (rest.front().order > 0) {
        seen = engine.write_back(rest.front(), _batch) ? 1 : 0;
      } else {
        seen = engine.write_back_run(rest.first(neighbours(rest)), _batch);
      }
      engine.turn(false);
    });
    if (seen == 0) {
      _busy.push_back(rest.front());
      seen = 1;
    }
    return seen;
  }
  //! How many single pages lie one after the other from the first on.
  static std::size_t neighbours(std::span<const Extent> rest) noexcept {
    std::size_t n = 1;
    while (n < rest.size() && n < kRunPages && rest[n].order == 0 && rest[n].page_id == rest[0].page_id + n)
      ++n;
    return n;
  }
  //! For what was latched exclusively. The service engine is not kept while waiting: whoever frees an extent holds its
  //! latch and needs the engine.
  void wait_and_start(Extent extent) {
    constexpr timespec kPause{0, 50'000};
    const std::uint64_t deadline = now_ns() + patience_ns(_core);
    for (;;) {
      bool started = false;
      _core.engines.with_service([&](Engine& engine) {
        started = engine.write_back(extent, _batch);
        if (!started) engine.turn(false);
      });
      if (started) return;
      if (now_ns() > deadline) {
        _late = {Errc::kBusy, 0, extent.page_id};
        return;
      }
      ::nanosleep(&kPause, nullptr);
    }
  }
  //! The pages of writes that failed. The failure is told even if each of them can be written now; else the page that cannot.
  void write_again() {
    const std::vector<Extent> again = std::exchange(_batch.again, {});
    if (again.empty()) return;
    const Status of_several = std::exchange(_batch.first_error, {});
    for (const Extent& extent : again) wait_and_start(extent);
    drain();
    if (_batch.first_error.ok()) _batch.first_error = of_several;
  }
  void drain() {
    _core.engines.with_service([](Engine& engine) { engine.drain(); });
  }

  PoolCore& _core;
  CheckpointPace _pace;
  bool _paced = true;
  std::uint64_t _worked_ns = 0;
  WriteBatch _batch;
  std::vector<Extent> _busy;
  Status _late;
};

}  // namespace

void write_back_all(PoolCore& core, CheckpointPace pace) {
  WriteBackAll(core, pace).run();
}

void checkpoint(PoolCore& core, CheckpointPace pace) {
  const std::uint64_t freed = core.allocator.freed_mark();
  write_back_all(core, pace);
  flush(core);
  core.write_header(false, kNoPage);
  deallocate_freed(core, freed);
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

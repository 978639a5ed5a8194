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

#include "pool/busy_watch.hpp"
#include "pool/engine.hpp"
#include "pool/log_watch.hpp"
#include "pool/page_writer.hpp"
#include "pool/pool_core.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {

std::vector<Extent> dirty_extents(const PoolCore& core, PageId begin, PageId end) {
  std::vector<Extent> extents;
  core.residency.for_each([&](PageId page_id) {
    if (page_id < begin || page_id >= end) return;
    const PageState word = core.states()[page_id].load();
    // An exclusive holder may be about to dirty it: that counts as dirty.
    if (word.dirty() || word.exclusive()) extents.push_back({page_id, word.order()});
  });
  std::ranges::sort(extents, {}, &Extent::page_id);
  return extents;
}

namespace {

//! A run of pages at a time, so that the service engine is free for others in between.
class WriteBackAll {
 public:
  //! With `own`, or the service engine if it is null.
  WriteBackAll(PoolCore& core, CheckpointThrottle throttle, WriteAhead* log, Engine* own,
               const PagedStore* store)
      : _core(core), _throttle(throttle), _log(log), _own(own), _store(store) {}

  //! Of these extents, in ascending order, those that are dirty.
  void run(const std::vector<Extent>& extents) {
    _busy.reserve(extents.size());
    _batch.again.reserve(extents.size());
    try {
      for (std::span<const Extent> rest = extents; !rest.empty() && _late.ok();) {
        rest = start_burst(rest);
        const std::uint64_t left = rest.size();
        if (_paced) finish_burst();
        _paced = _throttle({std::exchange(_worked_ns, 0), extents.size() - left, extents.size()});
      }
      wait_and_start(_busy);
      drain();
      write_again();
    } catch (const std::bad_alloc&) {
      drain();  // they know of the batch
      throw;
    }
    drain();
    if (!_batch.first_error.ok()) throw Error(told(_batch.first_error), "write-back");
    if (!_late.ok()) throw Error(told(_late), why_late(_log_stands));
  }

 private:
  [[nodiscard]] Status told(const Status& status) const noexcept {
    return _store != nullptr ? _store->told(status) : status;
  }
  template <typename Use>
  void with_engine(Use use) {
    _own != nullptr ? use(*_own) : _core.engines.with_service(use);
  }

  //! Requests on the way: enough for a device, few enough for the memory of their copies.
  static constexpr std::uint64_t kRequests = 16;

  //! Requests between two pauses: a device that has just been given them keeps others waiting for
  //! about a millisecond.
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
    LogWatch log(_core, _log);
    for (bool more = true; more;) {
      with_engine([&](Engine& engine) {
        // Whoever else has the engine may have ended the last of ours.
        more = _batch.outstanding > 0;
        if (!more) return;
        const std::uint64_t began = now_ns();
        const bool at_the_device = engine.in_flight() > 0;
        turn(engine, log);
        if (at_the_device) _worked_ns += now_ns() - began;
      });
    }
  }
  //! Waits for writes. Those that wait for a log that does not move are given up, so that a thread
  //! whose own loop flushes the log is not kept here for ever (E4 in engine.hpp).
  void turn(Engine& engine, LogWatch& log) {
    engine.turn(true);
    if (!log.stands_still()) return;
    const PageId page_id = engine.writer().give_up_held(_batch);
    if (page_id == kNoPage) return;
    _late = {Errc::kBusy, 0, page_id};
    _log_stands = true;
  }
  //! Starts with the first of them, and returns how many it has dealt with.
  std::size_t start(std::span<const Extent> rest) {
    std::size_t seen = 0;
    LogWatch log(_core, _log);
    with_engine([&](Engine& engine) {
      while (_batch.outstanding >= kRequests || !engine.has_room()) turn(engine, log);
      seen = start_with(engine, rest, false);
      engine.turn(false);
    });
    if (seen == 0) {
      _busy.push_back(rest.front());
      seen = 1;
    }
    return seen;
  }
  std::size_t start_with(Engine& engine, std::span<const Extent> rest, bool ahead_of_log) {
    _ahead_of_log = false;
    if (rest.front().order == 0)
      return engine.writer().write_back_run(rest.first(neighbours(rest)), _batch);
    const PageWriter::Outcome result =
        engine.writer().write_back(rest.front(), _batch, ahead_of_log);
    _ahead_of_log = result == PageWriter::Outcome::kAheadOfLog;
    return result == PageWriter::Outcome::kDone ? 1 : 0;
  }
  //! How many single pages lie one after the other from the first on.
  static std::size_t neighbours(std::span<const Extent> rest) noexcept {
    std::size_t n = 1;
    while (n < rest.size() && n < kRunPages && rest[n].order == 0 &&
           rest[n].page_id == rest[0].page_id + n)
      ++n;
    return n;
  }
  //! For what was latched exclusively. The service engine is not kept while waiting. An extent of
  //! several pages that is changed so often that the log is always behind it is latched in the end,
  //! until the log has caught up: once half of the time is over.
  void wait_and_start(std::span<const Extent> extents) {
    LogWatch log(_core, _log);
    for (const Extent& extent : extents) {
      if (!_log_stands) wait_and_start(extent, log);
    }
  }
  void wait_and_start(Extent extent, LogWatch& log) {
    constexpr timespec kPause{0, 50'000};
    BusyWatch busy;
    for (;;) {
      bool started = false;
      with_engine([&](Engine& engine) {
        while (!engine.has_room()) turn(engine, log);
        started = start_with(engine, {&extent, 1}, busy.is_late(_core)) > 0;
        if (!started) engine.turn(false);
      });
      if (started) return;
      if (_ahead_of_log && log.stands_still()) {
        _late = {Errc::kBusy, 0, extent.page_id};
        _log_stands = true;
        return;
      }
      _core.engines.reap_idle();  // the page may be on its way to storage there
      // The call fails after the first page that stays latched: the others are tried once.
      if (busy.gives_up(_core, extent.page_id)) _late = {Errc::kBusy, 0, extent.page_id};
      if (!_late.ok()) return;
      ::nanosleep(&kPause, nullptr);
    }
  }
  //! The pages of writes that failed. The failure is told even if each of them can be written now;
  //! else the page that cannot.
  void write_again() {
    const std::vector<Extent> again = std::exchange(_batch.again, {});
    if (again.empty()) return;
    const Status of_several = std::exchange(_batch.first_error, {});
    wait_and_start(again);
    drain();
    if (_batch.first_error.ok()) _batch.first_error = of_several;
  }
  //! Until the last write of ours has ended: they know of _batch.
  void drain() {
    LogWatch log(_core, _log);
    for (bool more = true; more;) {
      with_engine([&](Engine& engine) {
        more = _batch.outstanding > 0;
        if (more) turn(engine, log);
      });
    }
  }

  PoolCore& _core;
  CheckpointThrottle _throttle;
  WriteAhead* const _log;  // of all these pages, or none
  Engine* const _own;
  const PagedStore* const _store;  // whose page ids are told, or null
  bool _paced = true;
  std::uint64_t _worked_ns = 0;
  WriteBatch _batch;
  std::vector<Extent> _busy;
  Status _late;
  bool _log_stands = false;    // what is late waits for the log
  bool _ahead_of_log = false;  // the extent that was tried last
};

}  // namespace

void write_back_all(PagedStore& store, CheckpointThrottle throttle) {
  WriteBackAll(store.core, throttle, store.options.write_ahead, nullptr, &store)
      .run(dirty_extents(store.core, store.first, store.first + store.pages));
}

void write_back_pages(PoolCore& core, const std::vector<Extent>& pages, WriteAhead* log,
                      const PagedStore* store) {
  if (pages.empty()) return;
  if (Engine* own = engine_of_thread(core))
    return WriteBackAll(core, kWithoutPause, log, own, store).run(pages);
  const EngineLease lease(core.engines, false);
  WriteBackAll(core, kWithoutPause, log, &*lease, store).run(pages);
}

void refuse_latched(const PoolCore& core, const char* doing) {
  core.residency.for_each([&](PageId page_id) {
    const PageState word = core.states()[page_id].load();
    if (word.shared() || word.exclusive())
      throw Error(Status{Errc::kBusy, 0, page_id}, fmt::format("{}: a guard is alive", doing));
  });
}

void checkpoint(PagedStore& store, CheckpointThrottle throttle, const Identity* identity) {
  store.storage_flush.refuse_if_failed("checkpoint");
  const std::uint64_t freed = store.allocator.freed_mark();
  write_back_all(store, throttle);
  end_checkpoint(store, freed, identity);
}

void end_checkpoint(PagedStore& store, std::uint64_t freed, const Identity* identity) {
  store.storage_flush.flush();
  store.write_header(false, kNoPage, identity);
  deallocate_freed(store, freed);
}

namespace {

//! A page is claimed for as long as a write of it is on the way (W1): a copy of what lay there
//! before it was freed, which somebody else's checkpoint writes.
void claim_free_page(const PagedStore& store, PageId page_id) {
  constexpr timespec kPause{0, 50'000};
  PoolCore& core = store.core;
  const std::uint64_t deadline = now_ns() + core.patience_ns();
  while (!core.writes.try_claim(store.in_pool(page_id))) {
    if (now_ns() > deadline)
      throw Error(Status{Errc::kBusy, 0, page_id}, "writing the list of free pages");
    core.engines.with_service([](Engine& engine) { engine.turn(false); });
    core.engines.reap_idle();
    ::nanosleep(&kPause, nullptr);
  }
}

}  // namespace

void write_list(PagedStore& store, std::span<const Extent> extents, std::span<const PageId> pages,
                const FreeListId& id) {
  store.storage_flush.refuse_if_failed("checkpoint");
  write_free_list(extents, pages, id, [&](PageId page_id, std::span<const std::byte> bytes) {
    claim_free_page(store, page_id);
    const int error = store.storage.write(page_id * kPageSize, bytes);
    store.core.writes.release(store.in_pool(page_id));
    return error;
  });
}

void deallocate_freed(PagedStore& store, std::uint64_t mark) {
  const std::lock_guard lock(store.deallocate_mutex);
  std::vector<ByteRange> ranges;
  for (const Extent& extent : store.allocator.hold_freed(mark)) {
    const std::uint64_t offset = extent.page_id * kPageSize;
    if (!ranges.empty() && ranges.back().offset + ranges.back().bytes == offset) {
      ranges.back().bytes += extent.bytes();
    } else {
      ranges.push_back({offset, extent.bytes()});
    }
  }
  const auto tell = [&] {
    try {
      return ranges.empty() ? 0 : store.storage.deallocate(ranges);
    } catch (...) {  // an embedder's storage
      store.allocator.release_held();
      throw;
    }
  };
  const int error = tell();
  store.allocator.release_held();
  if (error == 0) return;
  store.core.logger(LogLevel::kWarning, fmt::format("deallocating freed pages: {} {}",
                                                    Status{Errc::kIo, error, kNoPage}.to_string(),
                                                    store.storage.last_failure()));
}

void resize(PoolCore& core, Engine& engine, std::uint64_t frames) {
  core.storage_flush.refuse_if_failed("resize");
  const std::uint64_t before = core.pool_frames.load(std::memory_order_relaxed);
  if (frames >= before) {
    if (const Status status = core.memory->resize(frames); !status.ok())
      throw Error(status, "growing the pool");
    core.residency.resize(frames);
    core.pool_frames.store(frames, std::memory_order_relaxed);
    core.give_frames(frames - before);
    return;
  }
  if (const std::uint64_t pins = core.residency.pins();
      pins > frames / BufferPool::kMaxPinnedShare) {
    throw Error(Errc::kPoolExhausted, fmt::format("shrinking the pool from {} to {} pages: {} are "
                                                  "pinned",
                                                  before, frames, pins));
  }
  constexpr timespec kPause{0, 20'000};
  const std::uint64_t fewer = before - frames;
  core.owe_frames(fewer);
  const std::uint64_t deadline = now_ns() + core.patience_ns();
  while (core.free_frames() < 0) {
    if (now_ns() > deadline) {
      core.give_frames(fewer);
      engine.drain_writes();
      throw Error(
          Status{Errc::kPoolExhausted, core.write_errors.last(), kNoPage},
          fmt::format(
              "shrinking the pool from {} to {} pages: too many are latched or cannot be written",
              before, frames));
    }
    const auto owed = static_cast<std::uint64_t>(std::max<std::int64_t>(-core.free_frames(), 1));
    const bool late = now_ns() + core.patience_ns() / 2 > deadline;
    engine.evictor().evict(std::min<std::uint64_t>(owed, core.options.evict_batch),
                           late ? SweepEffort::kAny : SweepEffort::kUnmarked);
    engine.turn(true);
    core.engines.reap_idle();
    if (engine.in_flight() == 0 && core.free_frames() < 0) ::nanosleep(&kPause, nullptr);
  }
  engine.drain_writes();
  core.pool_frames.store(frames, std::memory_order_relaxed);
  core.residency.resize(frames);
  // A registration would keep what is given back.
  core.memory->hide_frames();
  core.storage->forget_memory();
  // Giving memory back is a courtesy; the frames are not used any more.
  (void)core.memory->resize(frames);
}

void prepare_new(PagedStore& store, FaultRequest& request, unsigned order) {
  if (order > kMaxOrder) {
    throw Error(Errc::kInvalidPage,
                fmt::format("allocate: order {}; allowed are 0 to {}", order, kMaxOrder));
  }
  store.refuse_read_only("allocate");
  store.storage_flush.refuse_if_failed("allocate");
  const Extent extent = store.allocator.allocate(order);
  request.extent = {store.in_pool(extent.page_id), order};
  request.goal = FaultRequest::Goal::kNew;
  request.status = {};
}

void undo_new(PagedStore& store, const FaultRequest& request) noexcept {
  (void)store.allocator.free({request.extent.page_id - store.first, request.extent.order});
}

void settle_new(PagedStore& store, const FaultRequest& request) {
  if (request.status.ok()) return;
  undo_new(store, request);
  store.storage_flush.refuse_if_failed("allocate");
  throw Error(store.told(request.status));
}

}  // namespace vmcache::detail

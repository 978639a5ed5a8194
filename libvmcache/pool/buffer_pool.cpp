// SPDX-License-Identifier: MIT
#include "vmcache/buffer_pool.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <vector>

#include "pool/check_options.hpp"
#include "pool/drop_page.hpp"
#include "pool/engine.hpp"
#include "pool/freeing.hpp"
#include "pool/latch_wait.hpp"
#include "pool/pool_core.hpp"
#include "pool/raw_file.hpp"
#include "pool/write_back.hpp"
#include "vmcache/detail/processor.hpp"

namespace vmcache {
namespace {

using detail::Engine;
using detail::EngineLease;

constexpr unsigned kYields = 64;
constexpr unsigned kPatientRestarts = kYields;

//! Longer and longer, so that a latch that is held across I/O does not cost a core.
void back_off(unsigned restarts) noexcept {
  constexpr unsigned kSpins = 16;
  if (restarts < kSpins) {
    for (unsigned i = 0; i < (8u << std::min(restarts, 6u)); ++i) relax();
  } else if (restarts < kYields) {
    ::sched_yield();
  } else {
    constexpr long kShortestNs = 50'000;
    constexpr long kLongestNs = 1'000'000;
    const timespec duration{0,
                            std::min(kLongestNs, kShortestNs * (1L + (restarts - kYields) / 16L))};
    ::nanosleep(&duration, nullptr);
  }
}

//! Runs requests until all have ended; their status says how. On a borrowed engine, or inside a
//! Worker's task on the Worker's own.
void run_blocking(detail::PoolCore& core, std::span<FaultRequest> requests) {
  const auto run = [&](Engine& engine) {
    engine.reserve(requests.size());
    for (FaultRequest& request : requests) {
      request.on_complete = nullptr;
      engine.start(request);
    }
    for (const FaultRequest& request : requests)
      while (!request.ended) engine.turn(true);
  };
  if (Engine* own = detail::engine_of_thread(core)) return run(*own);
  const EngineLease engine(core.engines, false);
  run(*engine);  // writes of victims are left to others: E3 in engine.hpp
}

//! Waits for the page's readers to go, for some ten milliseconds at most, and every other time lets
//! no new ones in meanwhile (L3 in latch_wait.hpp).
Status await_readers(detail::PoolCore& core, PageId page_id, unsigned restarts) noexcept {
  constexpr unsigned kRounds = 80;
  const bool set = restarts % 2 == 0 && detail::set_writer_waits(core, page_id);
  for (unsigned round = kPatientRestarts; round < kPatientRestarts + kRounds; ++round) {
    if (!core.states()[page_id].load().shared()) break;
    back_off(round);
  }
  if (set) detail::clear_writer_waits(core, page_id);
  back_off(0);
  return {};
}

//! Somebody else is loading the page: waits without an engine until that load has ended. It ends by
//! itself; only a Worker whose thread has stopped can keep it from that, so the wait has a bound.
//! The word may have changed since the caller looked: a page that is loaded already is nothing to
//! wait for, and nobody might ever change its word again.
Status wait_for_load(detail::PoolCore& core, PageId page_id, unsigned waits) {
  const PageState seen = core.states()[page_id].load();
  if (!seen.faulting()) return {};
  const std::uint64_t deadline = detail::now_ns() + core.patience_ns();
  do {
    back_off(waits++);
    const std::uint64_t now = detail::now_ns();
    if (now > deadline && core.engines.worker_stands_still(now, core.patience_ns()))
      return {Errc::kBusy, 0, page_id};
  } while (core.states()[page_id].load() == seen);
  return {};
}

//! Whether back_off() has waited for about as long as a fault may look for a frame.
bool waited_long(const detail::PoolCore& core, unsigned waits) noexcept {
  constexpr std::chrono::microseconds kSleep{50};  // the longest of back_off()
  return waits * kSleep > core.options.frame_wait;
}

//! A blocking call of a task waits for its page's word to change. Loads and writes of this thread
//! come to an end because its engine turns here; a latch of another of its tasks cannot, so the
//! wait has a bound.
Status wait_in_task(detail::PoolCore& core, Engine& own, PageId page_id, unsigned waits) {
  const PageState seen = core.states()[page_id].load();
  const std::uint64_t deadline = detail::now_ns() + core.patience_ns();
  do {
    own.turn(false);
    core.engines.reap_idle();
    back_off(waits++);
    // An operation that holds nothing looks for itself. What it waits for may be another task of
    // this thread, which cannot go on before this call has ended: so this has a bound too.
    if (page_id == kNoPage)
      return waited_long(core, waits) ? Status{Errc::kBusy, 0, kNoPage} : Status{};
    if (detail::now_ns() > deadline) return {Errc::kBusy, 0, page_id};
    // Once is enough where the latch has been let go since the caller looked.
  } while (seen.latched() && core.states()[page_id].load() == seen);
  return {};
}

}  // namespace

void BufferPool::end_writes() noexcept {
  _core->engines.reap_idle();
}

void BufferPool::await_exclusive(PageId page_id, unsigned order, ExclusiveGuard& guard) {
  detail::WriterWait wait(*_core, page_id);
  for (unsigned restarts = 0;; ++restarts) {
    const TryFix result = try_fix(page_id, guard);
    if (result == TryFix::kFixed) return;
    if (result == TryFix::kBusy) wait.refused();
    const Status status = satisfy(Need::after(result, page_id, order), restarts);
    if (!status.ok()) throw Error(status);
  }
}

BufferPool::BufferPool(const PoolOptions& options)
    : _core(std::make_unique<detail::PoolCore>(options)) {
  _base = _core->memory->base();
  _states = _core->states();
  _fixable_pages = _core->files.capacity_pages();
  _change_log = options.change_log;
  _page_headers = options.page_header;
}

BufferPool::~BufferPool() {
  if (!_core->process.here()) {
    detail::abandon(_core);
    return;
  }
  if (!_core->open) return;
  try {
    close();
  } catch (const std::exception& error) {
    try {
      _core->logger(LogLevel::kError,
                    fmt::format("closing {}: {}", _core->storage->description(), error.what()));
    } catch (const std::bad_alloc&) {  // NOLINT: not even for the words
    }
  }
}

void BufferPool::close() {
  _core->process.require("the pool");
  if (!_core->open) return;
  if (const unsigned leased = _core->engines.leased(); leased > 0) {
    throw Error(Errc::kBusy,
                fmt::format("close: {} workers or blocking calls are still at work", leased));
  }
  if (const std::uint64_t pins = _core->residency.pins(); pins > 0)
    throw Error(Errc::kBusy, fmt::format("close: {} pins are held", pins));
  _core->engines.drain_idle();
  _core->engines.with_service([](Engine& engine) { engine.drain_writes(); });
  // Before any file is closed. After a failed flush, guards may be alive: their pages stay.
  if (_core->storage_flush.error() == 0) detail::refuse_latched(*_core, "close");
  for (const auto& file : _core->files.all()) file->close();
  if (_core->storage_flush.error() != 0) {
    // Whoever asked for the flush was told. Nothing that could be written now would be worth
    // anything (R14).
    _core->open = false;
    _fixable_pages = 0;
    _core->logger(LogLevel::kError, "closed without being marked as closed cleanly: " +
                                        _core->storage_flush.reason());
    return;
  }
  // The list of free pages will lie in some of them, so that it is too late after that.
  if (_core->allocator.freed_to_tell()) checkpoint();
  detail::write_back_all(*_core, detail::kWithoutPause);
  detail::refuse_latched(*_core, "close");
  const std::uint64_t bytes = _core->allocator.next_page() * kPageSize;
  const PageId free_list = _core->allocator.save();
  if (_core->storage->can_grow()) {
    if (const int error = _core->storage->resize(bytes); error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage}, "trimming " + _core->storage->description());
    }
  }
  _core->storage_flush.flush();
  _core->write_header(true, free_list);
  _core->open = false;
  _fixable_pages = 0;
}

Status BufferPool::satisfy(const Need& need, unsigned restarts) {
  _core->require_usable();
  if (need.kind == Need::Kind::kTurn) return {};  // a thread gives way by itself
  _core->restarts.fetch_add(1, std::memory_order_relaxed);
  if (need.kind != Need::Kind::kPause) _core->refuse_if_failed(need.extent.page_id, "fix");
  assert(need.kind == Need::Kind::kPage || need.kind == Need::Kind::kLatch ||
         need.kind == Need::Kind::kPause);
  const PageId page_id = need.extent.page_id;
  // Latched, or somebody else is loading it: wait without an engine.
  const bool is_page = page_id < _core->files.capacity_pages();
  const bool loading =
      need.kind == Need::Kind::kPage && is_page && _states[page_id].load().faulting();
  if (need.kind != Need::Kind::kPage || loading) {
    if (Engine* own = detail::engine_of_thread(*_core))
      return wait_in_task(*_core, *own, page_id, restarts);
    _core->engines.reap_idle();
    if (loading) return wait_for_load(*_core, page_id, restarts);
    // An operation that finds readers in its way, time and again, wants the page exclusively.
    if (need.kind == Need::Kind::kLatch && restarts > kPatientRestarts && is_page)
      return await_readers(*_core, page_id, restarts);
    back_off(restarts);
    return {};
  }
  FaultRequest request;
  request.extent = need.extent;
  run_blocking(*_core, {&request, 1});
  if (!request.status.ok()) _core->refuse_if_failed(page_id, "fix");
  return request.status;
}

void BufferPool::prefetch(std::span<const Extent> extents) {
  _core->require_usable();
  for (const Extent& extent : extents) _core->refuse_if_failed(extent.page_id, "prefetch");
  std::vector<FaultRequest> requests(extents.size());
  for (std::size_t i = 0; i < extents.size(); ++i) requests[i].extent = extents[i];
  run_blocking(*_core, requests);
  for (const FaultRequest& request : requests) {
    if (!request.status.ok()) throw Error(request.status);
  }
}

ExclusiveGuard BufferPool::allocate(unsigned order) {
  _core->require_usable();
  FaultRequest request;
  detail::prepare_new(*_core, request, order);
  try {
    run_blocking(*_core, {&request, 1});
  } catch (...) {  // no engine, so nothing was begun
    (void)_core->allocator.free(request.extent);
    throw;
  }
  detail::settle_new(*_core, request);
  return ExclusiveGuard{page_ref(request.extent.page_id)};
}

std::vector<ExclusiveGuard> BufferPool::allocate_pages(std::size_t count, Placement placement) {
  _core->require_usable();
  const std::uint64_t max = pool_pages() / 2;  // others want frames, too
  if (count == 0 || count > max) {
    throw Error(Errc::kInvalidOption,
                fmt::format("allocate_pages: count = {}: allowed are 1 to {}, half of the pool",
                            count, max));
  }
  _core->storage_flush.refuse_if_failed("allocate_pages");
  std::vector<ExclusiveGuard> guards;
  guards.reserve(count);
  std::vector<FaultRequest> requests(count);
  const std::vector<Extent> pages =
      _core->allocator.allocate_pages(count, placement == Placement::kInARow);
  const auto give_back = [&](const Extent& page) { (void)_core->allocator.free(page); };
  for (std::size_t i = 0; i < count; ++i) {
    requests[i].extent = pages[i];
    requests[i].goal = FaultRequest::Goal::kNew;
  }
  try {
    run_blocking(*_core, requests);
  } catch (...) {  // no engine, so nothing was begun
    std::ranges::for_each(pages, give_back);
    throw;
  }
  Status failure;
  for (const FaultRequest& request : requests) {
    if (request.status.ok()) {
      guards.emplace_back(page_ref(request.extent.page_id));
    } else {
      give_back(request.extent);
      failure = request.status;
    }
  }
  if (failure.ok()) return guards;
  for (ExclusiveGuard& guard : guards) free(std::move(guard));
  throw Error(failure);
}

void BufferPool::free(ExclusiveGuard&& guard) {
  _core->require_usable();
  detail::free_extent(*_core, guard);
}

bool BufferPool::try_free(Extent extent) {
  _core->require_usable();
  const PageState word = _core->allocator.covers(extent)
                             ? _states[extent.page_id].load()
                             : PageState{}.with_use(PageState::Use::kFree);
  if (!word.admits(extent.order)) {
    throw Error(Status{Errc::kInvalidPage, 0, extent.page_id},
                fmt::format("free: no extent of order {} begins here", extent.order));
  }
  if (word.evicted()) return detail::try_free_evicted(*_core, extent, word);
  ExclusiveGuard guard;
  if (try_fix(extent.page_id, guard) != TryFix::kFixed) return false;
  const bool same = guard.state().load(std::memory_order_relaxed).admits(extent.order);
  if (!same || pinned(extent.page_id)) {  // another one by now, or in use
    guard.release_unmodified();
    return false;
  }
  try {
    free(std::move(guard));
  } catch (const Error&) {
    guard.release_unmodified();  // NOLINT: free() has refused it
    throw;
  }
  return true;
}

void BufferPool::leave(Extent extent) noexcept {
  _core->allocator.leave(extent);
}

void BufferPool::drop(PageId page_id) {
  _core->require_usable();
  if (!contains(page_id))
    throw Error(Status{Errc::kInvalidPage, 0, page_id}, "drop: no page of the database");
  _core->storage_flush.refuse_if_failed("drop");
  (void)detail::drop_pages(*_core, page_id, page_id + 1, detail::Dirty::kKeep);
}

void BufferPool::free_extents(
    const std::function<void(std::uint64_t, std::span<const Extent>)>& use) {
  _core->require_usable();
  _core->allocator.snapshot(use);
}

PageId BufferPool::root(unsigned index) const {
  _core->require_usable();
  if (index >= kRoots)
    throw Error(Errc::kInvalidOption,
                fmt::format("root {}: allowed are 0 to {}", index, kRoots - 1));
  const std::lock_guard lock(_core->header.mutex);
  return _core->header.now.roots[index];
}

void BufferPool::set_root(unsigned index, PageId page_id) {
  _core->require_usable();
  if (index >= kRoots)
    throw Error(Errc::kInvalidOption,
                fmt::format("root {}: allowed are 0 to {}", index, kRoots - 1));
  if (page_id != kNoPage && !contains(page_id))
    throw Error(Status{Errc::kInvalidPage, 0, page_id}, "set_root");
  _core->storage_flush.refuse_if_failed("set_root");
  const std::lock_guard lock(_core->header.mutex);
  _core->header.now.roots[index] = page_id;
}

void BufferPool::checkpoint() {
  _core->require_usable();
  detail::checkpoint(*_core, detail::kWithoutPause);
}

std::uint64_t BufferPool::digest() {
  _core->require_usable();
  if (!_core->sums)
    throw Error(Errc::kInvalidOption, "digest: the pool was opened without lost_write_check");
  checkpoint();
  return detail::digest(*_core);
}

void BufferPool::resize(std::uint64_t pool_bytes) {
  _core->require_usable();
  check_pool_bytes(pool_bytes, _core->options);
  _core->engines.with_service(
      [&](Engine& engine) { detail::resize(*_core, engine, pool_bytes / kPageSize); });
}

bool BufferPool::contains(PageId page_id) const noexcept {
  return page_id != kNoPage && page_id < _core->allocator.next_page();
}

std::uint64_t BufferPool::capacity_pages() const noexcept {
  return _core->files.database_pages();
}

File BufferPool::open_file(const FileOptions& options) {
  _core->require_usable();
  return File(detail::RawFile::open(*_core, options));
}

File BufferPool::open_temporary(const TemporaryOptions& options) {
  _core->require_usable();
  return File(detail::RawFile::open_temporary(*_core, options));
}

Pin BufferPool::pin(PageId page_id, unsigned order) {
  const SharedGuard guard = fix_shared(page_id, order);
  // free() needs the latch exclusively: so this stays true until the pin is counted.
  if (_core->files.of_database(page_id) && !_core->allocator.in_use({page_id, 0}))
    throw Error(Status{Errc::kInvalidPage, 0, page_id}, "pin: the page is free");
  const std::uint64_t max = pool_pages() / kMaxPinnedShare;
  if (!_core->residency.pin(page_id, max)) {
    throw Error(Status{Errc::kPoolExhausted, 0, page_id},
                fmt::format("pin: {} pages are pinned, the most that a pool of {} pages allows",
                            max, pool_pages()));
  }
  return {*this, guard.data(), page_id};
}

bool BufferPool::pinned(PageId page_id) const noexcept {
  return _core->residency.pinned(page_id);
}

void BufferPool::unpin(PageId page_id) noexcept {
  if (_core->process.here()) _core->residency.unpin(page_id);
}

std::uint64_t BufferPool::pool_pages() const noexcept {
  return _core->pool_frames.load(std::memory_order_relaxed);
}

const std::string& BufferPool::description() const noexcept {
  return _core->description;
}

PoolStats BufferPool::stats() const {
  _core->process.require("the pool");
  PoolStats stats;
  _core->engines.add_to(stats);
  stats.flushes = _core->storage_flush.count();
  stats.restarts = _core->restarts.load(std::memory_order_relaxed);
  stats.page_table_calls = _core->memory->calls();
  stats.page_table_pages = _core->memory->pages();
  stats.promotions = _core->residency.promotions();
  stats.allocated_pages = _core->allocator.allocated_pages();
  stats.freed_pages = _core->allocator.freed_pages();
  stats.pool_pages = pool_pages();
  stats.free_frames = static_cast<std::uint64_t>(std::max<std::int64_t>(_core->free_frames(), 0));
  stats.database_pages = _core->allocator.next_page();
  stats.capacity_pages = capacity_pages();
  stats.pins = _core->residency.pins();
  stats.open_files = _core->files.all().size();
  return stats;
}

}  // namespace vmcache

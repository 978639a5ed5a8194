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
  detail::WriterWait wait(*_core, _first_page + page_id);
  for (unsigned restarts = 0;; ++restarts) {
    TryFix result = try_fix(page_id, guard);
    if (result == TryFix::kFixed) {
      if (covers(order, guard)) return;
      result = TryFix::kMiss;  // satisfy() says that the order is wrong
    }
    if (result == TryFix::kBusy) wait.refused();
    const Status status = satisfy(Need::after(result, page_id, order), restarts);
    if (!status.ok()) throw Error(status);
  }
}

BufferPool::BufferPool(const PoolOptions& options)
    : _core(new detail::PoolCore(options)), _store(&_core->database) {
  _base = _core->memory->base();
  _states = _core->states();
  _fixable_pages = _core->files.capacity_pages();
  _change_log = options.change_log;
  _page_headers = options.page_header;
  _read_only = options.read_only;
}

BufferPool::~BufferPool() {
  if (!_core->process.here()) {
    detail::keep_for_good(_core);
    return;
  }
  if (_file) {
    leave_file();
  } else if (_core->open) {
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
  let_go();
}

//! Whoever is the last to have used the core deletes it: the pool, or a paged file that outlives
//! it.
void BufferPool::let_go() noexcept {
  if (_core->users.fetch_sub(1, std::memory_order_acq_rel) == 1) delete _core;
}

void BufferPool::require_usable() const {
  _core->require_usable();
  if (_file && !_file->is_open()) throw Error(Errc::kClosed, "the file was closed");
}

void BufferPool::close() {
  _core->process.require("the pool");
  if (!_core->open) return;
  if (_file) return close_file();
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
  const auto closed = [&] {
    _core->open = false;
    _fixable_pages = 0;
  };
  if (_read_only) return closed();
  if (_core->storage_flush.error() != 0) {
    // Whoever asked for the flush was told. Nothing that could be written now would be worth
    // anything (R14).
    closed();
    _core->logger(LogLevel::kError, "closed without being marked as closed cleanly: " +
                                        _core->storage_flush.reason());
    return;
  }
  // The list of free pages will lie in some of them, so that it is too late after that.
  if (_store->allocator.freed_to_tell()) checkpoint();
  detail::write_back_all(*_store, detail::kWithoutPause);
  detail::refuse_latched(*_core, "close");
  _store->end();
  closed();
}

Status BufferPool::satisfy(const Need& need, unsigned restarts) {
  require_usable();
  if (need.kind == Need::Kind::kTurn) return {};  // a thread gives way by itself
  _core->restarts.fetch_add(1, std::memory_order_relaxed);
  assert(need.kind == Need::Kind::kPage || need.kind == Need::Kind::kLatch ||
         need.kind == Need::Kind::kPause);
  // From here on the page has the pool's id (paged_store.hpp). kNoPage is none, or not known.
  const PageId page_id = pool_extent({need.extent.page_id, 0}).page_id;
  const auto refuse_if_failed = [&] {
    if (_file || page_id < _store->pages) _store->storage_flush.refuse_if_failed("fix");
  };
  if (need.kind != Need::Kind::kPause) refuse_if_failed();
  const bool is_page = page_id != kNoPage;
  AtomicPageState* const states = _core->states();
  // Latched, or somebody else is loading it: wait without an engine.
  const bool loading =
      need.kind == Need::Kind::kPage && is_page && states[page_id].load().faulting();
  if (need.kind != Need::Kind::kPage || loading) {
    if (Engine* own = detail::engine_of_thread(*_core))
      return told(wait_in_task(*_core, *own, page_id, restarts));
    _core->engines.reap_idle();
    if (loading) return told(wait_for_load(*_core, page_id, restarts));
    // An operation that finds readers in its way, time and again, wants the page exclusively.
    if (need.kind == Need::Kind::kLatch && restarts > kPatientRestarts && is_page)
      return await_readers(*_core, page_id, restarts);
    back_off(restarts);
    return {};
  }
  if (need.extent.order > kMaxOrder) return {Errc::kInvalidPage, 0, need.extent.page_id};
  FaultRequest request;
  request.extent = pool_extent(need.extent);
  if (request.extent.page_id == kNoPage) return {Errc::kInvalidPage, 0, need.extent.page_id};
  run_blocking(*_core, {&request, 1});
  if (!request.status.ok()) refuse_if_failed();
  return told(request.status);
}

void BufferPool::prefetch(std::span<const Extent> extents) {
  require_usable();
  for (const Extent& extent : extents) {
    if (extent.order > kMaxOrder) throw Error(Status{Errc::kInvalidPage, 0, extent.page_id});
    if (_file || extent.page_id < _store->pages) _store->storage_flush.refuse_if_failed("prefetch");
  }
  std::vector<FaultRequest> requests(extents.size());
  for (std::size_t i = 0; i < extents.size(); ++i) requests[i].extent = pool_extent(extents[i]);
  run_blocking(*_core, requests);
  for (std::size_t i = 0; i < extents.size(); ++i) {
    Status status = told(requests[i].status);
    if (status.ok()) continue;
    status.page_id = extents[i].page_id;  // also of one that cannot be in the file
    throw Error(status);
  }
}

ExclusiveGuard BufferPool::allocate(unsigned order) {
  require_usable();
  FaultRequest request;
  detail::prepare_new(*_store, request, order);
  try {
    run_blocking(*_core, {&request, 1});
  } catch (...) {  // no engine, so nothing was begun
    detail::undo_new(*_store, request);
    throw;
  }
  detail::settle_new(*_store, request);
  return ExclusiveGuard{page_ref(request.extent.page_id - _first_page)};
}

std::vector<ExclusiveGuard> BufferPool::allocate_pages(std::size_t count, Placement placement) {
  require_usable();
  _store->refuse_read_only("allocate_pages");
  const std::uint64_t max = pool_pages() / 2;  // others want frames, too
  if (count == 0 || count > max) {
    throw Error(Errc::kInvalidOption,
                fmt::format("allocate_pages: count = {}: allowed are 1 to {}, half of the pool",
                            count, max));
  }
  _store->storage_flush.refuse_if_failed("allocate_pages");
  std::vector<ExclusiveGuard> guards;
  guards.reserve(count);
  std::vector<FaultRequest> requests(count);
  const std::vector<Extent> pages =
      _store->allocator.allocate_pages(count, placement == Placement::kInARow);
  const auto give_back = [&](const Extent& page) { (void)_store->allocator.free(page); };
  for (std::size_t i = 0; i < count; ++i) {
    requests[i].extent = {_store->in_pool(pages[i].page_id), 0};
    requests[i].goal = FaultRequest::Goal::kNew;
  }
  try {
    run_blocking(*_core, requests);
  } catch (...) {  // no engine, so nothing was begun
    std::ranges::for_each(pages, give_back);
    throw;
  }
  Status failure;
  for (std::size_t i = 0; i < count; ++i) {
    if (requests[i].status.ok()) {
      guards.emplace_back(page_ref(pages[i].page_id));
    } else {
      give_back(pages[i]);
      failure = told(requests[i].status);
    }
  }
  if (failure.ok()) return guards;
  for (ExclusiveGuard& guard : guards) free(std::move(guard));
  throw Error(failure);
}

void BufferPool::free(ExclusiveGuard&& guard) {
  require_usable();
  detail::free_extent(*_store, guard);
}

bool BufferPool::try_free(Extent extent) {
  require_usable();
  _store->refuse_read_only("try_free");
  const PageState word = _store->allocator.covers(extent)
                             ? _states[extent.page_id].load()
                             : PageState{}.with_use(PageState::Use::kFree);
  if (!word.admits(extent.order)) {
    throw Error(Status{Errc::kInvalidPage, 0, extent.page_id},
                fmt::format("free: no extent of order {} begins here", extent.order));
  }
  if (word.evicted()) return detail::try_free_evicted(*_store, extent, word);
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
  if (!_read_only) _store->allocator.leave(extent);
}

void BufferPool::drop(PageId page_id) {
  require_usable();
  if (!contains(page_id))
    throw Error(Status{Errc::kInvalidPage, 0, page_id}, "drop: no page of the database");
  _store->storage_flush.refuse_if_failed("drop");
  const PageId in_pool = _store->in_pool(page_id);
  (void)detail::drop_pages(*_core, in_pool, in_pool + 1, detail::Dirty::kKeep);
}

void BufferPool::free_extents(
    const std::function<void(std::uint64_t, std::span<const Extent>)>& use) {
  require_usable();
  _store->allocator.snapshot(use);
}

PageId BufferPool::root(unsigned index) const {
  require_usable();
  if (index >= kRoots)
    throw Error(Errc::kInvalidOption,
                fmt::format("root {}: allowed are 0 to {}", index, kRoots - 1));
  const std::lock_guard lock(_store->header.mutex);
  return _store->header.now.roots[index];
}

void BufferPool::set_root(unsigned index, PageId page_id) {
  require_usable();
  if (index >= kRoots)
    throw Error(Errc::kInvalidOption,
                fmt::format("root {}: allowed are 0 to {}", index, kRoots - 1));
  if (page_id != kNoPage && !contains(page_id))
    throw Error(Status{Errc::kInvalidPage, 0, page_id}, "set_root");
  _store->refuse_read_only("set_root");
  _store->storage_flush.refuse_if_failed("set_root");
  const std::lock_guard lock(_store->header.mutex);
  _store->header.now.roots[index] = page_id;
}

void BufferPool::checkpoint() {
  require_usable();
  _store->refuse_read_only("checkpoint");
  detail::checkpoint(*_store, detail::kWithoutPause);
}

std::uint64_t BufferPool::digest() {
  require_usable();
  if (!_store->sums)
    throw Error(Errc::kInvalidOption, "digest: the pool was opened without lost_write_check");
  if (!_read_only) checkpoint();
  return detail::digest(*_store);
}

void BufferPool::resize(std::uint64_t pool_bytes) {
  require_pool("resize");
  check_pool_bytes(pool_bytes, _core->options);
  _core->engines.with_service(
      [&](Engine& engine) { detail::resize(*_core, engine, pool_bytes / kPageSize); });
}

bool BufferPool::contains(PageId page_id) const noexcept {
  return page_id != kNoPage && page_id < _store->allocator.next_page();
}

std::uint64_t BufferPool::capacity_pages() const noexcept {
  return _store->pages;
}

File BufferPool::open_file(const FileOptions& options) {
  require_pool("open_file");
  return File(detail::RawFile::open(*_core, options));
}

File BufferPool::open_temporary(const TemporaryOptions& options) {
  require_pool("open_temporary");
  return File(detail::RawFile::open_temporary(*_core, options));
}

Pin BufferPool::pin(PageId page_id, unsigned order) {
  const SharedGuard guard = fix_shared(page_id, order);
  // free() needs the latch exclusively: so this stays true until the pin is counted.
  if (page_id < _store->pages && !_store->allocator.in_use({page_id, 0}))
    throw Error(Status{Errc::kInvalidPage, 0, page_id}, "pin: the page is free");
  const std::uint64_t max = pool_pages() / kMaxPinnedShare;
  if (!_core->residency.pin(_first_page + page_id, max)) {
    throw Error(Status{Errc::kPoolExhausted, 0, page_id},
                fmt::format("pin: {} pages are pinned, the most that a pool of {} pages allows",
                            max, pool_pages()));
  }
  return {*this, guard.data(), page_id};
}

bool BufferPool::pinned(PageId page_id) const noexcept {
  return _core->residency.pinned(_first_page + page_id);
}

void BufferPool::unpin(PageId page_id) noexcept {
  if (_core->process.here()) _core->residency.unpin(_first_page + page_id);
}

std::uint64_t BufferPool::pool_pages() const noexcept {
  return _core->pool_frames.load(std::memory_order_relaxed);
}

const std::string& BufferPool::description() const noexcept {
  return _file ? _file->path() : _core->description;
}

PoolStats BufferPool::stats() const {
  _core->process.require("the pool");
  PoolStats stats;
  _core->engines.add_to(stats);
  stats.flushes = _store->storage_flush.count();
  stats.restarts = _core->restarts.load(std::memory_order_relaxed);
  stats.page_table_calls = _core->memory->calls();
  stats.page_table_pages = _core->memory->pages();
  stats.promotions = _core->residency.promotions();
  stats.allocated_pages = _store->allocator.allocated_pages();
  stats.freed_pages = _store->allocator.freed_pages();
  stats.pool_pages = pool_pages();
  stats.free_frames = static_cast<std::uint64_t>(std::max<std::int64_t>(_core->free_frames(), 0));
  stats.database_pages = _store->allocator.next_page();
  stats.capacity_pages = capacity_pages();
  stats.pins = _core->residency.pins();
  stats.open_files = _core->files.all().size();
  return stats;
}

}  // namespace vmcache

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
#include "pool/engine.hpp"
#include "pool/pool_core.hpp"
#include "pool/write_back.hpp"
#include "vmcache/processor.hpp"

namespace vmcache {
namespace {

using detail::Engine;
using detail::EngineLease;

//! Longer and longer, so that a latch that is held across I/O does not cost a core.
void back_off(unsigned restarts) noexcept {
  constexpr unsigned kSpins = 16;
  constexpr unsigned kYields = 64;
  if (restarts < kSpins) {
    for (unsigned i = 0; i < (8u << std::min(restarts, 6u)); ++i) relax();
  } else if (restarts < kYields) {
    ::sched_yield();
  } else {
    const timespec duration{0, 50'000};
    ::nanosleep(&duration, nullptr);
  }
}

//! Runs requests until all have ended; their status says how. On a borrowed engine, or inside a Worker's task on the
//! Worker's own.
void run_blocking(detail::PoolCore& core, std::span<FaultRequest> requests) {
  const auto run = [&](Engine& engine) {
    engine.expect(requests.size());
    std::size_t outstanding = requests.size();
    for (FaultRequest& request : requests) {
      request.asker = &outstanding;
      request.done = [](FaultRequest& ended) noexcept { --*static_cast<std::size_t*>(ended.asker); };
      engine.start(request);
    }
    while (outstanding > 0) engine.turn(true);
  };
  if (Engine* own = detail::engine_of_thread(core)) return run(*own);
  const EngineLease engine(core.engines, false);
  run(*engine);
  engine->drain();  // writes of victims: whoever gets the engine next need not know of them
}

//! A blocking call of a task waits for its page's word to change. Loads and writes of this thread come to an end
//! because its engine turns here; a latch of another of its tasks cannot, so the wait has a bound.
Status wait_in_task(detail::PoolCore& core, Engine& own, PageId page_id, unsigned waits) {
  const std::uint64_t seen = core.states()[page_id].load().bits;
  const std::uint64_t deadline =
      detail::now_ns() +
      static_cast<std::uint64_t>(std::chrono::nanoseconds(core.options.frame_wait).count());
  do {
    own.turn(false);
    back_off(waits++);
    if (page_id == kNoPage) break;  // an operation that holds nothing looks for itself
    if (detail::now_ns() > deadline) return {Errc::kBusy, 0, page_id};
  } while (core.states()[page_id].load().bits == seen);
  return {};
}

}  // namespace

BufferPool::BufferPool(const PoolOptions& options) : _core(std::make_unique<detail::PoolCore>(options)) {
  _base = _core->memory->base();
  _states = _core->states();
  _capacity_pages = _core->capacity_pages;
  _change_log = options.change_log;
  _page_headers = options.page_header;
}

BufferPool::~BufferPool() {
  if (!_core->open) return;
  try {
    close();
  } catch (const std::exception& error) {
    try {
      _core->log(LogLevel::kError,
                 fmt::format("closing {}: {}", _core->storage->description(), error.what()));
    } catch (const std::bad_alloc&) {  // NOLINT: not even for the words
    }
  }
}

void BufferPool::close() {
  if (!_core->open) return;
  if (const unsigned leased = _core->engines.leased(); leased > 0) {
    throw Error(Errc::kBusy, fmt::format("close: {} workers or blocking calls are still at work", leased));
  }
  // The list of free pages will lie in some of them, so that it is too late after that.
  if (_core->allocator.freed_to_tell()) checkpoint();
  detail::write_back_all(*_core, detail::without_pause);
  const std::uint64_t bytes = _core->allocator.next_page() * kPageSize;
  const PageId free_list = _core->allocator.save();
  if (_core->storage->can_grow()) {
    if (const int error = _core->storage->resize(bytes); error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage}, "trimming " + _core->storage->description());
    }
  }
  detail::flush(*_core);
  _core->write_header(true, free_list);
  _core->open = false;
}

Status BufferPool::satisfy(const Need& need, unsigned restarts) {
  _core->restarts.fetch_add(1, std::memory_order_relaxed);
  assert(need.kind == Need::Kind::kPage || need.kind == Need::Kind::kLatch ||
         need.kind == Need::Kind::kPause);
  const PageId page_id = need.extent.page_id;
  // Latched, or somebody else is loading it: wait without an engine.
  if (need.kind != Need::Kind::kPage || (page_id < _capacity_pages && _states[page_id].load().faulting())) {
    if (Engine* own = detail::engine_of_thread(*_core)) return wait_in_task(*_core, *own, page_id, restarts);
    back_off(restarts);
    return {};
  }
  FaultRequest request;
  request.extent = need.extent;
  run_blocking(*_core, {&request, 1});
  return request.status;
}

void BufferPool::prefetch(std::span<const Extent> extents) {
  std::vector<FaultRequest> requests(extents.size());
  for (std::size_t i = 0; i < extents.size(); ++i) requests[i].extent = extents[i];
  run_blocking(*_core, requests);
  for (const FaultRequest& request : requests) {
    if (!request.status.ok()) throw Error(request.status);
  }
}

ExclusiveGuard BufferPool::allocate(unsigned order) {
  FaultRequest request;
  detail::prepare_new(*_core, request, order);
  try {
    run_blocking(*_core, {&request, 1});
  } catch (...) {  // no engine, so nothing was begun
    _core->allocator.free(request.extent);
    throw;
  }
  detail::settle_new(*_core, request);
  return ExclusiveGuard{page_ref(request.extent.page_id)};
}

void BufferPool::free(ExclusiveGuard&& guard) {
  if (!guard) throw Error(Errc::kInvalidPage, "free: the guard holds no page");
  const PageRef page = guard.detach();
  const PageState word = page.state().load(std::memory_order_relaxed);
  const Extent extent{page.page_id(), word.order()};
  if (extent.order == 0) {
    // The frame stays: ids that were freed last are used first. Clean and marked, it is also the next to
    // leave.
    page.state().store(word.next_version()
                           .without(PageState::kDirty)
                           .with_use(PageState::Use::kFree)
                           .with(PageState::kMarked)
                           .with_latch(PageState::kUnlocked));
  } else {
    // Its pages may come back as parts of other extents, so no frame may stay under this one's word.
    _core->engines.with_service([&](Engine& engine) {
      const Status status = engine.drop(extent, word);
      if (!status.ok()) _core->log(LogLevel::kError, "freeing " + status.to_string());
    });
  }
  _core->allocator.free(extent);
}

bool BufferPool::try_free(Extent extent) {
  if (!contains(extent.page_id)) throw Error(Status{Errc::kInvalidPage, 0, extent.page_id}, "free");
  AtomicPageState& state = _states[extent.page_id];
  PageState word = state.load();
  if (!word.admits(extent.order)) {
    throw Error(Status{Errc::kInvalidPage, 0, extent.page_id},
                fmt::format("free: no extent of order {} begins here", extent.order));
  }
  if (!word.evicted()) {
    ExclusiveGuard guard;
    if (try_fix(extent.page_id, guard) != TryFix::kFixed) return false;
    free(std::move(guard));
    return true;
  }
  // As drop() leaves it. A fault that comes later is refused (I6), one that came first has changed the word.
  if (!state.compare_exchange(
          word, word.next_version().without(PageState::kTagMask).with_use(PageState::Use::kFree))) {
    return false;
  }
  _core->allocator.free(extent);
  return true;
}

void BufferPool::free_extents(const std::function<void(std::uint64_t, std::span<const Extent>)>& use) {
  _core->allocator.snapshot(use);
}

PageId BufferPool::root(unsigned index) const {
  if (index >= kRoots)
    throw Error(Errc::kInvalidOption, fmt::format("root {}: allowed are 0 to {}", index, kRoots - 1));
  const std::lock_guard lock(_core->header_mutex);
  return _core->header.roots[index];
}

void BufferPool::set_root(unsigned index, PageId page_id) {
  if (index >= kRoots)
    throw Error(Errc::kInvalidOption, fmt::format("root {}: allowed are 0 to {}", index, kRoots - 1));
  if (page_id != kNoPage && !contains(page_id))
    throw Error(Status{Errc::kInvalidPage, 0, page_id}, "set_root");
  const std::lock_guard lock(_core->header_mutex);
  _core->header.roots[index] = page_id;
}

void BufferPool::checkpoint() {
  detail::checkpoint(*_core, detail::without_pause);
}

std::uint64_t BufferPool::digest() {
  if (!_core->sums) throw Error(Errc::kInvalidOption, "digest: the pool was opened without lost_write_check");
  checkpoint();
  return detail::digest(*_core);
}

void BufferPool::resize(std::uint64_t pool_bytes) {
  check_pool_bytes(pool_bytes, _core->options.capacity_bytes);
  _core->engines.with_service(
      [&](Engine& engine) { detail::resize(*_core, engine, pool_bytes / kPageSize); });
}

bool BufferPool::contains(PageId page_id) const noexcept {
  return page_id != kNoPage && page_id < _core->allocator.next_page();
}

std::uint64_t BufferPool::pool_pages() const noexcept {
  return _core->pool_frames.load(std::memory_order_relaxed);
}

const std::string& BufferPool::description() const noexcept {
  return _core->description;
}

PoolStats BufferPool::stats() const {
  PoolStats stats;
  _core->engines.add_to(stats);
  stats.flushes = _core->flushes.load(std::memory_order_relaxed);
  stats.restarts = _core->restarts.load(std::memory_order_relaxed);
  stats.page_table_calls = _core->memory->calls();
  stats.page_table_pages = _core->memory->pages();
  stats.promotions = _core->residency.promotions();
  stats.allocated_pages = _core->allocator.allocated_pages();
  stats.freed_pages = _core->allocator.freed_pages();
  stats.pool_pages = pool_pages();
  stats.free_frames = static_cast<std::uint64_t>(std::max<std::int64_t>(_core->free_frames(), 0));
  stats.database_pages = _core->allocator.next_page();
  stats.capacity_pages = _capacity_pages;
  return stats;
}

}  // namespace vmcache

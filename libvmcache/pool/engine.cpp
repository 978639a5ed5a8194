// SPDX-License-Identifier: MIT
#include "pool/engine.hpp"

#include <time.h>

#include <algorithm>
#include <cstring>

#include "pool/pool_core.hpp"
#include "vmcache/guard.hpp"

namespace vmcache::detail {
namespace {

using Goal = FaultRequest::Goal;

constexpr std::uint64_t kPollNs = 50'000;  // between looks at what no completion announces
constexpr std::uint64_t kIdleWaitNs = 100'000'000;

// A turn costs a page-table call and a submission, whatever it brings; so it waits for a share of the transfers in
// flight, and leaves the device the others to work on. What `vmbench io` asks of a bare ring (--batch of --depth), too.
constexpr unsigned kShareAwaited = 4;
constexpr std::uint64_t kReadsAveraged = 16;

void sleep_ns(std::uint64_t ns) noexcept {
  const timespec duration{0, static_cast<long>(ns)};
  ::nanosleep(&duration, nullptr);
}

}  // namespace

std::uint64_t now_ns() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

namespace {
thread_local EngineOfThread* innermost = nullptr;
}

EngineOfThread::EngineOfThread(const PoolCore& core, Engine& engine) noexcept
    : _core(core), _engine(engine), _outer(innermost) {
  innermost = this;
}

EngineOfThread::~EngineOfThread() {
  innermost = _outer;
}

Engine* engine_of_thread(const PoolCore& core) noexcept {
  for (const EngineOfThread* entry = innermost; entry != nullptr; entry = entry->_outer) {
    if (&entry->_core == &core) return &entry->_engine;
  }
  return nullptr;
}

Engine::Engine(PoolCore& core, unsigned context) : _core(core), _context(context) {}

void Engine::bind(bool one_thread) {
  // A queue that is tied to one thread is of no use to the next one.
  if (!_queue || _queue_one_thread || one_thread) {
    _queue.reset();
    auto queue = _core.storage->make_queue(_core.options.io_depth, one_thread);
    const std::size_t depth = queue->depth();
    _completed.resize(depth);
    _prepared.reserve(depth);
    for (auto* list : {&_held, &_held_before}) list->reserve(depth);
    _written.reserve(depth);
    _harvest.reserve(depth);
    _leaving.reserve(_harvest.victims.capacity());
    _wanted.reserve(kMaxBatch);
    _slots.reserve(kMaxBatch);
    _queue = std::move(queue);
    _queue_one_thread = one_thread;
  }
}

void Engine::expect(std::size_t requests) {
  const std::size_t most = _unfinished + requests;
  if (most <= _arrived.capacity()) return;
  for (auto* list : {&_waiting, &_faults, &_turn, &_arrived})
    list->reserve(2 * most);  // _arrived last: it is asked
}

bool Engine::idle() const noexcept {
  return _arrived.empty() && _waiting.empty() && _faults.empty() && _prepared.empty() && in_flight() == 0 &&
         _written.empty() && _held.empty();
}

void Engine::drain() {
  while (!idle()) turn(true);
}

void Engine::turn(bool may_wait) {
  _now_ns = now_ns();
  _turn.clear();
  _turn.swap(_waiting);
  _turn.insert(_turn.end(), _arrived.begin(), _arrived.end());
  _arrived.clear();
  for (FaultRequest* request : _turn) advance(*request);
  release_held();
  serve_faults();
  if (!_prepared.empty()) {
    _queue->submit(_prepared);
    _counters.submissions.add(1);
    _prepared.clear();
  }
  wait(may_wait && _arrived.empty());
}

void Engine::wait(bool may_wait) {
  const unsigned in_flight_now = in_flight();
  const bool polling = !_waiting.empty() || !_faults.empty() || !_held.empty();
  if (in_flight_now == 0) {
    if (may_wait && polling) sleep_ns(kPollNs);
  } else if (!may_wait) {
    reap(0, 0);
  } else if (polling) {
    reap(1, kPollNs);
  } else {
    // What has completed waits for the rest of its share no longer than a read takes: in that time a device that is not
    // stuck completes all that was in flight.
    const unsigned share = in_flight_now / kShareAwaited;
    if (share > 1 && _read_ns > 0 && reap(share, std::min(_read_ns, kIdleWaitNs))) return;
    reap(1, kIdleWaitNs);
  }
}

bool Engine::reap(unsigned wait_for, std::uint64_t timeout_ns) {
  const std::size_t n = _queue->reap(_completed, wait_for, timeout_ns);
  _counters.empty_poll_ns.add(_queue->take_empty_poll_ns());
  if (n == 0) return false;
  _now_ns = now_ns();
  for (std::size_t i = 0; i < n; ++i) {
    if (_completed[i]->op == IoRequest::Op::kRead) {
      complete_read(static_cast<FaultRequest&>(*_completed[i]));
    } else {
      complete_write(static_cast<WriteRequest&>(*_completed[i]));
    }
  }
  return true;
}

void Engine::finish(FaultRequest& request, Status status) {
  request.status = status;
  --_unfinished;
  request.done(request);
}

void Engine::advance(FaultRequest& request) {
  if (request.goal == Goal::kRetry) {
    _counters.latch_waits.add(1);
    return finish(request, {});
  }
  if (request.goal == Goal::kPause) return finish(request, {});
  const Extent extent = request.extent;
  const std::uint64_t end = _core.allocator.next_page();
  const bool valid = extent.page_id != kNoPage && extent.order <= kMaxOrder && extent.page_id < end &&
                     extent.pages() <= end - extent.page_id && (extent.page_id & (extent.pages() - 1)) == 0;
  if (!valid) return finish(request, {Errc::kInvalidPage, 0, extent.page_id});

  if (request.goal == Goal::kNew && extent.order > 0) return take_new(request);
  AtomicPageState& state = _core.states()[extent.page_id];
  PageState word = state.load();
  const bool fresh = request.goal == Goal::kNew;
  while (word.evicted()) {
    if (!fresh && !word.admits(extent.order)) return finish(request, {Errc::kInvalidPage, 0, extent.page_id});
    if (state.compare_exchange(word, word.with_latch(PageState::kFaulting))) return enlist(request, word);
  }
  if (word.faulting()) {
    _waiting.push_back(&request);
  } else if (!fresh && !word.admits(extent.order)) {
    finish(request, {Errc::kInvalidPage, 0, extent.page_id});
  } else {
    advance_resident(request, word);
  }
}

void Engine::advance_resident(FaultRequest& request, PageState word) {
  AtomicPageState& state = _core.states()[request.extent.page_id];
  TryFix result = TryFix::kFixed;
  if (request.goal == Goal::kShared) result = latch::try_shared(state, word);
  if (request.goal == Goal::kExclusive || request.goal == Goal::kNew)
    result = latch::try_exclusive(state, word);
  if (result != TryFix::kFixed) {
    _counters.latch_waits.add(1);
    _waiting.push_back(&request);
    return;
  }
  // A page that was freed while it was resident comes back without I/O.
  if (request.goal == Goal::kNew) {
    std::memset(_core.memory->base() + request.extent.page_id * kPageSize, 0, kPageSize);
    const PageState held = state.load(std::memory_order_relaxed);
    state.store(held.with_order(0).with_use(PageState::Use::kExtent));
  }
  finish(request, {});
}

//! A new extent of several pages: single pages that were freed may still be resident inside it, with words and frames
//! of their own. They leave first, and faults for them are refused from now on (I6).
void Engine::take_new(FaultRequest& request) {
  const Extent extent = request.extent;
  for (PageId page_id = extent.page_id; page_id < extent.page_id + extent.pages(); ++page_id) {
    AtomicPageState& state = _core.states()[page_id];
    PageState word = state.load();
    if (!word.evicted()) {
      if (latch::try_exclusive(state, word) != TryFix::kFixed) {
        _waiting.push_back(&request);  // the sweep is just looking at it, or a late fault is loading it
        return;
      }
      const Status status = drop({page_id, 0}, state.load(std::memory_order_relaxed));
      if (!status.ok()) return finish(request, status);
      word = state.load();
    }
    if (page_id == extent.page_id) continue;
    if (!word.evicted() || !state.compare_exchange(word, word.with_use(PageState::Use::kInner))) {
      _waiting.push_back(&request);
      return;
    }
  }
  AtomicPageState& state = _core.states()[extent.page_id];
  PageState word = state.load();
  do {
    if (!word.evicted()) {
      _waiting.push_back(&request);
      return;
    }
  } while (!state.compare_exchange(word, word.with_latch(PageState::kFaulting)));
  enlist(request, word);
}

//! The page is claimed; `word` is what its state was before. Next come frames.
void Engine::enlist(FaultRequest& request, PageState word) {
  request.claimed = word;
  request.starved_ns = 0;
  _counters.misses.add(1);
  _faults.push_back(&request);
}

//! The page is in memory and ours (0xfe): lets the others see it, with the latch the asker wanted.
void Engine::publish(FaultRequest& request) {
  std::uint64_t latch = PageState::kUnlocked;
  if (request.goal == Goal::kShared) latch = PageState::kUnlocked + 1;
  if (request.goal == Goal::kExclusive || request.goal == Goal::kNew) latch = PageState::kExclusive;
  const PageId page_id = request.extent.page_id;
  _core.states()[page_id].store(request.claimed.without(PageState::kMarked | PageState::kDirty)
                                    .with_order(request.extent.order)
                                    .with_use(PageState::Use::kExtent)
                                    .with_tag(Residency::tag_of(request.slot))
                                    .with_latch(latch));
  _core.residency.enter(request.slot, request.extent, request.claimed);
  finish(request, {});
}

void Engine::complete_read(FaultRequest& request) {
  _counters.reads.add(1);
  _counters.read_pages.add(request.extent.pages());
  const std::uint64_t took_ns = _now_ns - request.started_ns;
  _counters.read_latency.add(took_ns);
  _read_ns = (_read_ns * (kReadsAveraged - 1) + took_ns) / kReadsAveraged;
  _counters.retries.add(request.retries);
  const Extent extent = request.extent;
  Status status{Errc::kIo, request.error, extent.page_id, request.device_status};
  if (request.error == 0) {
    status = _core.options.page_header ? verify_seal(extent, request.data) : Status{};
    if (status.ok() && _core.sums) status = _core.sums->check(extent.page_id, {request.data, extent.bytes()});
    if (status.ok()) return publish(request);
  }

  _counters.read_errors.add(1);
  (void)_core.memory->exchange(_context, {&extent, 1}, {});
  _core.give_frames(extent.pages());
  _core.residency.give_slots({&request.slot, 1});
  fail_claim(request, status);
}

//! As if the fault had never been: the version is that of the last eviction, the bytes are in storage.
void Engine::fail_claim(FaultRequest& request, Status status) {
  _core.states()[request.extent.page_id].store(request.claimed);
  finish(request, status);
}

}  // namespace vmcache::detail

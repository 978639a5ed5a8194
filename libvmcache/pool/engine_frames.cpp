// SPDX-License-Identifier: MIT
//
// The engine's side of frames: where they come from.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

#include "pool/engine.hpp"
#include "pool/pool_core.hpp"

namespace vmcache::detail {
namespace {

using Goal = FaultRequest::Goal;

constexpr std::uint64_t kPatienceBeforeAnyNs = 50'000'000;

}  // namespace

std::size_t Engine::room() const noexcept {
  const std::size_t taken = in_flight() + _prepared.size() + _held.size();
  return _queue->depth() > taken ? _queue->depth() - taken : 0;
}

void Engine::serve_faults() {
  claim_written();
  while (!_faults.empty() || !_harvest.victims.empty()) {
    std::uint64_t pages = 0;
    const std::size_t candidates = pick_faults(pages);
    const std::uint64_t frames = find_frames(pages);
    _wanted.clear();
    std::uint64_t used = 0;
    for (std::size_t i = 0; i < candidates && used + _faults[i]->extent.pages() <= frames; ++i) {
      used += _faults[i]->extent.pages();
      _wanted.push_back(_faults[i]->extent);
    }
    const Status status = exchange_victims();
    _core.give_frames(frames - used + (status.ok() ? 0 : used));
    if (used > 0) _progress_ns = _now_ns;
    if (status.ok()) {
      _slots.resize(_wanted.size());
      _core.residency.take_slots(_slots);
    }
    for (std::size_t i = 0; i < _wanted.size(); ++i) {
      status.ok() ? admit(*_faults[i], _slots[i]) : fail_claim(*_faults[i], status);
    }
    _faults.erase(_faults.begin(), _faults.begin() + static_cast<std::ptrdiff_t>(_wanted.size()));
    if (_wanted.size() < candidates) return starve();
    if (candidates == 0) return;
  }
}

//! Pages that were written back to be evicted become victims, if nobody wanted them since.
void Engine::claim_written() {
  for (const Harvest::Victim& victim : _written) {
    // I4: the whole word, as it was when the write completed.
    PageState word = victim.word;
    if (!_core.states()[victim.extent.page_id].compare_exchange(word, word.with_latch(PageState::kExclusive)))
      continue;
    _harvest.victims.push_back(victim);
    _harvest.victim_pages += victim.extent.pages();
  }
  _written.clear();
}

//! How many faults from the front there is I/O room for, and their pages.
std::size_t Engine::pick_faults(std::uint64_t& pages) const {
  const std::size_t most = std::min({_faults.size(), room(), kMaxBatch});
  for (std::size_t i = 0; i < most; ++i) pages += _faults[i]->extent.pages();
  return most;
}

//! Free frames and victims' frames, `wanted` if there are as many; the victims are in _harvest.
std::uint64_t Engine::find_frames(std::uint64_t wanted) {
  std::uint64_t frames = _harvest.victim_pages;  // written back for eviction in an earlier turn
  if (frames < wanted) frames += _core.take_frames(wanted - frames);
  if (frames >= wanted) return frames;
  const std::uint64_t free_frames = frames - _harvest.victim_pages;
  std::uint64_t missing = wanted - frames;
  // Enough is on its way out: to sweep on would take pages that were loaded a moment ago.
  if (_eviction_writes >= missing) return frames;
  if (!_core.memory->wants_pairs()) {
    // Collect a batch, but do not empty a small pool for it.
    const std::uint64_t batch = std::min<std::uint64_t>(_core.options.evict_batch, _core.pool_frames / 8);
    missing = std::max(missing, batch);
  }
  const std::uint64_t target = _harvest.victim_pages + missing;
  sweep(target, SweepEffort::kCold);
  // The cold pages do not suffice for the faults there are, be they latched or in use: in a small pool all faults
  // would have to go through the few frames that are left, and drive each other's paths out of them for ever.
  const std::uint64_t coming = free_frames + _harvest.victim_pages + _eviction_writes;
  if (coming < wanted) _core.residency.cool_down(wanted - coming);
  if (_harvest.victims.empty() && starved_for_ns() > 0) sweep(target, SweepEffort::kUnmarked);
  // Pages in constant use are taken only when nothing else has helped for a while: they may be the ones just
  // loaded.
  if (_harvest.victims.empty() && starved_for_ns() > kPatienceBeforeAnyNs) sweep(target, SweepEffort::kAny);
  return free_frames + _harvest.victim_pages;
}

void Engine::sweep(std::uint64_t pages, SweepEffort effort) {
  const std::size_t batch = _core.options.evict_batch;
  // 0 while a batch of dirty pages is on its way out: the sweep then looks for clean ones only.
  std::size_t dirty_room = std::min(room(), batch - std::min(batch, _eviction_writes));
  try {
    have_writes(dirty_room);
  } catch (const std::bad_alloc&) {
    dirty_room = _free_writes.size();  // with what there is, if only clean pages
  }
  _core.residency.sweep(pages, dirty_room, effort, _harvest);
  for (const Harvest::Dirty& dirty : _harvest.dirty) (void)start_write(dirty.extent, dirty.slot, nullptr);
  _harvest.dirty.clear();
}

//! One page-table call for the victims' frames to go and for frames to come under _wanted; then the victims
//! are evicted.
Status Engine::exchange_victims() {
  if (_harvest.victims.empty() && _wanted.empty()) return {};
  _leaving.clear();
  for (const Harvest::Victim& victim : _harvest.victims) _leaving.push_back(victim.extent);
  const Status status = _core.memory->exchange(_context, _leaving, _wanted);
  _core.residency.leave(_harvest.victims);
  _counters.evictions.add(_harvest.victims.size());
  _counters.evicted_pages.add(_harvest.victim_pages);
  _harvest.clear();
  return status;
}

//! The fault has its frames: on to its bytes.
void Engine::admit(FaultRequest& request, std::uint32_t slot) {
  request.slot = slot;
  std::byte* data = _core.memory->base() + request.extent.page_id * kPageSize;
  if (request.goal == Goal::kNew) {
    std::memset(data, 0, request.extent.bytes());
    return publish(request);
  }
  request.op = IoRequest::Op::kRead;
  request.offset = request.extent.page_id * kPageSize;
  request.data = data;
  request.registered = _core.memory->io_address(request.extent);
  request.bytes = static_cast<std::uint32_t>(request.extent.bytes());
  request.done_bytes = 0;
  request.error = 0;
  request.device_status = 0;
  request.started_ns = _now_ns;
  _prepared.push_back(&request);
}

//! How long the first fault in line has waited for a frame without any having been found.
std::uint64_t Engine::starved_for_ns() const noexcept {
  if (_faults.empty() || _faults.front()->starved_ns == 0) return 0;
  const std::uint64_t since = std::max(_faults.front()->starved_ns, _progress_ns);
  return _now_ns > since ? _now_ns - since : 0;
}

//! No frames for the faults that are left. They wait for the next turn, but not for ever.
void Engine::starve() {
  const auto patience =
      std::chrono::duration_cast<std::chrono::nanoseconds>(_core.options.frame_wait).count();
  std::erase_if(_faults, [&](FaultRequest* request) {
    if (request->starved_ns == 0) {
      request->starved_ns = _now_ns;
      _counters.frame_waits.add(1);
      return false;
    }
    // A slow device is not a full pool; one that has failed meanwhile is not waited for.
    if (_eviction_writes > 0 && _write_failed_ns < request->starved_ns) return false;
    const std::uint64_t since = std::max(request->starved_ns, _progress_ns);
    if (_now_ns < since + static_cast<std::uint64_t>(patience)) return false;
    fail_claim(*request, {Errc::kPoolExhausted, _core.last_write_error(), request->extent.page_id});
    return true;
  });
}

void Engine::evict(std::uint64_t pages, SweepEffort effort) {
  _now_ns = now_ns();
  sweep(pages, effort);
  const std::uint64_t frames = _harvest.victim_pages;
  _wanted.clear();
  (void)exchange_victims();  // nothing was wanted that could fail
  _core.give_frames(frames);
}

Status Engine::drop(Extent extent, PageState word) {
  const Status status = _core.memory->exchange(_context, {&extent, 1}, {});
  // The slot becomes stale and is cleared by a later sweep. The bytes are of no use to anyone: not even a
  // dirty mark.
  _core.states()[extent.page_id].store(
      word.next_version()
          .without(PageState::kMarked | PageState::kDirty | PageState::kTagMask)
          .with_use(PageState::Use::kFree)
          .with_latch(PageState::kEvicted));
  _core.give_frames(extent.pages());
  return status;
}

}  // namespace vmcache::detail

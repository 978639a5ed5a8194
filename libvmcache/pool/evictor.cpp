// SPDX-License-Identifier: MIT
#include "pool/evictor.hpp"

#include <algorithm>
#include <new>

#include "pool/pool_core.hpp"

namespace vmcache::detail {
namespace {

constexpr std::uint64_t kPatienceBeforeAnyNs = 50'000'000;
// Turns that find no frame, and in which no write ends, before clean pages leave in the stead of
// those that are being written: a millisecond or so, which a device that is well does not need.
// Turns, not time: in each the device was asked.
constexpr unsigned kTurnsForWrites = 20;

}  // namespace

void Evictor::bind() {
  _swept.reserve(_io.depth());
  _leaving.reserve(_swept.victims.capacity());
}

//! Half of the queue is for faults (E5).
std::size_t Evictor::room_for_victims() const noexcept {
  const std::size_t kept = (_io.depth() + 1) / 2;
  const std::size_t room = _io.room();
  return room > kept ? room - kept : 0;
}

void Evictor::claim_all_written() {
  for (const SweepResult::Victim& victim : _writer.written_victims()) {
    // I4: the whole word, as it was when the write completed.
    PageState word = victim.word;
    if (!_core.states()[victim.extent.page_id].compare_exchange(
            word, word.with_latch(PageState::kExclusive)))
      continue;
    if (_core.residency.pinned(victim.extent.page_id)) {
      _core.states()[victim.extent.page_id].store(word);
      continue;
    }
    _swept.victims.push_back(victim);
    _swept.victim_pages += victim.extent.pages();
  }
  _writer.written_victims().clear();
}

std::uint64_t Evictor::find_frames(std::uint64_t wanted, std::uint64_t starved_ns) {
  std::uint64_t frames = _swept.victim_pages;  // written back for eviction in an earlier turn
  if (frames < wanted) {
    frames += _core.take_frames(wanted - frames);
    _core.residency.visit_new(
        static_cast<std::uint64_t>(std::max<std::int64_t>(_core.free_frames(), 0)));
  }
  if (frames >= wanted) return frames;
  const std::uint64_t free_frames = frames - _swept.victim_pages;
  std::uint64_t missing = wanted - frames;
  // Enough is on its way out: to sweep on would take pages that were loaded a moment ago. But what
  // is clean does not wait for a device that is slow to write (E5).
  if (_writer.victims_in_flight() >= missing && _base.idle_turns < kTurnsForWrites) return frames;
  if (!_core.memory->wants_pairs()) {
    // Collect a batch, but do not empty a small pool for it.
    const std::uint64_t batch =
        std::min<std::uint64_t>(_core.options.evict_batch, _core.pool_frames / 8);
    missing = std::max(missing, batch);
  }
  const std::uint64_t target = _swept.victim_pages + missing;
  sweep(target, SweepEffort::kCold);
  // The cold pages do not suffice for the faults there are, be they latched or in use: in a small
  // pool all faults would have to go through the few frames that are left, and drive each other's
  // paths out of them for ever.
  const std::uint64_t coming = free_frames + _swept.victim_pages + _writer.victims_in_flight() +
                               _writer.victims_ahead_of_log();
  if (coming < wanted) _core.residency.cool_down(wanted - coming);
  if (_swept.victims.empty() && starved_ns > 0) sweep(target, SweepEffort::kUnmarked);
  // Pages in constant use are taken only when nothing else has helped for a while: they may be the
  // ones just loaded.
  if (_swept.victims.empty() && starved_ns > kPatienceBeforeAnyNs) sweep(target, SweepEffort::kAny);
  return free_frames + _swept.victim_pages;
}

void Evictor::sweep(std::uint64_t pages, SweepEffort effort) {
  const std::size_t batch = _core.options.evict_batch;
  // 0 while a batch of dirty pages is on its way out: the sweep then looks for clean ones only.
  std::size_t dirty_room =
      std::min(room_for_victims(), batch - std::min(batch, _writer.victims_in_flight()));
  try {
    _writer.reserve(dirty_room);
  } catch (const std::bad_alloc&) {
    dirty_room = _writer.reserved();  // with what there is, if only clean pages
  }
  _core.residency.sweep(pages, dirty_room, effort, _swept);
  for (const Extent& dirty : _swept.dirty) _writer.write_victim(dirty);
  _swept.dirty.clear();
}

Status Evictor::exchange(std::span<const Extent> wanted) {
  if (_swept.victims.empty() && wanted.empty()) return {};
  _leaving.clear();
  for (const SweepResult::Victim& victim : _swept.victims) _leaving.push_back(victim.extent);
  const Status status = _core.memory->exchange(_base.context, _leaving, wanted);
  _core.residency.leave(_swept.victims);
  _base.counters.evictions.add(_swept.victims.size());
  _base.counters.evicted_pages.add(_swept.victim_pages);
  _swept.clear();
  return status;
}

void Evictor::evict(std::uint64_t pages, SweepEffort effort) {
  _base.now = now_ns();
  sweep(pages, effort);
  const std::uint64_t frames = _swept.victim_pages;
  (void)exchange({});  // nothing was wanted that could fail
  _core.give_frames(frames);
}

}  // namespace vmcache::detail

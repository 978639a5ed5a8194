// SPDX-License-Identifier: MIT
#include "pool/residency.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

namespace vmcache {
namespace {

constexpr std::uint64_t kChunk = 16;      // slots a hand takes at a time: two cache lines
constexpr std::int64_t kColdShare = 8;    // at least 1 in 8 residents is kept cold
constexpr std::uint64_t kStampSteps = 4;  // eviction stamps a turnover of the pool

//! Whole chunks: a hand's look at a chunk needs no look at where the slots end.
std::uint64_t in_chunks(std::uint64_t slots) noexcept {
  return (slots + kChunk - 1) / kChunk * kChunk;
}
std::uint64_t slots_for(std::uint64_t frames, unsigned slack) noexcept {
  return in_chunks(frames + frames / 8 + slack);
}

}  // namespace

Residency::Residency(AtomicPageState* states, std::uint64_t frames, std::uint64_t max_frames, unsigned slack)
    : _states(states),
      _memory(slots_for(max_frames, slack) * sizeof(Slot), "the residency slots"),
      _slots(reinterpret_cast<Slot*>(_memory.data())),
      _frames(frames),
      _limit(slots_for(frames, slack)),
      _slack(slack) {
  _free.reserve(_limit);  // so that give_slot() cannot fail
}

void Residency::grow(std::uint64_t frames) {
  {
    const std::lock_guard lock(_free_mutex);
    _free.reserve(slots_for(frames, _slack));
  }
  _frames.store(frames, std::memory_order_relaxed);
  // Never fewer: residents of a pool that shrank are scattered over all slots.
  _limit.store(std::max(_limit.load(std::memory_order_relaxed), slots_for(frames, _slack)),
               std::memory_order_relaxed);
}

void Residency::take_slots(std::span<std::uint32_t> slots) {
  for (;;) {
    slots = slots.subspan(try_take_slots(slots));
    if (slots.empty()) return;
    collect_stale();
  }
}

//! Residents and extents being loaded have a slot each, and there are more slots than frames and loads
//! together; so when all are taken, many are stale, and going over all of them is paid for by the frees that
//! made them so.
void Residency::collect_stale() {
  const std::uint64_t slots = _used_slots.load(std::memory_order_acquire);
  for (std::uint64_t slot = 0; slot < slots; ++slot) {
    const Entry entry{_slots[slot].load(std::memory_order_acquire)};
    if (entry.empty()) continue;
    (void)drop_if_stale(static_cast<std::uint32_t>(slot), entry, _states[entry.extent().page_id].load());
  }
}

std::size_t Residency::try_take_slots(std::span<std::uint32_t> slots) {
  const std::lock_guard lock(_free_mutex);
  const std::size_t freed = std::min(slots.size(), _free.size());
  std::copy_n(_free.end() - static_cast<std::ptrdiff_t>(freed), freed, slots.begin());
  _free.resize(_free.size() - freed);
  const std::uint64_t used = _used_slots.load(std::memory_order_relaxed);
  const std::uint64_t left = _limit.load(std::memory_order_relaxed) - used;
  const std::size_t fresh = std::min<std::uint64_t>(slots.size() - freed, left);
  for (std::size_t i = 0; i < fresh; ++i) slots[freed + i] = static_cast<std::uint32_t>(used + i);
  if (fresh > 0) _used_slots.store(used + fresh, std::memory_order_release);
  return freed + fresh;
}

void Residency::give_slots(std::span<const std::uint32_t> slots) {
  if (slots.empty()) return;
  const std::lock_guard lock(_free_mutex);
  _free.insert(_free.end(), slots.begin(), slots.end());
}

std::uint8_t Residency::stamp() const noexcept {
  const std::uint64_t step = _frames.load(std::memory_order_relaxed) / kStampSteps + 1;
  return static_cast<std::uint8_t>(1 + (_evictions.load(std::memory_order_relaxed) / step) % 255);
}

void Residency::enter(std::uint32_t slot, Extent extent, PageState claimed) noexcept {
  std::uint64_t bits = extent.page_id << 8 | extent.order;
  if (claimed.tag() != 0) {
    const unsigned age = (stamp() + 255u - claimed.tag()) % 255u;
    if (age < kStampSteps) {
      bits |= Entry::kHot;
      _hot.fetch_add(1, std::memory_order_relaxed);
      _promotions.fetch_add(1, std::memory_order_relaxed);
    }
  }
  _resident.fetch_add(1, std::memory_order_relaxed);
  _slots[slot].store(bits, std::memory_order_release);
}

void Residency::leave(std::span<const Harvest::Victim> victims) noexcept {
  const std::uint8_t now = stamp();
  std::array<std::uint32_t, 64> freed;  // NOLINT: filled up to `n`
  std::size_t n = 0;
  for (const Harvest::Victim& victim : victims) {
    if (book_out(victim)) freed[n++] = victim.slot;
    if (n == freed.size()) give_slots({freed.data(), std::exchange(n, 0)});
    _states[victim.extent.page_id].store(
        victim.word.next_version().without(PageState::kMarked).with_tag(now).with_latch(PageState::kEvicted));
  }
  give_slots({freed.data(), n});
  _evictions.fetch_add(victims.size(), std::memory_order_relaxed);
}

//! False if the slot is not the victim's any more. Tags are one byte: by a rare chance the page resides in another slot
//! with the same tag, and this one has been given to somebody else since. Then it is not ours to clear; the page's own
//! slot is stale from now on.
bool Residency::book_out(const Harvest::Victim& victim) noexcept {
  Entry entry{_slots[victim.slot].load(std::memory_order_acquire)};
  while (entry.extent() == victim.extent) {
    if (replace(victim.slot, entry, 0)) return true;
    entry = {_slots[victim.slot].load(std::memory_order_acquire)};
  }
  return false;
}

bool Residency::replace(std::uint32_t slot, Entry from, std::uint64_t to) noexcept {
  if (!_slots[slot].compare_exchange_strong(from.bits, to, std::memory_order_acq_rel)) return false;
  const std::int64_t hot = ((to & Entry::kHot) != 0 ? 1 : 0) - (from.hot() ? 1 : 0);
  if (hot != 0) _hot.fetch_add(hot, std::memory_order_relaxed);
  if (to == 0) _resident.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

bool Residency::drop_if_stale(std::uint32_t slot, Entry entry, PageState word) {
  // While a page is loaded its word says nothing of slots yet.
  if (word.faulting() || (!word.evicted() && word.tag() == tag_of(slot))) return false;
  if (replace(slot, entry, 0)) give_slots({&slot, 1});
  return true;
}

void Residency::sweep(std::uint64_t pages, std::size_t max_dirty, SweepEffort effort, Harvest& harvest) {
  const std::uint64_t slots = in_chunks(_used_slots.load(std::memory_order_acquire));
  if (slots == 0) return;
  const std::int64_t resident = _resident.load(std::memory_order_relaxed);
  if (resident - _hot.load(std::memory_order_relaxed) < resident / kColdShare) cool_down(pages);
  // Once around: what is marked now is taken by a later sweep, so that pages in use have had a turn to show it. Less if
  // dirty pages cannot be picked now: they would only be passed over.
  const std::uint64_t visits = max_dirty > 0 ? slots + kChunk : std::min(slots + kChunk, 64 * kChunk);
  const auto enough = [&] {
    return harvest.full() || harvest.victim_pages >= pages ||
           (max_dirty > 0 && harvest.dirty.size() >= max_dirty);
  };
  // Most slots may be hot ones, to be passed over.
  const std::uint64_t passed_over = effort == SweepEffort::kCold ? Entry::kHot : 0;
  for (std::uint64_t seen = 0; seen < visits && !enough(); seen += kChunk) {
    const std::uint64_t first = _cold_hand.fetch_add(kChunk, std::memory_order_relaxed) % slots;
    std::array<std::uint32_t, kChunk> looked_at;  // NOLINT: filled up to `n`
    std::size_t n = 0;
    for (std::uint64_t slot = first; slot < first + kChunk; ++slot) {
      const Entry entry{_slots[slot].load(std::memory_order_relaxed)};
      if (entry.empty() || (entry.bits & passed_over) != 0) continue;
      looked_at[n++] = static_cast<std::uint32_t>(slot);
      __builtin_prefetch(&_states[entry.extent().page_id]);
    }
    for (std::size_t i = 0; i < n && !enough(); ++i) {
      const Entry entry{_slots[looked_at[i]].load(std::memory_order_acquire)};
      if (!entry.empty()) visit_cold(looked_at[i], entry, effort, max_dirty, harvest);
    }
  }
}

void Residency::visit_cold(std::uint32_t slot, Entry entry, SweepEffort effort, std::size_t max_dirty,
                           Harvest& harvest) {
  AtomicPageState& state = _states[entry.extent().page_id];
  PageState word = state.load();
  if (drop_if_stale(slot, entry, word) || !word.unlocked()) return;
  if (effort != SweepEffort::kAny && !word.marked()) {
    if (!entry.probed()) {
      if (state.compare_exchange(word, word.with(PageState::kMarked))) {
        replace(slot, entry, entry.bits | Entry::kProbed);
      }
    } else if (!entry.hot()) {
      if (replace(slot, entry, (entry.bits | Entry::kHot) & ~Entry::kProbed)) {
        _promotions.fetch_add(1, std::memory_order_relaxed);
      }
    } else {
      state.compare_exchange(word, word.with(PageState::kMarked));
    }
    return;
  }
  pick(slot, entry, word, max_dirty, harvest);
}

void Residency::pick(std::uint32_t slot, Entry entry, PageState word, std::size_t max_dirty,
                     Harvest& harvest) {
  const Extent extent = entry.extent();
  AtomicPageState& state = _states[extent.page_id];
  if (word.dirty()) {
    // Written back under a shared latch (I5); the page is a victim in a later round, if nobody wanted it
    // until then.
    if (harvest.dirty.size() < max_dirty && state.compare_exchange(word, PageState{word.bits + 1})) {
      harvest.dirty.push_back({extent, slot});
    }
    return;
  }
  // I4: the whole word, version and mark included, must still be the one that was judged.
  if (state.compare_exchange(word, word.with_latch(PageState::kExclusive))) {
    harvest.victims.push_back({extent, slot, word});
    harvest.victim_pages += extent.pages();
  }
}

void Residency::cool_down(std::uint64_t wanted) noexcept {
  const std::uint64_t slots = in_chunks(_used_slots.load(std::memory_order_acquire));
  // Two hot pages looked at for each one that leaves keeps up with promotion; more would age them too fast.
  std::uint64_t looks = 2 * wanted + kChunk;
  for (std::uint64_t seen = 0; seen < slots && looks > 0; seen += kChunk) {
    const std::uint64_t first = _hot_hand.fetch_add(kChunk, std::memory_order_relaxed) % slots;
    for (std::uint64_t slot = first; slot < first + kChunk && looks > 0; ++slot) {
      const Entry entry{_slots[slot].load(std::memory_order_acquire)};
      if (entry.empty() || !entry.hot()) continue;
      --looks;
      visit_hot(static_cast<std::uint32_t>(slot), entry);
    }
  }
}

void Residency::visit_hot(std::uint32_t slot, Entry entry) noexcept {
  AtomicPageState& state = _states[entry.extent().page_id];
  PageState word = state.load();
  if (!word.readable()) return;
  if (!word.marked()) {
    state.compare_exchange(word, word.with(PageState::kMarked));
  } else {
    replace(slot, entry,
            entry.bits & ~Entry::kHot);  // cold, marked, unprobed: the cold hand takes it unless it is used
  }
}

}  // namespace vmcache

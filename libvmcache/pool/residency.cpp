// SPDX-License-Identifier: MIT
#include "pool/residency.hpp"

#include <sys/mman.h>

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

}  // namespace

Residency::Residency(AtomicPageState* states, std::uint64_t frames, std::uint64_t capacity_pages)
    : _states(states),
      _slot_memory(in_chunks(capacity_pages) * sizeof(Slot), "the residency slots"),
      _entry_memory(capacity_pages * sizeof(std::uint32_t), "the pages' slots"),
      _free_memory(capacity_pages * sizeof(std::uint32_t), "the free slots"),
      _pin_memory(capacity_pages * sizeof(std::uint32_t), "the pages' pins"),
      _slots(reinterpret_cast<Slot*>(_slot_memory.data())),
      _slot_of(reinterpret_cast<std::uint32_t*>(_entry_memory.data())),
      _pins_of(reinterpret_cast<std::atomic<std::uint32_t>*>(_pin_memory.data())),
      _frames(frames),
      _free(reinterpret_cast<std::uint32_t*>(_free_memory.data())) {}

void Residency::take_slots(std::span<std::uint32_t> slots) noexcept {
  const std::lock_guard lock(_free_mutex);
  const std::size_t freed = std::min(slots.size(), _free_count);
  _free_count -= freed;
  std::copy_n(_free + _free_count, freed, slots.begin());
  const std::uint64_t used = _used_slots.load(std::memory_order_relaxed);
  const std::size_t fresh = slots.size() - freed;
  assert((used + fresh) * sizeof(Slot) <= _slot_memory.bytes() && "more slots than pages (S3)");
  for (std::size_t i = 0; i < fresh; ++i) slots[freed + i] = static_cast<std::uint32_t>(used + i);
  if (fresh > 0) _used_slots.store(used + fresh, std::memory_order_release);
}

void Residency::give_slots(std::span<const std::uint32_t> slots) noexcept {
  if (slots.empty()) return;
  const std::lock_guard lock(_free_mutex);
  std::ranges::copy(slots, _free + _free_count);
  _free_count += slots.size();
}

std::uint8_t Residency::stamp() const noexcept {
  const std::uint64_t step = _frames.load(std::memory_order_relaxed) / kStampSteps + 1;
  return static_cast<std::uint8_t>(1 + (_evictions.load(std::memory_order_relaxed) / step) % 255);
}

void Residency::enter(std::uint32_t slot, PageId page_id, PageState claimed,
                      PageState published) noexcept {
  // An empty slot that is ours: nobody else writes its word.
  std::uint64_t bits = page_id << Entry::kPageShift | _slots[slot].load(std::memory_order_relaxed);
  if (claimed.tag() != 0) {
    const unsigned age = (stamp() + 255u - claimed.tag()) % 255u;
    if (age < kStampSteps) {
      bits |= Entry::kHot;
      _hot.fetch_add(1, std::memory_order_relaxed);
      _promotions.fetch_add(1, std::memory_order_relaxed);
    }
  }
  _resident.fetch_add(1, std::memory_order_relaxed);
  assert(_slot_of[page_id] == 0 && "a page enters a second slot (S2)");
  _slot_of[page_id] = slot + 1;
  // Pairs with the loads of the hands and of for_each()
  _slots[slot].store(bits, std::memory_order_release);
  // Last (S2). A release: whoever sees the page in memory, and a checkpoint that begins after that,
  // sees the slot.
  _states[page_id].store(published);
}

//! Returns the slot that the page has left. The caller holds the page.
std::uint32_t Residency::remove(PageId page_id) noexcept {
  assert(_slot_of[page_id] != 0 && "a resident without a slot (S2)");
  const std::uint32_t slot = std::exchange(_slot_of[page_id], 0) - 1;
  // S1, S4: only hot and probed can change between the load and the exchange; the latter says what
  // they were.
  const Entry seen{_slots[slot].load(std::memory_order_relaxed)};
  assert(seen.page_id() == page_id);
  const Entry last{_slots[slot].exchange(seen.left(), std::memory_order_acq_rel)};
  if (last.hot()) _hot.fetch_sub(1, std::memory_order_relaxed);
  _resident.fetch_sub(1, std::memory_order_relaxed);
  return slot;
}

void Residency::leave(PageId page_id, PageState evicted) noexcept {
  const std::uint32_t slot = remove(page_id);
  give_slots({&slot, 1});
  _states[page_id].store(evicted);
}

void Residency::leave(std::span<const SweepResult::Victim> victims) noexcept {
  const std::uint8_t now = stamp();
  std::array<std::uint32_t, 64> freed;  // NOLINT: filled up to `n`
  std::size_t n = 0;
  for (const SweepResult::Victim& victim : victims) {
    freed[n++] = remove(victim.extent.page_id);
    if (n == freed.size()) give_slots({freed.data(), std::exchange(n, 0)});
    _states[victim.extent.page_id].store(victim.word.next_version()
                                             .without(PageState::kMarked)
                                             .with_tag(now)
                                             .with_latch(PageState::kEvicted));
  }
  give_slots({freed.data(), n});
  _evictions.fetch_add(victims.size(), std::memory_order_relaxed);
}

//! Sets hot and probed as in `to`, unless the slot's word has changed since it was `from` (S4).
bool Residency::mark(std::uint32_t slot, Entry from, std::uint64_t to) noexcept {
  if (!_slots[slot].compare_exchange_strong(from.bits, to, std::memory_order_relaxed)) return false;
  const std::int64_t hot = ((to & Entry::kHot) != 0 ? 1 : 0) - (from.hot() ? 1 : 0);
  if (hot != 0) _hot.fetch_add(hot, std::memory_order_relaxed);
  return true;
}

void Residency::sweep(std::uint64_t pages, std::size_t max_dirty, SweepEffort effort,
                      SweepResult& swept) {
  const std::uint64_t slots = in_chunks(_used_slots.load(std::memory_order_acquire));
  if (slots == 0) return;
  const std::int64_t resident = _resident.load(std::memory_order_relaxed);
  if (resident - _hot.load(std::memory_order_relaxed) < resident / kColdShare) cool_down(pages);
  // Once around: what is marked now is taken by a later sweep, so that pages in use have had a turn
  // to show it. Less if dirty pages cannot be picked now: they would only be passed over.
  const std::uint64_t visits =
      max_dirty > 0 ? slots + kChunk : std::min(slots + kChunk, 64 * kChunk);
  const auto enough = [&] {
    return swept.full() || swept.victim_pages >= pages ||
           (max_dirty > 0 && swept.dirty.size() >= max_dirty);
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
      __builtin_prefetch(&_states[entry.page_id()]);
    }
    for (std::size_t i = 0; i < n && !enough(); ++i) {
      const Entry entry{_slots[looked_at[i]].load(std::memory_order_acquire)};
      if (!entry.empty()) visit_cold(looked_at[i], entry, effort, max_dirty, swept);
    }
  }
}

void Residency::visit_cold(std::uint32_t slot, Entry entry, SweepEffort effort,
                           std::size_t max_dirty, SweepResult& swept) {
  AtomicPageState& state = _states[entry.page_id()];
  PageState word = state.load();
  if (!word.unlocked()) return;
  if (effort != SweepEffort::kAny && !word.marked()) {
    if (!entry.probed()) {
      if (state.compare_exchange(word, word.with(PageState::kMarked))) {
        mark(slot, entry, entry.bits | Entry::kProbed);
      }
    } else if (!entry.hot()) {
      if (mark(slot, entry, (entry.bits | Entry::kHot) & ~Entry::kProbed)) {
        _promotions.fetch_add(1, std::memory_order_relaxed);
      }
    } else {
      state.compare_exchange(word, word.with(PageState::kMarked));
    }
    return;
  }
  pick(entry.page_id(), word, max_dirty, swept);
}

void Residency::pick(PageId page_id, PageState word, std::size_t max_dirty, SweepResult& swept) {
  AtomicPageState& state = _states[page_id];
  const Extent extent{page_id, word.order()};  // S5
  if (word.dirty()) {
    // Written back under a shared latch (I5); the page is a victim in a later round, if nobody
    // wanted it until then.
    if (swept.dirty.size() < max_dirty && state.compare_exchange(word, PageState{word.bits + 1})) {
      swept.dirty.push_back(extent);
    }
    return;
  }
  // I4: the whole word, version and mark included, must still be the one that was judged.
  if (pinned(page_id)) return;
  if (state.compare_exchange(word, word.with_latch(PageState::kExclusive))) {
    if (pinned(page_id)) [[unlikely]]
      return state.store(word);  // since the look before; nobody else writes a word at 0xff
    __builtin_prefetch(&_slot_of[page_id], 1);
    swept.victims.push_back({extent, word});
    swept.victim_pages += extent.pages();
  }
}

bool Residency::pin(PageId page_id, std::uint64_t max) noexcept {
  const std::uint64_t pages = Extent{page_id, _states[page_id].load().order()}.pages();
  if (_pins.fetch_add(pages, std::memory_order_acq_rel) + pages > max) {
    _pins.fetch_sub(pages, std::memory_order_acq_rel);
    return false;
  }
  _pins_of[page_id].fetch_add(1, std::memory_order_acq_rel);
  return true;
}

void Residency::unpin(PageId page_id) noexcept {
  // A pinned page keeps its order (S6).
  const std::uint64_t pages = Extent{page_id, _states[page_id].load().order()}.pages();
  _pins_of[page_id].fetch_sub(1, std::memory_order_acq_rel);
  _pins.fetch_sub(pages, std::memory_order_acq_rel);
}

void Residency::visit_new(std::uint64_t free_frames) noexcept {
  constexpr std::uint64_t kAhead = 8;  // slots for each frame that is taken
  constexpr std::uint64_t kMax = 64 * kChunk;
  const std::uint64_t used = _used_slots.load(std::memory_order_acquire);
  const std::uint64_t free = std::min(free_frames, used);
  const std::uint64_t until = used - std::min(used, kAhead * free);
  const std::uint64_t begin = _visited_slots.load(std::memory_order_relaxed);
  if (begin >= until) return;
  const std::uint64_t end = std::min(until, begin + kMax);
  std::uint64_t expected = begin;
  // Whoever else does the same now has taken these.
  if (!_visited_slots.compare_exchange_strong(expected, end, std::memory_order_relaxed)) return;
  for (std::uint64_t slot = begin; slot < end; ++slot) {
    const Entry entry{_slots[slot].load(std::memory_order_acquire)};
    if (entry.empty() || entry.probed() || entry.hot()) continue;
    AtomicPageState& state = _states[entry.page_id()];
    PageState word = state.load();
    if (!word.unlocked() || word.marked()) continue;
    if (state.compare_exchange(word, word.with(PageState::kMarked)))
      mark(static_cast<std::uint32_t>(slot), entry, entry.bits | Entry::kProbed);
  }
}

void Residency::expect_few_pages_from(PageId first) const noexcept {
  for (const Reservation* const memory : {&_entry_memory, &_pin_memory}) {
    const std::size_t begin = std::min(first * sizeof(std::uint32_t), memory->bytes());
    memory->advise(begin, memory->bytes() - begin, MADV_NOHUGEPAGE);
  }
}

void Residency::used_once(PageId page_id) noexcept {
  const std::uint32_t slot = _slot_of[page_id] - 1;  // S1: the latch keeps it
  const Entry entry{_slots[slot].load(std::memory_order_acquire)};
  if (!entry.hot() && !entry.probed()) mark(slot, entry, entry.bits | Entry::kProbed);
  // Marked, with the latches as they are: who uses the page clears it again.
  AtomicPageState& state = _states[page_id];
  PageState word = state.load();
  while (!word.marked() && !state.compare_exchange(word, word.with(PageState::kMarked))) {
  }
}

void Residency::cool_down(std::uint64_t wanted) noexcept {
  const std::uint64_t slots = in_chunks(_used_slots.load(std::memory_order_acquire));
  // Two hot pages looked at for each one that leaves keeps up with promotion; more would age them
  // too fast.
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
  AtomicPageState& state = _states[entry.page_id()];
  PageState word = state.load();
  if (!word.readable()) return;
  if (!word.marked()) {
    state.compare_exchange(word, word.with(PageState::kMarked));
  } else {
    mark(slot, entry,
         // Cold, marked, unprobed: the cold hand takes it unless it is used.
         entry.bits & ~Entry::kHot);
  }
}

}  // namespace vmcache

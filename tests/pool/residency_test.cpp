// SPDX-License-Identifier: MIT
//
// The invariants of pool/residency.hpp, each by itself.
#include "pool/residency.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

constexpr PageId kPages = 300;

//! Page states and their residency, without a pool. What the engine does under a page's latch, the
//! test does.
class Slots {
 public:
  [[nodiscard]] AtomicPageState& state(PageId page_id) { return _states[page_id]; }
  [[nodiscard]] Residency& residency() { return _residency; }

  std::uint32_t enter(Extent extent) {
    std::uint32_t slot = 0;
    _residency.take_slots({&slot, 1});
    const PageState claimed = _states[extent.page_id].load();
    _residency.enter(slot, extent.page_id, claimed,
                     claimed.with_order(extent.order).with_latch(PageState::kUnlocked));
    return slot;
  }
  //! As a free does it.
  void leave(PageId page_id) {
    PageState word = _states[page_id].load();
    while (!word.unlocked() ||
           !_states[page_id].compare_exchange(word, word.with_latch(PageState::kExclusive))) {
      word = _states[page_id].load();  // the one reader there is lets go
    }
    _residency.leave(page_id, word.next_version().with_latch(PageState::kEvicted));
  }
  [[nodiscard]] std::vector<PageId> residents() const {
    std::vector<PageId> ids;
    _residency.for_each([&](PageId page_id) { ids.push_back(page_id); });
    std::ranges::sort(ids);
    return ids;
  }

 private:
  std::vector<AtomicPageState> _states = std::vector<AtomicPageState>(kPages);
  Residency _residency{_states.data(), 64, kPages};
};

TEST(Residency, HasEachResidentInExactlyOneSlotAndNoneForOthers) {
  Slots slots;
  std::mt19937_64 random(11);
  std::vector<PageId> model;
  std::uint32_t last_slot = 0;
  constexpr std::size_t kMaxResidents = 70;
  for (int step = 0; step < 20'000; ++step) {
    const PageId page_id = 1 + random() % (kPages - 1);
    const auto at = std::ranges::lower_bound(model, page_id);
    if (at != model.end() && *at == page_id) {
      slots.leave(page_id);
      model.erase(at);
    } else if (model.size() < kMaxResidents) {
      last_slot = std::max(last_slot, slots.enter({page_id, 0}));
      model.insert(at, page_id);
    }
    if (step % 64 == 0) {
      ASSERT_EQ(slots.residents(), model) << "step " << step;
    }
  }
  EXPECT_EQ(slots.residents(), model);
  EXPECT_LT(last_slot, kMaxResidents) << "a slot that was left is taken again";
}

// A sweep that picks no dirty pages sees a small part of the slots only; so it finds a victim only
// if the hand need not go round all of them first.
TEST(Residency, APoolThatIsFullForTheFirstTimeHasVictims) {
  constexpr std::uint64_t kFrames = 20'000;
  std::vector<AtomicPageState> states(kFrames + 1);
  Residency residency(states.data(), kFrames, kFrames + 1);
  for (PageId page_id = 1; page_id <= kFrames; ++page_id) {
    std::uint32_t slot = 0;
    residency.take_slots({&slot, 1});
    states[page_id].store(PageState{PageState::kFaulting});
    residency.enter(slot, page_id, PageState{}, PageState{PageState::kUnlocked});
    residency.visit_new(kFrames - page_id);
  }
  // A page in use stays.
  PageState word = states[1].load();
  ASSERT_TRUE(word.marked());
  states[1].store(word.without(PageState::kMarked));
  SweepResult swept;
  swept.reserve(0);
  residency.sweep(64, 0, SweepEffort::kCold, swept);
  EXPECT_EQ(swept.victim_pages, 64U);
  EXPECT_TRUE(states[1].load().unlocked());
  residency.leave(swept.victims);
}

// The order that a page had when its slot was looked at is not the order that it has when it is
// taken.
TEST(Residency, AHandTakesAPageInTheSizeThatItHasNow) {
  Slots slots;
  slots.enter({8, 3});
  slots.leave(8);
  slots.enter({8, 0});
  slots.enter({9, 0});
  SweepResult swept;
  swept.reserve(0);
  slots.residency().sweep(1, 0, SweepEffort::kAny, swept);
  ASSERT_EQ(swept.victims.size(), 1u);
  EXPECT_EQ(swept.victims.front().extent, (Extent{8, 0}));
  EXPECT_EQ(swept.victim_pages, 1u);
  slots.residency().leave(swept.victims);
  EXPECT_EQ(slots.residents(), (std::vector<PageId>{9}));
}

// S2: else a checkpoint would miss a page that somebody found in memory and changed.
TEST(Residency, APageIsInItsSlotBeforeAnybodyCanSeeIt) {
  Slots slots;
  std::atomic<bool> stop{false};
  std::thread owner([&] {
    while (!stop) {
      slots.enter({8, 0});
      slots.leave(8);
    }
  });
  std::uint64_t missed = 0;
  for (int seen = 0; seen < 20'000;) {
    PageState word = slots.state(8).load();
    // Latched, so that it stays.
    if (!word.unlocked() ||
        !slots.state(8).compare_exchange(word, word.with_latch(PageState::kUnlocked + 1)))
      continue;
    bool found = false;
    slots.residency().for_each([&](PageId page_id) { found |= page_id == 8; });
    missed += found ? 0 : 1;
    ++seen;
    slots.state(8).store(word);
  }
  stop = true;
  owner.join();
  EXPECT_EQ(missed, 0u);
}

// Ids that change their size again and again while the hands go round.
TEST(Residency, FreedExtentsLeaveNothingBehind) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  for (unsigned i = 0; i < 3000; ++i) {
    const unsigned order = 1 + i % 4;
    ExclusiveGuard extent = pool.allocate(order);
    const PageId first = extent.page_id();
    std::memset(extent.data(), 0x5a, kPageSize << order);
    pool.free(std::move(extent));
    ExclusiveGuard single = pool.allocate();
    EXPECT_EQ(*single.as<std::uint64_t>(), 0u);
    EXPECT_LE(single.page_id(), first + (1u << order));
    pool.free(std::move(single));
  }
  // Every frame can still be had.
  std::vector<ExclusiveGuard> all;
  for (unsigned i = 0; i < 64; ++i) all.push_back(pool.allocate());
}

}  // namespace
}  // namespace vmcache

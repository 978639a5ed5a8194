// SPDX-License-Identifier: MIT
#include "pool/take_out.hpp"

#include <time.h>

#include <array>
#include <cstddef>
#include <mutex>
#include <span>

#include "clock.hpp"
#include "pool/engine.hpp"
#include "pool/freeing.hpp"
#include "pool/inner_pages.hpp"
#include "pool/pool_core.hpp"
#include "vmcache/guard.hpp"

namespace vmcache::detail {
namespace {

//! For somebody's latch, load or write of a page to end.
void wait_a_little(PoolCore& core) {
  constexpr timespec kPause{0, 50'000};
  if (Engine* own = engine_of_thread(core)) own->turn(false);
  core.engines.reap_idle();
  core.engines.with_service([](Engine& engine) {
    if (engine.in_flight() > 0) engine.turn(false);
  });
  ::nanosleep(&kPause, nullptr);
}

}  // namespace

PageHold::Result PageHold::take(PoolCore& core, PageId page_id, std::uint64_t deadline_ns) {
  AtomicPageState& state = core.states()[page_id];
  for (;;) {
    const PageState word = state.load();
    if (word.evicted() && !core.writes.claimed(page_id)) return Result::kNotThere;
    if (!word.evicted() && latch::try_exclusive(state, word) == TryFix::kFixed) {
      if (!core.writes.claimed(page_id)) return Result::kHeld;
      give_back(core, page_id);
    }
    if (now_ns() > deadline_ns) return Result::kBusy;
    wait_a_little(core);
  }
}

void PageHold::give_back(PoolCore& core, PageId page_id) noexcept {
  ExclusiveGuard({&core.states()[page_id], core.memory->base() + page_id * kPageSize, page_id})
      .release_unmodified();
}

PageId find_held(PoolCore& core, PageId begin, PageId end) {
  const std::uint64_t deadline = now_ns() + core.patience_ns();
  for (PageId page_id = begin; page_id < end; ++page_id) {
    for (;;) {
      const PageState word = core.states()[page_id].load();
      const bool held = word.faulting() || word.exclusive() || word.shared();
      if (!held && !core.residency.pinned(page_id)) break;
      if (now_ns() > deadline) return page_id;
      wait_a_little(core);
    }
  }
  return kNoPage;
}

TakenOut take_out(PoolCore& core, PageId begin, PageId end, Dirty dirty) {
  std::array<Extent, 64> batch;
  std::size_t count = 0;
  const auto drop_batch = [&] {
    const std::lock_guard lock(core.freeing.mutex);
    // A failure is the page-table call's: the frames are gone from the pages all the same.
    (void)drop(core, core.freeing.context, std::span(batch).first(count), PageState::Use::kUnknown);
    count = 0;
  };
  TakenOut taken{end, kNoPage};
  std::uint64_t deadline = now_ns() + core.patience_ns();
  for (PageId one = end; one > begin && taken.held == kNoPage;) {
    --one;
    if (core.states()[one].load().use() == PageState::Use::kInner) continue;  // goes with the first
    if (!core.writes.claimed(one) && forget_extent(core, one)) {
      taken.gone = one;
      continue;
    }
    // Nothing is held while this waits.
    PageHold::Result result = PageHold::take(core, one, 0);
    if (result == PageHold::Result::kBusy) {
      if (count > 0) drop_batch();
      result = PageHold::take(core, one, deadline);
    }
    while (result == PageHold::Result::kHeld && core.residency.pinned(one)) {
      PageHold::give_back(core, one);
      if (count > 0) drop_batch();
      result = PageHold::Result::kBusy;
      if (now_ns() > deadline) break;
      wait_a_little(core);
      result = PageHold::take(core, one, deadline);
    }
    if (result == PageHold::Result::kNotThere) {
      ++one;  // another look: what extent it was is to be forgotten
      continue;
    }
    const PageState word = core.states()[one].load();
    if (result == PageHold::Result::kHeld && dirty == Dirty::kKeep && word.dirty()) {
      PageHold::give_back(core, one);
      result = PageHold::Result::kBusy;
    }
    if (result == PageHold::Result::kBusy) {
      taken.held = one;
      break;
    }
    batch[count++] = {one, word.order()};
    taken.gone = one;
    if (count == batch.size()) drop_batch();
    deadline = now_ns() + core.patience_ns();
  }
  if (count > 0) drop_batch();
  if (taken.held == kNoPage) taken.gone = begin;
  return taken;
}

}  // namespace vmcache::detail

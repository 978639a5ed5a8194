// SPDX-License-Identifier: MIT
#include "pool/freeing.hpp"

#include <fmt/format.h>

#include <array>
#include <mutex>

#include "pool/inner_pages.hpp"
#include "pool/pool_core.hpp"

namespace vmcache::detail {
namespace {

[[noreturn]] void refuse(Extent extent, const char* why) {
  throw Error(Status{Errc::kInvalidPage, 0, extent.page_id},
              fmt::format("free: extent of order {}: {}", extent.order, why));
}

constexpr const char* kFreeAlready = "some of its pages are free already; nothing was changed";

//! What is under the guard, if its word says that somebody owns it.
Extent owned(const PagedStore& store, const ExclusiveGuard& guard) {
  if (!guard) throw Error(Errc::kInvalidPage, "free: the guard holds no page");
  const PageId page_id = guard.page_id();
  const AtomicPageState& state = store.core.states()[store.in_pool(page_id)];
  // T1: a guard of another database has another word for this id.
  if (page_id >= store.pages || &state != &guard.state()) {
    throw Error(Status{Errc::kInvalidPage, 0, page_id},
                "free: a page of another file of the pool; files that are not paged are made "
                "shorter by File::resize()");
  }
  store.refuse_read_only("free");
  if (store.core.residency.pinned(store.in_pool(page_id)))
    throw Error(Status{Errc::kBusy, 0, page_id}, "free: the page is pinned");
  const PageState word = state.load(std::memory_order_relaxed);
  const Extent extent{guard.page_id(), word.order()};
  if (word.use() != PageState::Use::kExtent) refuse(extent, kFreeAlready);
  return extent;
}

//! Clean and marked: ids that were freed last are used first, else it is the next to leave.
void release_free(AtomicPageState& state) noexcept {
  state.store(state.load(std::memory_order_relaxed)
                  .next_version()
                  .without(PageState::kDirty | PageState::kWriterWaits)
                  .with_use(PageState::Use::kFree)
                  .with(PageState::kMarked)
                  .with_latch(PageState::kUnlocked));
}

void complain(PoolCore& core, const Status& status) noexcept try {
  core.logger(LogLevel::kError, "freeing: " + status.to_string());
} catch (...) {  // NOLINT: F3
}

}  // namespace

Extent check_free(const PagedStore& store, const ExclusiveGuard& guard) {
  const Extent extent = owned(store, guard);
  if (!store.allocator.in_use(extent)) refuse(extent, kFreeAlready);
  return extent;
}

void free_extent(PagedStore& store, ExclusiveGuard& guard) {
  PoolCore& core = store.core;
  const Extent extent = owned(store, guard);
  if (extent.order == 0) {
    // The next owner waits for the latch, which is given back at once.
    if (!store.allocator.free(extent)) refuse(extent, kFreeAlready);
    return release_free(guard.detach().state());
  }
  if (!store.allocator.in_use(extent)) refuse(extent, kFreeAlready);
  (void)guard.detach();
  const Extent in_pool{store.in_pool(extent.page_id), extent.order};
  Status status;
  {
    const std::lock_guard lock(core.freeing.mutex);
    status = drop(core, core.freeing.context, {&in_pool, 1});
  }
  free_dropped(core, {&in_pool, 1}, status);
}

bool try_free_evicted(PagedStore& store, Extent extent, PageState word) {
  AtomicPageState& state = store.core.states()[store.in_pool(extent.page_id)];
  // A fault that came first has changed the word; one that comes later is refused (I6).
  if (!state.compare_exchange(word, word.with_latch(PageState::kFaulting))) return false;
  const bool freed = store.allocator.free(extent);
  state.store(freed
                  ? word.next_version().without(PageState::kTagMask).with_use(PageState::Use::kFree)
                  : word);
  if (!freed) refuse(extent, kFreeAlready);
  return true;
}

Status drop(PoolCore& core, unsigned context, std::span<const Extent> extents,
            PageState::Use use) noexcept {
  const Status status = core.memory->exchange(context, extents, {});
  std::uint64_t frames = 0;
  for (const Extent& extent : extents) {
    const PageState word = core.states()[extent.page_id].load(std::memory_order_relaxed);
    // Its frames are gone, so its pages may be fixed in another way (I10).
    if (use == PageState::Use::kUnknown)
      unmark_inner(core, extent.page_id, extent.page_id + extent.pages());
    // The bytes are of no use to anyone: not even a dirty mark.
    core.residency.leave(extent.page_id,
                         word.next_version()
                             .without(PageState::kMarked | PageState::kDirty | PageState::kTagMask)
                             .with_use(use)
                             .with_latch(PageState::kEvicted));
    frames += extent.pages();
  }
  core.give_frames(frames);
  return status;
}

void free_dropped(PoolCore& core, std::span<const Extent> extents, const Status& dropped) noexcept {
  if (!dropped.ok()) complain(core, dropped);
  for (const Extent& extent : extents) {
    // Only if somebody has freed a part of it since it was checked: without a latch on it, by
    // another name.
    PagedStore& store = *core.paged_of(extent.page_id);
    if (!store.allocator.free({extent.page_id - store.first, extent.order}))
      complain(core, {Errc::kInvalidPage, 0, extent.page_id - store.first});
  }
}

void drop_all(PoolCore& core, PageId begin, PageId end) noexcept {
  constexpr std::size_t kMax = 64;
  std::array<Extent, kMax> batch;
  std::size_t count = 0;
  const auto drop_batch = [&] {
    const std::lock_guard lock(core.freeing.mutex);
    const PageState::Use use =
        core.files.of_database(begin) ? PageState::Use::kFree : PageState::Use::kUnknown;
    const Status status = drop(core, core.freeing.context, std::span(batch).first(count), use);
    if (!status.ok()) complain(core, status);
    count = 0;
  };
  core.residency.for_each([&](PageId page_id) {
    if (page_id < begin || page_id >= end) return;
    AtomicPageState& state = core.states()[page_id];
    if (latch::try_exclusive(state, state.load()) != TryFix::kFixed) return;
    if (core.residency.pinned(page_id)) {
      ExclusiveGuard({&state, core.memory->base() + page_id * kPageSize, page_id})
          .release_unmodified();
      return;
    }
    batch[count++] = {page_id, state.load(std::memory_order_relaxed).order()};
    if (count == kMax) drop_batch();
  });
  if (count > 0) drop_batch();
}

void forget(PoolCore& core, PageId begin, PageId end) noexcept {
  for (PageId page_id = begin; page_id < end; ++page_id) {
    AtomicPageState& state = core.states()[page_id];
    PageState word = state.load();
    while (word.evicted() && (word.use() != PageState::Use::kUnknown || word.order() != 0) &&
           !state.compare_exchange(word, word.with_use(PageState::Use::kUnknown).with_order(0)))
      continue;
  }
}

}  // namespace vmcache::detail

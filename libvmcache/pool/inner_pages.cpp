// SPDX-License-Identifier: MIT
#include "pool/inner_pages.hpp"

#include "pool/pool_core.hpp"

namespace vmcache::detail {

bool mark_inner(PoolCore& core, Extent extent) noexcept {
  for (PageId inner = extent.page_id + 1; inner < extent.page_id + extent.pages(); ++inner) {
    AtomicPageState& state = core.states()[inner];
    PageState word = state.load();
    do {
      if (word.use() == PageState::Use::kInner) break;
      if (!word.evicted() || word.use() != PageState::Use::kUnknown) {
        unmark_inner(core, extent.page_id, inner);
        return false;
      }
    } while (!state.compare_exchange(word, word.with_use(PageState::Use::kInner)));
  }
  return true;
}

void unmark_inner(PoolCore& core, PageId first, PageId end) noexcept {
  for (PageId inner = first + 1; inner < end; ++inner) {
    AtomicPageState& state = core.states()[inner];
    PageState word = state.load();
    while (word.evicted() && word.use() == PageState::Use::kInner &&
           !state.compare_exchange(word, word.with_use(PageState::Use::kUnknown))) {
    }
  }
}

PageId extent_head(const PoolCore& core, PageId page_id) noexcept {
  if (core.states()[page_id].load().use() != PageState::Use::kInner) return page_id;
  for (unsigned order = 1; order <= kMaxOrder; ++order) {
    const PageId head = page_id & ~((PageId{1} << order) - 1);
    const PageState word = core.states()[head].load();
    const Extent extent{head, word.order()};
    if (word.use() == PageState::Use::kExtent && head != page_id && page_id - head < extent.pages())
      return head;
  }
  return page_id;
}

bool forget_extent(PoolCore& core, PageId page_id) noexcept {
  AtomicPageState& state = core.states()[page_id];
  PageState word = state.load();
  for (;;) {
    if (!word.evicted()) return false;
    if (word.use() != PageState::Use::kExtent) return true;
    // Held meanwhile: else the extent came in while its pages are unmarked (I10).
    if (state.compare_exchange(word, word.with_latch(PageState::kFaulting))) break;
  }
  unmark_inner(core, page_id, page_id + Extent{page_id, word.order()}.pages());
  state.store(word.with_use(PageState::Use::kUnknown));
  return true;
}

}  // namespace vmcache::detail

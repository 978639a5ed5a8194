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

}  // namespace vmcache::detail

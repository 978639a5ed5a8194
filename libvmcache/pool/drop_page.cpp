// SPDX-License-Identifier: MIT
#include "pool/drop_page.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <mutex>
#include <span>
#include <vector>

#include "clock.hpp"
#include "pool/freeing.hpp"
#include "pool/inner_pages.hpp"
#include "pool/pool_core.hpp"
#include "pool/write_back.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {
namespace {

class DropPages {
 public:
  DropPages(PoolCore& core, PageId begin, Dirty dirty)
      : _core(core), _store(core.paged_of(begin)), _log(core.log_of(begin)), _dirty(dirty) {}
  ~DropPages() { drop_batch(); }
  DropPages(const DropPages&) = delete;
  DropPages& operator=(const DropPages&) = delete;

  PageId run(PageId begin, PageId end) {
    if (word_of(begin).use() == PageState::Use::kInner) {
      throw Error(told({Errc::kInvalidPage, 0, begin}),
                  "drop: the page is inside an extent that begins before it");
    }
    if (_dirty == Dirty::kKeep) write_back(begin, end);
    PageId done = begin;
    for (PageId page_id = begin; page_id < end; page_id = std::max(page_id + 1, done))
      done = std::max(done, drop_one(page_id));
    return std::max(done, end);
  }

 private:
  [[nodiscard]] Status told(const Status& status) const noexcept {
    return _store != nullptr ? _store->told(status) : status;
  }
  [[noreturn]] void refuse(PageId page_id, const char* why) const {
    throw Error(told({Errc::kBusy, 0, page_id}), why);
  }
  [[nodiscard]] PageState word_of(PageId page_id) const noexcept {
    return _core.states()[page_id].load();
  }

  //! Together: so that neighbours are one write.
  void write_back(PageId begin, PageId end) {
    std::vector<Extent> dirty;
    for (PageId page_id = begin; page_id < end; ++page_id) {
      const PageState word = word_of(page_id);
      if (word.readable() && word.dirty()) dirty.push_back({page_id, word.order()});
    }
    write_back_pages(_core, dirty, _log, _store);
  }

  //! Returns one past the last page of the extent that began there.
  PageId drop_one(PageId page_id) {
    const std::uint64_t deadline = now_ns() + _core.patience_ns();
    for (;;) {
      const PageState seen = word_of(page_id);
      const bool known = seen.use() == PageState::Use::kExtent;
      const Extent extent{page_id, known ? seen.order() : 0};
      if (seen.evicted() && !_core.writes.claimed(page_id) &&
          (_store != nullptr || forget_extent(_core, page_id)))
        return page_id + extent.pages();
      PageHold::Result result = PageHold::take(_core, page_id, 0);
      if (result == PageHold::Result::kBusy) {
        drop_batch();  // nothing is held while this waits
        result = PageHold::take(_core, page_id, deadline);
      }
      if (result == PageHold::Result::kBusy) refuse(page_id, "drop: the page stays latched");
      if (result == PageHold::Result::kNotThere) continue;
      const Extent held{page_id, word_of(page_id).order()};
      const bool pinned = _core.residency.pinned(page_id);
      const bool changed = _dirty == Dirty::kKeep && word_of(page_id).dirty();
      if (!pinned && !changed) {
        add(held);
        return page_id + held.pages();
      }
      PageHold::give_back(_core, page_id);
      if (pinned) refuse(page_id, "drop: the page is pinned");
      if (now_ns() > deadline) refuse(page_id, "drop: the page is changed all the time");
      drop_batch();
      write_back_pages(_core, {held}, _log, _store);
    }
  }

  void add(Extent extent) noexcept {
    // Whether a page of the database is free is the page allocator's to say.
    const PageState::Use use =
        _store != nullptr ? word_of(extent.page_id).use() : PageState::Use::kUnknown;
    if (use != _use) drop_batch();
    _use = use;
    _batch[_count++] = extent;
    if (_count == _batch.size()) drop_batch();
  }

  void drop_batch() noexcept {
    if (_count == 0) return;
    const std::lock_guard lock(_core.freeing.mutex);
    // A failure is the page-table call's: the frames are gone from the pages all the same.
    (void)drop(_core, _core.freeing.context, std::span(_batch).first(_count), _use);
    _count = 0;
  }

  PoolCore& _core;
  const PagedStore* const _store;  // of a page that a page allocator knows, or null
  WriteAhead* const _log;
  const Dirty _dirty;
  std::array<Extent, 64> _batch;  // exclusively latched
  std::size_t _count = 0;
  PageState::Use _use = PageState::Use::kUnknown;  // for all in _batch, when they are gone
};

}  // namespace

PageId drop_pages(PoolCore& core, PageId begin, PageId end, Dirty dirty) {
  return DropPages(core, begin, dirty).run(begin, end);
}

}  // namespace vmcache::detail

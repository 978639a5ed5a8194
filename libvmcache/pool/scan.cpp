// SPDX-License-Identifier: MIT
#include "vmcache/scan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <span>
#include <vector>

#include "pool/freeing.hpp"
#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

constexpr std::uint64_t kLargestShare = 8;  // of the pool, for a window

unsigned checked(const BufferPool& pool, PageId first, std::uint64_t pages, unsigned read_ahead) {
  if (read_ahead == 0 || read_ahead > Scan::kMaxReadAhead) {
    throw Error(Errc::kInvalidOption, fmt::format("scan: read_ahead = {}: allowed are 1 to {}",
                                                  read_ahead, Scan::kMaxReadAhead));
  }
  const std::uint64_t all = pool.fixable_pages();
  if (first > all || pages > all - first) {
    throw Error(
        Errc::kInvalidOption,
        fmt::format("scan: {} pages from page {} on: page ids end at {}", pages, first, all));
  }
  return static_cast<unsigned>(
      std::clamp<std::uint64_t>(pool.pool_pages() / kLargestShare, 1, read_ahead));
}

}  // namespace

Scan::Scan(BufferPool& pool, PageId first, std::uint64_t pages, unsigned read_ahead)
    : _pool(pool),
      _at(first),
      _end(first + pages),
      _read_ahead(checked(pool, first, pages, read_ahead)) {}

bool Scan::next() {
  leave();
  if (_at == _end) return false;
  if (_at >= _fetched) fetch();
  const PageId page_id = _at++;
  _page = _pool.fix_shared(page_id);
  return true;
}

//! Gives back the frames of the window's pages that the scan has brought in and nobody else has
//! used since, if frames are short. Else they stay for whoever scans next.
void Scan::make_room() noexcept {
  detail::PoolCore& core = detail::core_of(_pool);
  if (core.free_frames() >= static_cast<std::int64_t>(_read_ahead)) return;
  std::array<Extent, kMaxReadAhead> unused;  // NOLINT: filled up to `count`
  std::size_t count = 0;
  for (PageId page_id = _window; page_id < _fetched; ++page_id) {
    if (!_brought.test(page_id - _window)) continue;
    AtomicPageState& state = _pool.page_ref(page_id).state();
    PageState word = state.load();
    if (!word.unlocked() || word.dirty() || !word.marked() || word.order() > 0) continue;
    // I4: the whole word, as it was judged.
    if (!state.compare_exchange(word, word.with_latch(PageState::kExclusive))) continue;
    if (_pool.pinned(page_id)) {
      state.store(word);
      continue;
    }
    unused[count++] = _pool.pool_extent({page_id, 0});
  }
  if (count == 0) return;
  const std::lock_guard lock(core.freeing.mutex);
  // A failure is the page-table call's: the frames are gone from the pages all the same.
  (void)detail::drop(core, core.freeing.context, std::span(unused).first(count),
                     PageState::Use::kExtent);
}

void Scan::fetch() {
  make_room();
  _window = _at;
  _fetched = std::min<PageId>(_end, _at + _read_ahead);
  _brought.reset();
  std::vector<Extent> missing;
  for (PageId page_id = _window; page_id < _fetched; ++page_id) {
    if (!_pool.page_ref(page_id).state().load().evicted()) continue;
    _brought.set(page_id - _window);
    missing.push_back({page_id, 0});
  }
  if (missing.size() < 2) return;
  try {
    _pool.prefetch(missing);
  } catch (const Error&) {  // NOLINT: told by the fix of the page whose it is
  }
}

void Scan::leave() noexcept {
  if (!_page) return;
  const PageId page_id = _page.page_id();
  if (_brought.test(page_id - _window))
    detail::core_of(_pool).residency.used_once(_pool.pool_extent({page_id, 0}).page_id);
  _page = SharedGuard();
}

}  // namespace vmcache

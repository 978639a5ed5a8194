// SPDX-License-Identifier: MIT
#include "pool/page_allocator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <new>
#include <utility>

#include "pool/free_list.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
PageAllocator::PageAllocator(Storage& storage, std::uint64_t capacity_pages, std::uint64_t next_page)
    : _storage(storage),
      _capacity_pages(capacity_pages),
      _next_page(next_page),
      _storage_pages(storage.size_bytes() / kPageSize) {}

Extent PageAllocator::allocate(unsigned order) {
  const std::lock_guard lock(_mutex);
  Extent extent;
  if (!take_free(order, extent)) extent = extend(order);
  fill_reserve();
  _allocated.fetch_add(extent.pages(), std::memory_order_relaxed);
  return extent;
}

//! A set's node can be moved from set to set without memory; getting one may fail.
PageAllocator::Node PageAllocator::make_node(PageId page_id) {
  Ids one{page_id};
  return one.extract(one.begin());
}

void PageAllocator::fill_reserve() noexcept try {
  constexpr std::size_t kReserve = 64;
  for (PageId n = 0; _reserve.size() < kReserve; ++n) _reserve.insert(n);
} catch (const std::bad_alloc&) {  // NOLINT: then it is filled later
}

void PageAllocator::free(Extent extent) noexcept {
  const std::lock_guard lock(_mutex);
  assert(extent.page_id + extent.pages() <= next_page());
  Node node;
  try {
    node = make_node(extent.page_id);
    // More than these are not remembered: to tell the device is a courtesy.
    constexpr std::size_t kMostRemembered = 1 << 18;
    if (_remember && _last_freed.size() < kMostRemembered) _last_freed.push_back(extent);
  } catch (const std::bad_alloc&) {
    if (node.empty() && !_reserve.empty()) node = _reserve.extract(_reserve.begin());
  }
  if (node.empty()) return;
  insert(extent, std::move(node));
  _freed.fetch_add(extent.pages(), std::memory_order_relaxed);
}

void PageAllocator::adopt(const std::vector<Extent>& extents) {
  const std::lock_guard lock(_mutex);
  for (const Extent& extent : extents) {
    if (extent.page_id == kNoPage || extent.order > kMaxOrder ||
        extent.page_id + extent.pages() > next_page()) {
      throw Error(Status{Errc::kInvalidOption, 0, extent.page_id}, "a free extent lies outside the database");
    }
    insert(extent, make_node(extent.page_id));
  }
}

void PageAllocator::insert(Extent extent, Node node) noexcept {
  while (extent.order < kMaxOrder) {
    const PageId buddy = extent.page_id ^ extent.pages();
    if (_free[extent.order].erase(buddy) == 0) break;
    extent = {std::min(extent.page_id, buddy), extent.order + 1};
  }
  node.value() = extent.page_id;
  const bool inserted = _free[extent.order].insert(std::move(node)).inserted;
  assert(inserted && "page freed twice");
  (void)inserted;
}

bool PageAllocator::take_free(unsigned order, Extent& extent) {
  for (unsigned larger = order; larger <= kMaxOrder; ++larger) {
    if (_free[larger].empty()) continue;
    extent = {*_free[larger].begin(), order};
    // The upper halves of what is split off stay free; their nodes come first, so that a failure changes nothing.
    Ids halves;
    for (unsigned half = order; half < larger; ++half)
      halves.insert(extent.page_id + (std::uint64_t{1} << half));
    _free[larger].erase(_free[larger].begin());
    for (unsigned half = order; half < larger; ++half) _free[half].insert(halves.extract(halves.begin()));
    return true;
  }
  return false;
}

Extent PageAllocator::extend(unsigned order) {
  const std::uint64_t pages = std::uint64_t{1} << order;
  const std::uint64_t first = (next_page() + pages - 1) & ~(pages - 1);
  if (first + pages > _capacity_pages) {
    throw Error(Errc::kDatabaseFull, fmt::format("allocating {} pages at {}: the capacity is {} pages", pages,
                                                 first, _capacity_pages));
  }
  if (first + pages > _storage_pages) grow_storage(first + pages);
  Ids skipped;
  for (PageId page_id = next_page(); page_id < first; ++page_id) skipped.insert(page_id);
  while (!skipped.empty()) {
    const PageId page_id = *skipped.begin();
    insert({page_id, 0}, skipped.extract(skipped.begin()));
  }
  _next_page.store(first + pages, std::memory_order_release);
  return {first, order};
}

//! In steps of an eighth, so that a file is extended seldom, but at least 1 MiB; if that fails, just as far
//! as needed.
void PageAllocator::grow_storage(std::uint64_t pages) {
  constexpr std::uint64_t kLeastStep = (std::uint64_t{1} << 20) / kPageSize;
  constexpr std::uint64_t kMostStep = (std::uint64_t{1} << 30) / kPageSize;
  const std::uint64_t step = std::clamp(pages / 8, kLeastStep, kMostStep);
  std::uint64_t target = std::min(pages + step, _capacity_pages);
  int error = _storage.resize(target * kPageSize);
  if (error != 0) {
    target = pages;
    error = _storage.resize(target * kPageSize);
  }
  if (error != 0) {
    throw Error(Status{Errc::kDatabaseFull, error, kNoPage},
                fmt::format("growing {} to {} pages", _storage.description(), pages));
  }
  _storage_pages = target;
}

std::vector<Extent> PageAllocator::free_extents() const {
  std::vector<Extent> extents;
  for (unsigned order = 0; order <= kMaxOrder; ++order) {
    for (const PageId page_id : _free[order]) extents.push_back({page_id, order});
  }
  extents.insert(extents.end(), _held.begin(), _held.end());
  return extents;
}

std::vector<Extent> PageAllocator::hold_freed(std::uint64_t mark) {
  const std::lock_guard lock(_mutex);
  assert(_held.empty());
  const auto count = std::min<std::size_t>(mark - std::min(mark, _first_freed), _last_freed.size());
  const auto end = _last_freed.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<Extent> candidates(_last_freed.begin(), end);
  _last_freed.erase(_last_freed.begin(), end);
  _first_freed += count;
  std::ranges::sort(candidates, {}, &Extent::page_id);
  std::vector<Extent> again = _last_freed;
  std::ranges::sort(again, {}, &Extent::page_id);

  std::vector<Extent> freed;
  for (const Extent& extent : candidates) {
    const PageId extent_end = extent.page_id + extent.pages();
    if (!freed.empty() && extent.page_id < freed.back().page_id + freed.back().pages()) continue;
    // Of several that lie in one place, as it was freed in other sizes, any will do.
    const bool freed_again = std::ranges::any_of(
        std::ranges::lower_bound(again,
                                 extent.page_id - std::min(extent.page_id, (PageId{1} << kMaxOrder) - 1), {},
                                 &Extent::page_id),
        std::ranges::lower_bound(again, extent_end, {}, &Extent::page_id),
        [&](const Extent& other) { return other.page_id + other.pages() > extent.page_id; });
    if (!freed_again && hold(extent)) freed.push_back(extent);
  }
  return freed;
}

//! Takes the free extent that contains all of `extent` out of reach. False if there is none.
bool PageAllocator::hold(Extent extent) {
  const auto contains = [&](const Extent& other) {
    return other.page_id <= extent.page_id &&
           extent.page_id + extent.pages() <= other.page_id + other.pages();
  };
  if (!_held.empty() && contains(_held.back())) return true;
  for (unsigned order = extent.order; order <= kMaxOrder; ++order) {
    const PageId first = extent.page_id & ~((PageId{1} << order) - 1);
    if (_free[order].erase(first) == 0) continue;
    _held.push_back({first, order});
    return true;
  }
  return false;
}

void PageAllocator::release_held() {
  const std::lock_guard lock(_mutex);
  for (const Extent& extent : _held) insert(extent, make_node(extent.page_id));
  _held.clear();
}

PageId PageAllocator::save() {
  const std::lock_guard lock(_mutex);
  return write_free_list(_storage, free_extents());
}

void PageAllocator::load(PageId first) {
  const std::lock_guard lock(_mutex);
  read_free_list(_storage, first, next_page(), [&](Extent extent) {
    if (!_free[extent.order].insert(extent.page_id).second) {
      throw Error(Status{Errc::kCorrupt, 0, extent.page_id}, "the list of free pages: page listed twice");
    }
  });
}

}  // namespace vmcache

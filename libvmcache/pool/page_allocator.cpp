// SPDX-License-Identifier: MIT
#include "pool/page_allocator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <new>
#include <utility>

#include "pool/free_list.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
PageAllocator::PageAllocator(Storage& storage, std::uint64_t capacity_pages,
                             std::uint64_t next_page)
    : _storage(storage),
      _capacity_pages(capacity_pages),
      _next_page(next_page),
      _storage_pages(storage.size_bytes() / kPageSize) {
  publish_available();
}

Extent PageAllocator::allocate(unsigned order) {
  const std::lock_guard lock(_mutex);
  Extent extent;
  if (!take_free(order, extent)) extent = extend(order);
  fill_reserve();
  publish_available();
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

bool PageAllocator::covers(Extent extent) const noexcept {
  const std::uint64_t end = next_page();
  return extent.page_id != kNoPage && extent.order <= kMaxOrder && extent.page_id < end &&
         extent.pages() <= end - extent.page_id && (extent.page_id & (extent.pages() - 1)) == 0;
}

bool PageAllocator::in_use(Extent extent) const {
  if (!covers(extent)) return false;
  const std::lock_guard lock(_mutex);
  return !any_free(extent);
}

//! Free extents inside it, list pages, and the extent that it would be inside of.
bool PageAllocator::any_free(Extent extent) const noexcept {
  const PageId end = extent.page_id + extent.pages();
  for (unsigned order = 0; order <= kMaxOrder; ++order) {
    if (_free[order].empty()) continue;
    const auto found = _free[order].lower_bound(extent.page_id & ~((PageId{1} << order) - 1));
    if (found != _free[order].end() && *found < end) return true;
  }
  for (const Ids* list : {&_list, &_next_list}) {
    const auto found = list->lower_bound(extent.page_id);
    if (found != list->end() && *found < end) return true;
  }
  return std::ranges::any_of(_held, [&](const Extent& held) {
    return held.page_id < end && extent.page_id < held.page_id + held.pages();
  });
}

std::vector<Extent> PageAllocator::allocate_pages(std::size_t count, bool in_a_row) {
  std::vector<Extent> pages;
  pages.reserve(count);
  std::unique_lock lock(_mutex);
  const PageId end = next_page();
  try {
    while (pages.size() < count) {
      Extent page;
      if (in_a_row || !take_free(0, page)) page = extend(0);
      pages.push_back(page);
    }
  } catch (...) {
    // As if nothing had been handed out: nobody else has seen the new ids.
    _next_page.store(end, std::memory_order_release);
    std::erase_if(pages, [&](const Extent& page) { return page.page_id >= end; });
    lock.unlock();
    for (const Extent& page : pages) (void)free(page);
    _allocated.fetch_add(pages.size(), std::memory_order_relaxed);  // freed, too
    throw;
  }
  fill_reserve();
  publish_available();
  _allocated.fetch_add(count, std::memory_order_relaxed);
  return pages;
}

bool PageAllocator::free(Extent extent) noexcept {
  if (!covers(extent)) return false;
  const std::lock_guard lock(_mutex);
  if (any_free(extent)) return false;
  Node node;
  try {
    node = make_node(extent.page_id);
    // More than these are not remembered: to tell the device is a courtesy.
    constexpr std::size_t kMaxRemembered = 1 << 18;
    if (_remember && _last_freed.size() < kMaxRemembered) _last_freed.push_back(extent);
  } catch (const std::bad_alloc&) {
    if (node.empty() && !_reserve.empty()) node = _reserve.extract(_reserve.begin());
  }
  if (node.empty()) return true;
  insert(extent, std::move(node));
  std::erase_if(_left, [&](const Extent& left) { return left.page_id == extent.page_id; });
  publish_available();
  _freed.fetch_add(extent.pages(), std::memory_order_relaxed);
  return true;
}

void PageAllocator::adopt(std::vector<Extent> extents) {
  const std::lock_guard lock(_mutex);
  std::ranges::sort(extents, {}, &Extent::page_id);
  PageId end = 1;  // of the extents before; page 0 is the header's
  for (const Extent& extent : extents) {
    const auto refuse = [&](const char* why) {
      throw Error(Status{Errc::kInvalidOption, 0, extent.page_id},
                  fmt::format("recovered: a free extent of order {} {}", extent.order, why));
    };
    if (extent.page_id == kNoPage || extent.order > kMaxOrder ||
        extent.pages() > next_page() - std::min(extent.page_id, next_page()))
      refuse("lies outside the database");
    if ((extent.page_id & (extent.pages() - 1)) != 0) refuse("is not aligned to its size");
    if (extent.page_id < end) refuse("overlaps another one");
    end = extent.page_id + extent.pages();
    insert(extent, make_node(extent.page_id));
  }
  publish_available();
}

void PageAllocator::insert(Extent extent, Node node) noexcept {
  _free_pages += extent.pages();
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
    // The upper halves of what is split off stay free; their nodes come first, so that a failure
    // changes nothing.
    Ids halves;
    for (unsigned half = order; half < larger; ++half)
      halves.insert(extent.page_id + (std::uint64_t{1} << half));
    _free[larger].erase(_free[larger].begin());
    _free_pages -= extent.pages();
    for (unsigned half = order; half < larger; ++half)
      _free[half].insert(halves.extract(halves.begin()));
    return true;
  }
  return false;
}

Extent PageAllocator::extend(unsigned order) {
  const std::uint64_t pages = std::uint64_t{1} << order;
  const std::uint64_t first = (next_page() + pages - 1) & ~(pages - 1);
  if (first + pages > _capacity_pages) {
    throw Error(Errc::kDatabaseFull,
                fmt::format("allocating {} pages at {}: the capacity is {} pages", pages, first,
                            _capacity_pages));
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

//! Less than 0 if pages are missing even for the lists (L3 in the header).
std::int64_t PageAllocator::room() const noexcept {
  // Until the storage was made longer for page 0, it ends before what is handed out.
  const std::uint64_t end = std::max(std::min(_storage_pages, _capacity_pages), next_page());
  const std::uint64_t unused = _free_pages + _list.size() + _next_list.size() + end - next_page();
  if (!_keeps_lists) return static_cast<std::int64_t>(unused);
  // They step half a page's entries apart, so that a page that is freed adds a page to one of them
  // at most. The first one is not the lesser, so that what is next can become current.
  const std::uint64_t current = free_list_pages(unused + kFreeListEntries - 1);
  const std::uint64_t next = free_list_pages(unused + kFreeListEntries / 2);
  return static_cast<std::int64_t>(unused) -
         static_cast<std::int64_t>(std::max<std::uint64_t>(_list.size(), current) +
                                   std::max<std::uint64_t>(_next_list.size(), next));
}

void PageAllocator::publish_available() noexcept {
  _available.store(static_cast<std::uint64_t>(std::max<std::int64_t>(room(), 0)),
                   std::memory_order_release);
}

//! Returns 0 or an errno.
int PageAllocator::lengthen_storage(std::uint64_t pages) noexcept try {
  const int error = _storage.resize(pages * kPageSize);
  if (error == 0) _storage_pages = pages;
  _growth_error.store(error, std::memory_order_relaxed);
  publish_available();
  return error;
} catch (const std::bad_alloc&) {
  _growth_error.store(ENOMEM, std::memory_order_relaxed);
  return ENOMEM;
}

bool PageAllocator::make_available(std::uint64_t needed, std::uint64_t wished) noexcept {
  const std::lock_guard lock(_mutex);
  // What was refused is asked for again only where it is needed: a full device would be asked by
  // every commit.
  if (available() >= wished || (available() >= needed && growth_error() != 0)) return true;
  for (const std::uint64_t wanted : {wished, needed}) {
    if (available() >= wanted) break;
    auto missing = static_cast<std::uint64_t>(static_cast<std::int64_t>(wanted) - room());
    if (_keeps_lists) missing += 2 * free_list_pages(missing);
    const std::uint64_t target = std::min(_storage_pages + missing, _capacity_pages);
    if (target <= _storage_pages) {
      _growth_error.store(0, std::memory_order_relaxed);
    } else if (lengthen_storage(target) == 0) {
      break;
    }
  }
  return available() >= needed;
}

void PageAllocator::leave(Extent extent) noexcept try {
  const std::lock_guard lock(_mutex);
  // Whoever fails to free it again says so again.
  if (std::ranges::find(_left, extent.page_id, &Extent::page_id) == _left.end())
    _left.push_back(extent);
} catch (const std::bad_alloc&) {  // NOLINT: then it is a recovery that finds it
}

//! In steps of an eighth, so that a file is extended seldom, but at least 1 MiB; if that fails,
//! just as far as needed.
void PageAllocator::grow_storage(std::uint64_t pages) {
  constexpr std::uint64_t kMinStep = (std::uint64_t{1} << 20) / kPageSize;
  constexpr std::uint64_t kMaxStep = (std::uint64_t{1} << 30) / kPageSize;
  const std::uint64_t step = std::clamp(pages / 8, kMinStep, kMaxStep);
  const std::uint64_t target = std::min(pages + step, _capacity_pages);
  int error = lengthen_storage(target);
  if (error != 0) error = lengthen_storage(pages);
  if (error != 0) {
    throw Error(Status{Errc::kDatabaseFull, error, kNoPage},
                fmt::format("growing {} to {} pages", _storage.description(), pages));
  }
}

std::vector<Extent> PageAllocator::free_extents() const {
  std::vector<Extent> extents;
  for (unsigned order = 0; order <= kMaxOrder; ++order) {
    for (const PageId page_id : _free[order]) extents.push_back({page_id, order});
  }
  extents.insert(extents.end(), _held.begin(), _held.end());
  extents.insert(extents.end(), _left.begin(), _left.end());
  for (const Ids* list : {&_list, &_next_list}) {
    for (const PageId page_id : *list) extents.push_back({page_id, 0});
  }
  return extents;
}

std::uint64_t PageAllocator::count_free_extents() const noexcept {
  std::uint64_t extents = _held.size() + _left.size() + _list.size() + _next_list.size();
  for (const Ids& ids : _free) extents += ids.size();
  return extents;
}

void PageAllocator::keep_lists(const std::vector<PageId>& pages) {
  const std::lock_guard lock(_mutex);
  _keeps_lists = true;
  for (const PageId page_id : pages) {
    if (!covers({page_id, 0}) || any_free({page_id, 0}))
      throw Error(Status{Errc::kInvalidOption, 0, page_id}, "a page of the free list is not free");
    _list.insert(page_id);
  }
  publish_available();
}

PageAllocator::FreeList PageAllocator::begin_list(std::uint64_t elsewhere) {
  const std::lock_guard lock(_mutex);
  assert(_next_list.empty());
  try {
    // Ends: to take a page may split an extent, into ten at most, and a page holds many times as
    // many.
    for (;;) {
      const std::uint64_t extents = count_free_extents();
      if (_next_list.size() >= free_list_pages(extents - std::min(extents, elsewhere))) break;
      take_list_page();
    }
    const std::vector<PageId> pages(_next_list.begin(), _next_list.end());
    return {next_page(), free_extents(), pages};
  } catch (...) {
    release(_next_list);
    throw;
  }
}

//! Without making the storage longer: that would be I/O.
void PageAllocator::take_list_page() {
  Node node = make_node(kNoPage);
  Extent extent;
  if (!take_free(0, extent)) {
    if (next_page() >= std::min(_storage_pages, _capacity_pages))
      throw Error(Errc::kDatabaseFull, "no page is left for the list of free pages");
    extent = extend(0);
  }
  node.value() = extent.page_id;
  _next_list.insert(std::move(node));
}

void PageAllocator::end_list() noexcept {
  const std::lock_guard lock(_mutex);
  release(_list);
  _list.swap(_next_list);
  publish_available();
}

void PageAllocator::cancel_list() noexcept {
  const std::lock_guard lock(_mutex);
  release(_next_list);
}

//! What was held for a list can be handed out.
void PageAllocator::release(Ids& list) noexcept {
  while (!list.empty()) {
    Node node = list.extract(list.begin());
    const PageId page_id = node.value();
    insert({page_id, 0}, std::move(node));
  }
  publish_available();
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
        std::ranges::lower_bound(
            again, extent.page_id - std::min(extent.page_id, (PageId{1} << kMaxOrder) - 1), {},
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
    _free_pages -= _held.back().pages();
    publish_available();
    return true;
  }
  return false;
}

void PageAllocator::release_held() {
  const std::lock_guard lock(_mutex);
  for (const Extent& extent : _held) insert(extent, make_node(extent.page_id));
  _held.clear();
  publish_available();
}

PageId PageAllocator::save() {
  const std::lock_guard lock(_mutex);
  const std::vector<Extent> extents = free_extents();
  // The first page of some of the extents. A database's own list, which comes last among them, must
  // stay as it is: its log names it.
  const std::uint64_t wanted = free_list_pages(extents.size());
  if (wanted + _list.size() + _next_list.size() > extents.size())
    throw Error(Errc::kDatabaseFull, "no page is left for the list of free pages");
  std::vector<PageId> pages;
  for (std::uint64_t n = 0; n < wanted; ++n) pages.push_back(extents[n].page_id);
  write_free_list(extents, pages, {}, [&](PageId page_id, std::span<const std::byte> bytes) {
    return _storage.write(page_id * kPageSize, bytes);
  });
  return pages.empty() ? kNoPage : pages.front();
}

void PageAllocator::load(PageId first) {
  const std::lock_guard lock(_mutex);
  (void)read_free_list(_storage, first, next_page(), {}, [&](Extent extent) {
    if (!_free[extent.order].insert(extent.page_id).second) {
      throw Error(Status{Errc::kCorrupt, 0, extent.page_id},
                  "the list of free pages: page listed twice");
    }
    _free_pages += extent.pages();
  });
  publish_available();
}

}  // namespace vmcache

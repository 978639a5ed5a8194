// SPDX-License-Identifier: MIT
#include "cached_file.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace vmcache::sqlite {
namespace {

//! Copies bytes of one page.
void copy_page(BufferPool& pool, PageId page_id, std::size_t at, std::span<std::byte> to) {
#ifdef __SANITIZE_THREAD__
  constexpr int kTries = 0;  // it does not know versions
#else
  constexpr int kTries = 4;  // a page that others change all the time is latched in the end
#endif
  for (int i = 0; i < kTries; ++i) {
    const OptimisticGuard guard = pool.fix_optimistic(page_id);
    std::memcpy(to.data(), guard.data() + at, to.size());
    if (guard.validate()) return;
  }
  const SharedGuard guard = pool.fix_shared(page_id);
  std::memcpy(to.data(), guard.data() + at, to.size());
}

//! Calls use(page, offset in the page, bytes) for each page that holds some of `bytes`.
template <typename Bytes, typename Use>
void for_each_page(Bytes bytes, std::uint64_t offset, Use use) {
  while (!bytes.empty()) {
    const std::uint64_t at = offset % kPageSize;
    const std::size_t n = std::min<std::size_t>(bytes.size(), kPageSize - at);
    use(offset / kPageSize, at, bytes.first(n));
    bytes = bytes.subspan(n);
    offset += n;
  }
}

std::uint64_t pages_of(std::uint64_t offset, std::uint64_t bytes) noexcept {
  return bytes == 0 ? 0 : (offset + bytes - 1) / kPageSize - offset / kPageSize + 1;
}

}  // namespace

void CachedFile::prefetch(std::uint64_t first, std::uint64_t pages, ReadAhead& ahead) {
  constexpr std::uint64_t kMaxAhead = 64;
  // Inner pages of a tree lie between its leaves.
  constexpr std::uint64_t kMaxGap = 16;
  const bool forward = first >= ahead.next && first - ahead.next <= kMaxGap;
  ahead.next = first + pages;
  if (!forward) ahead.pages = 0;

  OptimisticGuard guard;
  std::uint64_t there = 0;
  while (there < pages && _pool.try_fix(_file.page_id(first + there), guard) != TryFix::kMiss)
    ++there;
  if (there == pages) return;
  std::uint64_t end = first + pages;
  if (forward) {
    ahead.pages = std::clamp<std::uint64_t>(2 * ahead.pages, 2, kMaxAhead);
    // Not so many that a small pool loses what it needs.
    end += std::min(ahead.pages, _pool.pool_pages() / 32);
  }
  end = std::min(end, _file.pages());
  std::array<Extent, 2 * kMaxAhead> missing;
  std::size_t n = 0;
  for (std::uint64_t page = first + there; page < end && n < missing.size(); ++page) {
    const PageId page_id = _file.page_id(page);
    if (_pool.try_fix(page_id, guard) == TryFix::kMiss) missing[n++] = {page_id, 0};
  }
  if (n < 2) return;
  try {
    _pool.prefetch(std::span(missing).first(n));
  } catch (const Error&) {  // NOLINT: who reads the page is told
  }
}

std::size_t CachedFile::read(std::span<std::byte> to, std::uint64_t offset, ReadAhead& ahead) {
  const std::uint64_t size = _file.size_bytes();
  const std::size_t there = std::min<std::uint64_t>(to.size(), size - std::min(size, offset));
  prefetch(offset / kPageSize, pages_of(offset, there), ahead);
  for_each_page(to.first(there), offset,
                [&](std::uint64_t page, std::size_t at, std::span<std::byte> part) {
                  copy_page(_pool, _file.page_id(page), at, part);
                });
  std::ranges::fill(to.subspan(there), std::byte{0});
  return there;
}

void CachedFile::note_dirty(std::uint64_t page) {
  const std::lock_guard lock(_dirty_mutex);
  if (_dirty.empty() || _dirty.back() != page) _dirty.push_back(page);
}

void CachedFile::write(std::span<const std::byte> from, std::uint64_t offset) {
  grow(offset + from.size());
  ReadAhead none{.next = ~std::uint64_t{0}};
  prefetch(offset / kPageSize, pages_of(offset, from.size()), none);
  for_each_page(from, offset,
                [&](std::uint64_t page, std::size_t at, std::span<const std::byte> part) {
                  note_dirty(page);  // first: then nothing that is changed is missing
                  const ExclusiveGuard guard = _pool.fix_exclusive(_file.page_id(page));
                  std::memcpy(guard.data() + at, part.data(), part.size());
                });
}

void CachedFile::write_back() {
  std::vector<std::uint64_t> pages;
  {
    const std::lock_guard lock(_dirty_mutex);
    pages.swap(_dirty);
  }
  if (pages.empty()) return;
  try {
    std::ranges::sort(pages);
    pages.erase(std::ranges::unique(pages).begin(), pages.end());
    _file.write_back(pages);
  } catch (...) {
    const std::lock_guard lock(_dirty_mutex);
    if (_dirty.empty()) {
      _dirty.swap(pages);
    } else {
      _dirty.insert(_dirty.end(), pages.begin(), pages.end());
    }
    throw;
  }
}

void CachedFile::sync() {
  write_back();
  try {
    _file.flush();
  } catch (const Error&) {
    _failed.store(true, std::memory_order_release);
    throw;
  }
}

void CachedFile::resize(std::uint64_t bytes) {
  const std::lock_guard lock(_size_mutex);
  if (bytes != _file.size_bytes()) _file.resize(bytes);
}

void CachedFile::grow(std::uint64_t bytes) {
  if (bytes <= _file.size_bytes()) return;
  const std::lock_guard lock(_size_mutex);
  if (bytes > _file.size_bytes()) _file.resize(bytes);
}

const std::byte* CachedFile::pin(std::uint64_t offset, std::size_t bytes, PagePins& pins,
                                 ReadAhead& ahead) {
  if (bytes == 0 || offset + bytes > _file.size_bytes()) return nullptr;
  const std::uint64_t first = offset / kPageSize;
  const std::uint64_t pages = pages_of(offset, bytes);
  prefetch(first, pages, ahead);
  try {
    pins.first = _pool.pin(_file.page_id(first));
    pins.others.reserve(pages - 1);
    for (std::uint64_t page = first + 1; page < first + pages; ++page)
      pins.others.push_back(_pool.pin(_file.page_id(page)));
  } catch (const Error& error) {
    pins = {};
    if (error.code() == Errc::kPoolExhausted) return nullptr;
    throw;
  }
  return pins.first.data() + offset % kPageSize;
}

}  // namespace vmcache::sqlite

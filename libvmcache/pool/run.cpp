// SPDX-License-Identifier: MIT
#include "vmcache/run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"
#include "pool/raw_file.hpp"
#include "vmcache/error.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

void check(BufferPool& pool, PageId first, std::uint64_t pages) {
  const std::uint64_t max = pool.pool_pages() / Run::kMaxShare;
  if (pages == 0 || pages > max) {
    throw Error(Errc::kInvalidOption,
                fmt::format("run: {} pages: allowed are 1 to {}, half of the pool", pages, max));
  }
  if (pool.pool_begin() != 0)
    throw Error(Errc::kInvalidOption, "run: a paged file's extents are those it has allocated");
  const detail::FileSet& files = detail::core_of(pool).files;
  const PageId end = files.end_of(first);
  if (first >= end || pages > end - first || detail::core_of(pool).paged_of(first) != nullptr) {
    throw Error(
        Status{Errc::kInvalidPage, 0, first},
        fmt::format("run: {} pages from page {} on: not all of one open raw file", pages, first));
  }
}

std::vector<Extent> cut(PageId first, std::uint64_t pages) {
  std::vector<Extent> extents;
  while (pages > 0) {
    const unsigned order = std::min(
        {kMaxOrder, unsigned(std::countr_zero(first)), unsigned(std::bit_width(pages)) - 1});
    extents.push_back({first, order});
    first += extents.back().pages();
    pages -= extents.back().pages();
  }
  return extents;
}

//! The fixes that follow say what is wrong.
template <typename Prefetch>
void try_prefetch(Prefetch prefetch) {
  try {
    prefetch();
  } catch (const Error&) {  // NOLINT
  }
}

}  // namespace

Run::Run(BufferPool& pool, PageId first, std::uint64_t pages) : _pool(pool), _pages(pages) {
  check(pool, first, pages);
  _extents = cut(first, pages);
}

void Run::prefetch() const {
  _pool.prefetch(_extents);
}

SharedRun Run::fix_shared() const {
  try_prefetch([&] { prefetch(); });
  std::vector<SharedGuard> guards;
  guards.reserve(_extents.size());
  for (const Extent& extent : _extents)
    guards.push_back(_pool.fix_shared(extent.page_id, extent.order));
  return {std::move(guards), size_bytes()};
}

ExclusiveRun Run::fix_exclusive() const {
  try_prefetch([&] { prefetch(); });
  std::vector<ExclusiveGuard> guards;
  guards.reserve(_extents.size());
  try {
    for (const Extent& extent : _extents)
      guards.push_back(_pool.fix_exclusive(extent.page_id, extent.order));
  } catch (...) {
    for (ExclusiveGuard& guard : guards) guard.release_unmodified();
    throw;
  }
  return {std::move(guards), size_bytes()};
}

void Run::write_back() const {
  detail::RawFile* const file = detail::core_of(_pool).files.file_of(first());
  if (file == nullptr || !file->is_open())
    throw Error(Errc::kClosed, "write_back of a run: the file was closed");
  std::vector<std::uint64_t> pages;
  pages.reserve(_extents.size());
  for (const Extent& extent : _extents)
    pages.push_back(file->offset_of(extent.page_id) / kPageSize);
  file->write_back_only(pages);
}

void Run::require_pool_of(const Worker& worker) const {
  if (&worker.pool() != &_pool)
    throw Error(Errc::kInvalidOption, "run: it is of another pool than the Worker");
}

Task<SharedRun> Run::fix_shared(Worker& worker) const {
  require_pool_of(worker);
  try {
    co_await worker.prefetch(_extents);
  } catch (const Error&) {  // NOLINT: the fixes that follow say what is wrong
  }
  std::vector<SharedGuard> guards;
  guards.reserve(_extents.size());
  for (const Extent& extent : _extents)
    guards.push_back(co_await worker.fix_shared(extent.page_id, extent.order));
  co_return SharedRun{std::move(guards), size_bytes()};
}

Task<ExclusiveRun> Run::fix_exclusive(Worker& worker) const {
  require_pool_of(worker);
  try {
    co_await worker.prefetch(_extents);
  } catch (const Error&) {  // NOLINT: the fixes that follow say what is wrong
  }
  std::vector<ExclusiveGuard> guards;
  guards.reserve(_extents.size());
  try {
    for (const Extent& extent : _extents)
      guards.push_back(co_await worker.fix_exclusive(extent.page_id, extent.order));
  } catch (...) {
    for (ExclusiveGuard& guard : guards) guard.release_unmodified();
    throw;
  }
  co_return ExclusiveRun{std::move(guards), size_bytes()};
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// What a RawFile knows of its pages, and does with some of them.
#include <fmt/format.h>

#include <cstring>
#include <string>

#include "pool/drop_page.hpp"
#include "pool/inner_pages.hpp"
#include "pool/pool_core.hpp"
#include "pool/raw_file.hpp"
#include "pool/write_back.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {

bool RawFile::is_new(Extent extent) const noexcept {
  if (!_temporary) return false;
  for (PageId page = extent.page_id; page < extent.page_id + extent.pages(); ++page)
    if (is_there(page)) return false;
  return true;
}

void RawFile::clear_new(Extent extent, std::byte* data) const noexcept {
  for (std::uint64_t n = 0; _temporary && n < extent.pages(); ++n)
    if (!is_there(extent.page_id + n)) std::memset(data + n * kPageSize, 0, kPageSize);
}

std::vector<Extent> RawFile::dirty() const {
  return dirty_extents(_core, _first, end_page(_capacity_bytes));
}

std::vector<Extent> RawFile::extents_of(std::span<const std::uint64_t> pages) const {
  std::vector<Extent> extents;
  extents.reserve(pages.size());
  PageId last = kNoPage;
  for (const std::uint64_t page : pages) {
    const bool ascends = last == kNoPage || _first + page > last;
    if (page >= _pages || !ascends) {
      throw Error(Status{Errc::kInvalidPage, 0, kNoPage},
                  fmt::format("{}: write_back: page {} {}", path(), page,
                              ascends ? fmt::format("of a file of up to {} pages", _pages)
                                      : std::string("is not after the one before it")));
    }
    last = _first + page;
    const PageId head = extent_head(_core, last);
    const PageState word = _core.states()[head].load();
    const bool known = word.use() == PageState::Use::kExtent;
    if (extents.empty() || extents.back().page_id != head)
      extents.push_back({head, known ? word.order() : 0});
  }
  return extents;
}

void RawFile::write_back_only(std::span<const std::uint64_t> pages) {
  prepare_write_back("write_back");
  write_back_pages(_core, extents_of(pages), _log);
}

void RawFile::require_pages(std::uint64_t first, std::uint64_t count, const char* doing) const {
  require_usable(doing);
  _flush.refuse_if_failed(doing);
  if (first <= _pages && count <= _pages - first) return;
  throw Error(Status{Errc::kInvalidPage, 0, kNoPage},
              fmt::format("{}: {}: {} pages from page {} on, of a file of up to {} pages", path(),
                          doing, count, first, _pages));
}

void RawFile::drop(std::uint64_t first, std::uint64_t count) {
  require_pages(first, count, "drop");
  if (count > 0) (void)drop_pages(_core, _first + first, _first + first + count, Dirty::kKeep);
}

void RawFile::discard(std::uint64_t first, std::uint64_t count) {
  require_pages(first, count, "discard");
  if (count == 0) return;
  const auto make_new = [&](std::uint64_t end) {
    for (std::uint64_t page = first; _temporary && page < end; ++page)
      _in_storage[page].store(0, std::memory_order_release);
  };
  try {
    make_new(drop_pages(_core, _first + first, _first + first + count, Dirty::kDrop) - _first);
  } catch (const Error& error) {
    make_new(error.page_id() - _first);  // the one that is in the way keeps its bytes
    throw;
  }
}

std::vector<DirtyPage> RawFile::dirty_pages() const {
  require_usable("dirty_pages");
  require_writable("dirty_pages");
  if (_log == nullptr)
    throw Error(Errc::kInvalidOption,
                path() + ": dirty_pages: the file was opened without write_ahead");
  std::vector<DirtyPage> pages;
  for (const Extent& extent : dirty()) {
    const std::uint64_t page = extent.page_id - _first;
    pages.push_back({page, _in_storage[page].load(std::memory_order_acquire)});
  }
  return pages;
}

}  // namespace vmcache::detail

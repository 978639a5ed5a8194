// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "pool/page_buffer.hpp"
#include "pool/paged_store.hpp"
#include "pool/write_back.hpp"

namespace vmcache::detail {
namespace {

constexpr std::size_t kReadPages = 64;

//! Pages [begin, end) are in use: lets their sums be known.
void read_unknown(PagedStore& store, PageId begin, PageId end, PageBuffer* buffer) {
  while (begin < end) {
    if (store.sums->knows(begin)) {
      ++begin;
      continue;
    }
    std::size_t pages = 1;
    while (pages < kReadPages && begin + pages < end && !store.sums->knows(begin + pages)) ++pages;
    const std::span bytes(buffer->bytes.data(), pages * kPageSize);
    if (const int error = store.storage.read(begin * kPageSize, bytes); error != 0)
      throw Error(Status{Errc::kIo, error, begin}, "digest of " + store.storage.description());
    (void)store.sums->check(begin, bytes);
    begin += pages;
  }
}

}  // namespace

std::uint64_t digest(PagedStore& store) {
  std::vector<Extent> free;
  std::uint64_t end = 0;
  store.allocator.snapshot([&](std::uint64_t next_page, const std::vector<Extent>& extents) {
    end = next_page;
    free = extents;
  });
  std::ranges::sort(free, {}, &Extent::page_id);
  free.push_back({end, 0});
  const auto buffer = std::make_unique_for_overwrite<PageBuffer[]>(kReadPages);
  std::uint64_t sum = end;
  PageId in_use = 1;  // page 0 is the header's
  for (const Extent& extent : free) {
    read_unknown(store, in_use, extent.page_id, buffer.get());
    for (PageId page_id = in_use; page_id < extent.page_id; ++page_id)
      sum += store.sums->share_of(page_id);
    in_use = extent.page_id + extent.pages();
  }
  return sum;
}

}  // namespace vmcache::detail

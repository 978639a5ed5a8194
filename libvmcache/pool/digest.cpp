// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "pool/page_buffer.hpp"
#include "pool/pool_core.hpp"
#include "pool/write_back.hpp"

namespace vmcache::detail {
namespace {

constexpr std::size_t kReadPages = 64;

//! Pages [begin, end) are in use: lets their sums be known.
void read_unknown(PoolCore& core, PageId begin, PageId end, PageBuffer* buffer) {
  while (begin < end) {
    if (core.sums->knows(begin)) {
      ++begin;
      continue;
    }
    std::size_t pages = 1;
    while (pages < kReadPages && begin + pages < end && !core.sums->knows(begin + pages)) ++pages;
    const std::span bytes(buffer->bytes.data(), pages * kPageSize);
    if (const int error = core.storage->read(begin * kPageSize, bytes); error != 0)
      throw Error(Status{Errc::kIo, error, begin}, "digest of " + core.storage->description());
    (void)core.sums->check(begin, bytes);
    begin += pages;
  }
}

}  // namespace

std::uint64_t digest(PoolCore& core) {
  std::vector<Extent> free;
  std::uint64_t end = 0;
  core.allocator.snapshot([&](std::uint64_t next_page, const std::vector<Extent>& extents) {
    end = next_page;
    free = extents;
  });
  std::ranges::sort(free, {}, &Extent::page_id);
  free.push_back({end, 0});
  const auto buffer = std::make_unique_for_overwrite<PageBuffer[]>(kReadPages);
  std::uint64_t sum = end;
  PageId in_use = 1;  // page 0 is the header's
  for (const Extent& extent : free) {
    read_unknown(core, in_use, extent.page_id, buffer.get());
    for (PageId page_id = in_use; page_id < extent.page_id; ++page_id)
      sum += core.sums->share_of(page_id);
    in_use = extent.page_id + extent.pages();
  }
  return sum;
}

}  // namespace vmcache::detail

// SPDX-License-Identifier: MIT
#include "pool/free_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <string>

#include "crc32c.hpp"
#include "pool/page_buffer.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

//! A page of the stored free list.
struct FreeListPage {
  std::uint64_t next;      // page id, kNoPage at the end
  std::uint64_t count;     // of entries
  std::uint32_t checksum;  // CRC32C of the page with this field 0
  std::uint32_t reserved;
  FreeListId id;
  std::array<std::uint64_t, kFreeListEntries> entries;  // page_id << 4 | order
};
static_assert(sizeof(FreeListPage) == kPageSize);

std::uint32_t checksum_of(FreeListPage page) {
  page.checksum = 0;
  return crc32c(&page, sizeof page);
}

}  // namespace

void write_free_list(std::span<const Extent> extents, std::span<const PageId> pages,
                     const FreeListId& id,
                     FunctionRef<int(PageId, std::span<const std::byte>)> write) {
  assert(pages.size() == free_list_pages(extents.size()));
  for (std::size_t n = 0; n < pages.size(); ++n) {
    const auto part = extents.subspan(n * kFreeListEntries);
    FreeListPage list{};
    list.next = n + 1 < pages.size() ? pages[n + 1] : kNoPage;
    list.count = std::min<std::size_t>(kFreeListEntries, part.size());
    list.id = id;
    for (std::size_t i = 0; i < list.count; ++i)
      list.entries[i] = part[i].page_id << 4 | part[i].order;
    list.checksum = checksum_of(list);
    PageBuffer page;
    std::memcpy(page.bytes.data(), &list, sizeof list);
    if (const int error = write(pages[n], page.bytes); error != 0)
      throw Error(Status{Errc::kIo, error, pages[n]}, "writing the list of free pages");
  }
}

std::vector<PageId> read_free_list(Storage& storage, PageId first, PageId next_page,
                                   const FreeListId& id, FunctionRef<void(Extent)> use) {
  std::vector<PageId> pages;
  for (PageId page_id = first; page_id != kNoPage;) {
    const auto corrupt = [&](const std::string& what) {
      throw Error(Status{Errc::kCorrupt, 0, page_id}, "the list of free pages: " + what);
    };
    if (page_id >= next_page || pages.size() >= next_page) corrupt("page id out of range");
    pages.push_back(page_id);
    PageBuffer page;
    if (const int error = storage.read(page_id * kPageSize, page.bytes); error != 0) {
      throw Error(Status{Errc::kIo, error, page_id}, "reading the list of free pages");
    }
    FreeListPage list;
    std::memcpy(&list, page.bytes.data(), sizeof list);
    if (const std::uint32_t expected = checksum_of(list); list.checksum != expected) {
      throw Error(
          Status{.code = Errc::kCorrupt,
                 .page_id = page_id,
                 .expected = expected,
                 .found = list.checksum},
          fmt::format("the list of free pages: checksum is {:#010x}, its bytes give {:#010x}",
                      list.checksum, expected));
    }
    if (list.id.generation != id.generation || list.id.nonce != id.nonce) {
      corrupt(
          fmt::format("the page is of the list of checkpoint {} ({:#x}), not of that of {} ({:#x})",
                      list.id.generation, list.id.nonce, id.generation, id.nonce));
    }
    if (list.count > kFreeListEntries) corrupt("too many entries");
    for (std::size_t i = 0; i < list.count; ++i) {
      const Extent extent{list.entries[i] >> 4, static_cast<unsigned>(list.entries[i] & 0xf)};
      if (extent.order > kMaxOrder || extent.page_id == kNoPage ||
          extent.page_id + extent.pages() > next_page) {
        corrupt("extent out of range");
      }
      use(extent);
    }
    page_id = list.next;
  }
  return pages;
}

}  // namespace vmcache

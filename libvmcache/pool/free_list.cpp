// SPDX-License-Identifier: MIT
#include "pool/free_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
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
  static constexpr std::size_t kEntries = (kPageSize - 24) / sizeof(std::uint64_t);
  std::uint64_t next;      // page id, kNoPage at the end
  std::uint64_t count;     // of entries
  std::uint32_t checksum;  // CRC32C of the page with this field 0
  std::uint32_t reserved;
  std::array<std::uint64_t, kEntries> entries;  // page_id << 4 | order
};
static_assert(sizeof(FreeListPage) <= kPageSize);

std::uint32_t checksum_of(FreeListPage page) {
  page.checksum = 0;
  return crc32c(&page, sizeof page);
}

}  // namespace

PageId write_free_list(Storage& storage, std::span<const Extent> extents) {
  PageId next = kNoPage;
  // Each page of the chain is the first page of one of the extents it lists: there are always enough.
  for (std::size_t begin = 0; begin < extents.size(); begin += FreeListPage::kEntries) {
    const std::size_t count = std::min(FreeListPage::kEntries, extents.size() - begin);
    FreeListPage list{};
    list.next = next;
    list.count = count;
    for (std::size_t i = 0; i < count; ++i) {
      list.entries[i] = extents[begin + i].page_id << 4 | extents[begin + i].order;
    }
    list.checksum = checksum_of(list);
    PageBuffer page;
    std::memcpy(page.bytes.data(), &list, sizeof list);
    next = extents[begin].page_id;
    if (const int error = storage.write(next * kPageSize, page.bytes); error != 0) {
      throw Error(Status{Errc::kIo, error, next}, "writing the list of free pages");
    }
  }
  return next;
}

void read_free_list(Storage& storage, PageId first, PageId next_page, FunctionRef<void(Extent)> use) {
  std::uint64_t visited = 0;
  for (PageId page_id = first; page_id != kNoPage;) {
    const auto corrupt = [&](const char* what) {
      throw Error(Status{Errc::kCorrupt, 0, page_id}, std::string("the list of free pages: ") + what);
    };
    if (page_id >= next_page || ++visited > next_page) corrupt("page id out of range");
    PageBuffer page;
    if (const int error = storage.read(page_id * kPageSize, page.bytes); error != 0) {
      throw Error(Status{Errc::kIo, error, page_id}, "reading the list of free pages");
    }
    FreeListPage list;
    std::memcpy(&list, page.bytes.data(), sizeof list);
    if (const std::uint32_t expected = checksum_of(list); list.checksum != expected) {
      throw Error(
          Status{.code = Errc::kCorrupt, .page_id = page_id, .expected = expected, .found = list.checksum},
          fmt::format("the list of free pages: checksum is {:#010x}, its bytes give {:#010x}", list.checksum,
                      expected));
    }
    if (list.count > FreeListPage::kEntries) corrupt("too many entries");
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
}

}  // namespace vmcache

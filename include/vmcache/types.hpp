// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

namespace vmcache {

//! Bytes of a page; the unit of translation, of the page area and of the file.
inline constexpr std::size_t kPageSize = 4096;

//! Number of a page: its byte offset in the database is page_id * kPageSize, its address is base + that.
//! Page 0 is the library's header, so 0 also serves as "no page".
using PageId = std::uint64_t;
inline constexpr PageId kNoPage = 0;

//! Largest extent order: 2^8 pages (1 MiB), one I/O and one state word.
inline constexpr unsigned kMaxOrder = 8;

//! 2^order contiguous pages that are fixed, read, written and evicted as one, under the first page's state
//! word. page_id is a multiple of 2^order.
struct Extent {
  PageId page_id = kNoPage;
  unsigned order = 0;

  [[nodiscard]] constexpr std::uint64_t pages() const noexcept { return std::uint64_t{1} << order; }
  [[nodiscard]] constexpr std::size_t bytes() const noexcept { return kPageSize << order; }
  friend constexpr bool operator==(const Extent&, const Extent&) = default;
};

}  // namespace vmcache

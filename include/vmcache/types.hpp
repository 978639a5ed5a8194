// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

//! Bytes of a page: the unit of translation, of the page area and of the file.
inline constexpr std::size_t kPageSize = 4096;

//! Number of a page. Its byte offset in the database is page_id * kPageSize, and its address is the
//! base of the page area plus that. Page 0 is the library's header, so 0 also means "no page".
using PageId = std::uint64_t;
inline constexpr PageId kNoPage = 0;

//! Largest order of an extent: 2^8 pages (1 MiB).
inline constexpr unsigned kMaxOrder = 8;

//! 2^order contiguous pages that are fixed, read, written and evicted as one, under the state word
//! of the first page. page_id is a multiple of 2^order.
struct Extent {
  PageId page_id = kNoPage;
  unsigned order = 0;

  [[nodiscard]] constexpr std::uint64_t pages() const noexcept { return std::uint64_t{1} << order; }
  [[nodiscard]] constexpr std::size_t bytes() const noexcept { return kPageSize << order; }
  friend constexpr bool operator==(const Extent&, const Extent&) = default;
};

}  // namespace vmcache

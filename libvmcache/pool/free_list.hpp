// SPDX-License-Identifier: MIT
//
// The list of free extents in storage: a chain of pages, themselves free. A pool writes one when it
// is closed, a database at each checkpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmcache/function_ref.hpp"
#include "vmcache/identity.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

//! Extents that a page of the list holds.
inline constexpr std::uint64_t kFreeListEntries = (kPageSize - 40) / sizeof(std::uint64_t);

//! Pages that a list of so many extents needs.
[[nodiscard]] constexpr std::uint64_t free_list_pages(std::uint64_t extents) noexcept {
  return (extents + kFreeListEntries - 1) / kFreeListEntries;
}

//! Of which checkpoint a list is; that of a pool without a log says 0. A page of another list is
//! never taken for one of this.
struct FreeListId {
  std::uint64_t generation = 0;  //!< Identity's
  std::uint64_t nonce = 0;
};

//! Writes the list into `pages`, free_list_pages(extents.size()) of them; the first one is the
//! list's first. write(page id, bytes) returns 0 or an errno. Throws Error kIo.
void write_free_list(std::span<const Extent> extents, std::span<const PageId> pages,
                     const FreeListId& id,
                     FunctionRef<int(PageId, std::span<const std::byte>)> write);

//! Calls use(extent) for each extent of the list that begins at `first`, in a database of the pages
//! below `next_page`. Returns the list's pages. Throws Error: kIo, kCorrupt with the page of the
//! list, and what use throws.
std::vector<PageId> read_free_list(Storage& storage, PageId first, PageId next_page,
                                   const FreeListId& id, FunctionRef<void(Extent)> use);

}  // namespace vmcache

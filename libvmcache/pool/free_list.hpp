// SPDX-License-Identifier: MIT
//
// The list of free extents in storage, between a clean close and the next open: a chain of pages, themselves free.
#pragma once

#include <span>

#include "vmcache/btree/bytes.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

//! Writes it and returns its first page, kNoPage if nothing is free. Throws Error kIo.
[[nodiscard]] PageId write_free_list(Storage& storage, std::span<const Extent> extents);

//! Calls use(extent) for each extent of the list that begins at `first`, in a database of the pages below `next_page`.
//! Throws Error: kIo, kCorrupt with the page of the list, and what use throws.
void read_free_list(Storage& storage, PageId first, PageId next_page, FunctionRef<void(Extent)> use);

}  // namespace vmcache

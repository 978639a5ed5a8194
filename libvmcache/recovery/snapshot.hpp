// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "pool/page_allocator.hpp"
#include "vmcache/identity.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

//! The free extents that do not fit into a snapshot's record (SnapshotHeader::kExtents). They are
//! in a list in the page file.
[[nodiscard]] std::span<const Extent> listed_extents(const PageAllocator::FreeList& free) noexcept;

//! Appends the record with which a log begins: free extents and roots as of the log's end. Throws
//! what WriteAheadLog::append() throws.
void append_snapshot(WriteAheadLog& log, const Identity& identity,
                     const PageAllocator::FreeList& free, std::span<const PageId> roots);

}  // namespace vmcache

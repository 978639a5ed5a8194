// SPDX-License-Identifier: MIT
#include "recovery/snapshot.hpp"

#include <algorithm>
#include <cstddef>

#include "recovery/log_format.hpp"

namespace vmcache {

std::span<const Extent> listed_extents(const PageAllocator::FreeList& free) noexcept {
  return std::span(free.extents).subspan(std::min(free.extents.size(), SnapshotHeader::kExtents));
}

void append_snapshot(WriteAheadLog& log, const Identity& identity,
                     const PageAllocator::FreeList& free, std::span<const PageId> roots) {
  SnapshotHeader header;
  header.generation = identity.generation;
  header.nonce = identity.nonce;
  header.next_page = free.next_page;
  header.roots = roots.size();
  const std::span<const Extent> listed = listed_extents(free);
  for (std::size_t n = 0; n < free.extents.size() - listed.size(); ++n)
    header.extents[n] = free.extents[n].page_id << 4 | free.extents[n].order;
  header.listed = listed.size();
  header.list_begin = free.pages.empty() ? kNoPage : free.pages.front();
  const Bytes parts[] = {bytes_of(header), bytes_of_all(roots)};
  log.append(number_of(RecordType::kSnapshot), parts);
}

}  // namespace vmcache

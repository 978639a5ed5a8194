// SPDX-License-Identifier: MIT
#include "recovery/commit_needs.hpp"

#include "vmcache/detail/btree/large_value.hpp"

namespace vmcache {
namespace {

//! What one change may append at worst, besides its own bytes: the image of its leaf, and the three
//! images of a split, with their headers. Splits of higher levels are paid for by the many inserts
//! that precede them.
constexpr std::uint64_t kLogBytesPerChange = 5 * kPageSize;
//! The same for an erase: the image of its leaf, and the two images of a merge. The third page of a
//! merge is freed and has no image.
constexpr std::uint64_t kLogBytesPerErase = 3 * kPageSize + 256;

//! The nodes that one change may allocate at worst: one a level, and a new root with the level
//! below it. Keys of a quarter page make nodes of one to three entries, and then a change may split
//! more than one node of a level; see with_second_splits().
constexpr std::uint64_t pages_of_change(unsigned levels) noexcept {
  return std::uint64_t{levels} + 2;
}

}  // namespace

std::uint64_t CommitNeeds::max_log_bytes(const WriteSet& changes) noexcept {
  const std::size_t erases = changes.erases();
  return changes.body().size() + erases * kLogBytesPerErase +
         (changes.changes() - erases) * kLogBytesPerChange;
}

std::uint64_t CommitNeeds::max_pages(const WriteSet::Change& change, unsigned levels) const {
  std::uint64_t pages = pages_of_change(levels);
  if (!BTree::is_large(change.key, change.value)) return pages;
  const btree::LargeValue large(btree::extent_front(_pool), change.value.size(), 0);
  for (std::size_t n = 0; n < large.extents(); ++n) pages += std::uint64_t{1} << large.order(n);
  return pages;
}

std::uint64_t CommitNeeds::max_pages(const WriteSet::Change& change) const {
  return change.erased ? 0 : max_pages(change, levels_of(change));
}

CommitNeeds::Pages CommitNeeds::pages(const WriteSet& changes) const {
  Pages needed;
  unsigned max_levels = 0;
  for (std::size_t n = 0; n < changes.changes(); ++n) {
    const WriteSet::Change change = changes.change(n);
    if (change.erased) continue;
    const unsigned levels = levels_of(change);
    max_levels = std::max(max_levels, levels);
    needed.max += max_pages(change, levels);
    needed.large_values = needed.large_values || BTree::is_large(change.key, change.value);
  }
  needed.max = with_second_splits(needed.max, max_levels);
  return needed;
}

//! A value that is at most as long as the one that it replaces in the leaf needs nothing. No other
//! transaction can change that, because this one has locked the key.
std::uint64_t CommitNeeds::pages_to_replace(const WriteSet::Change& change,
                                            std::size_t old_bytes) const {
  const bool in_leaf =
      !btree::is_large(change.key.size(), old_bytes) && !BTree::is_large(change.key, change.value);
  return in_leaf && change.value.size() <= old_bytes ? 0 : max_pages(change);
}

}  // namespace vmcache

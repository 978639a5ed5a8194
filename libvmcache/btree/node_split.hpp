// SPDX-License-Identifier: MIT
#pragma once

#include "btree/node.hpp"

namespace vmcache::btree {

//! Where a full leaf is divided: slots from `index` on go right of `separator`.
struct SplitPoint {
  unsigned index = 0;
  KeyBuffer separator;
};

//! Shortest key that is greater than `left` and not greater than `right` (suffix truncation; Bayer and
//! Unterauer, "Prefix B-trees", TODS 1977).
void shortest_separator(Bytes left, Bytes right, KeyBuffer& separator) noexcept;

//! Chooses where to divide a leaf with at least one entry to make room for `key` (which is not that one
//! entry). Always possible: entries are smaller than half a page, and one with the longest fences fits.
void choose_leaf_split(Node leaf, Bytes key, SplitPoint& point) noexcept;
//! Divides `leaf` into itself and `right`, an empty page.
void split_leaf(Node leaf, Node right, const SplitPoint& point) noexcept;

//! Chooses the separator that split_inner() will move up.
void choose_inner_split(Node inner, Bytes key, SplitPoint& point) noexcept;
//! Divides `inner`, which has at least one separator; the one at point.index goes up to the parent.
void split_inner(Node inner, Node right, const SplitPoint& point) noexcept;

//! Puts all of `right` into `left`, its neighbour under a parent in which `separator` stands between them.
//! False, and nothing changed, if it would take more than kMergedBytesMax.
[[nodiscard]] bool merge_nodes(Node left, Node right, Bytes separator) noexcept;

}  // namespace vmcache::btree

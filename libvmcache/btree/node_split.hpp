// SPDX-License-Identifier: MIT
#pragma once

#include "btree/node.hpp"

namespace vmcache::btree {

//! Where a full node is divided: the slots from `index` on go to the right of `separator`.
struct SplitPoint {
  unsigned index = 0;
  KeyBuffer separator;
};

//! Sets `separator` to the shortest key that is greater than `left` and not greater than `right`
//! (suffix truncation; Bayer and Unterauer, "Prefix B-trees", TODS 1977).
void shortest_separator(Bytes left, Bytes right, KeyBuffer& separator) noexcept;

//! Chooses where to divide a leaf to make room for `key`. The leaf has at least one entry, and if
//! it has only one, that has another key. There is always such a point, because entries are smaller
//! than half a page and one entry fits beside the longest fences.
void choose_leaf_split(Node leaf, Bytes key, SplitPoint& point) noexcept;
//! Divides `leaf` into itself and `right`, an empty page.
void split_leaf(Node leaf, Node right, const SplitPoint& point) noexcept;

//! Chooses the separator that split_inner() will move up.
void choose_inner_split(Node inner, Bytes key, SplitPoint& point) noexcept;
//! Divides `inner`, which has at least one separator. The caller puts the one at point.index into
//! the parent.
void split_inner(Node inner, Node right, const SplitPoint& point) noexcept;

//! Moves all of `right` into `left`. The two are neighbours under one parent, in which `separator`
//! stands between them. Returns false and changes nothing if the result would take more than
//! kMergedBytesMax bytes.
[[nodiscard]] bool merge_nodes(Node left, Node right, Bytes separator) noexcept;

}  // namespace vmcache::btree

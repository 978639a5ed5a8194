// SPDX-License-Identifier: MIT
#include "btree/node_split.hpp"

#include <algorithm>
#include <array>
#include <cassert>

namespace vmcache::btree {

namespace {

//! A page of our own to build a node in.
class ScratchPage {
 public:
  ScratchPage() noexcept { std::memset(_bytes.data(), 0, kReservedBytes); }
  explicit ScratchPage(const Node& node) noexcept {
    std::memcpy(_bytes.data(), node.page(), kPageSize);
  }
  [[nodiscard]] Node node() noexcept { return Node{_bytes.data()}; }
  void copy_to(Node& node) const noexcept {
    NodeReader{_bytes.data()}.copy_page(const_cast<std::byte*>(node.page()));
  }

 private:
  alignas(64) std::array<std::byte, kPageSize> _bytes;  // NOLINT: filled before it is read
};

//! The slot of a leaf at which half of the bytes lie to the left; 1 .. count-1.
unsigned middle_by_bytes(const Node& node) noexcept {
  const NodeReader reader = node.read();
  const auto bytes = [&](unsigned i) {
    return sizeof(Slot) + reader.suffix(i).size() + reader.value(i).size;
  };
  std::size_t total = 0;
  for (unsigned i = 0; i < node.count(); ++i) total += bytes(i);
  std::size_t left = 0;
  unsigned index = 0;
  while (index < node.count() - 1 && left < total / 2) left += bytes(index++);
  return std::clamp(index, 1U, node.count() - 1);
}

void separator_before(const Node& leaf, unsigned index, KeyBuffer& separator) noexcept {
  KeyBuffer left;
  KeyBuffer right;
  leaf.key_at(index - 1, left);
  leaf.key_at(index, right);
  shortest_separator(left.key(), right.key(), separator);
}

//! Around the middle, where the separator is shortest.
void choose_shortest_near_middle(const Node& leaf, SplitPoint& point) noexcept {
  const unsigned middle = middle_by_bytes(leaf);
  const unsigned reach = leaf.count() / 16;
  separator_before(leaf, middle, point.separator);
  point.index = middle;
  KeyBuffer candidate;
  for (unsigned distance = 1; distance <= reach; ++distance) {
    for (const unsigned index : {middle - distance, middle + distance}) {
      if (index < 1 || index >= leaf.count()) continue;
      separator_before(leaf, index, candidate);
      if (candidate.key().size() >= point.separator.key().size()) continue;
      point.separator.assign(candidate.key());
      point.index = index;
    }
  }
}

//! Would a key at `index` be the greatest of the whole tree, or the smallest?
bool extends_tree(const Node& node, unsigned index) noexcept {
  const Fences fences = node.fences();
  return (index == node.count() && !fences.upper) || (index == 0 && fences.lower.empty());
}

}  // namespace

void shortest_separator(Bytes left, Bytes right, KeyBuffer& separator) noexcept {
  assert(compare_bytes(left, right) < 0);
  std::size_t size = 0;
  while (size < left.size() && size < right.size() && left[size] == right[size]) ++size;
  separator.assign(Bytes{right.data(), std::min(size + 1, right.size())});
}

void choose_leaf_split(Node leaf, Bytes key, SplitPoint& point) noexcept {
  assert(leaf.count() > 0 && "an empty leaf has room for every entry");
  // If keys are inserted in order at one end of the tree, leaves should become full, so the new key
  // gets a leaf of its own. With one entry there is no other choice.
  const auto [index, found] = leaf.read().lower_bound(key);
  if ((!found && extends_tree(leaf, index)) || leaf.count() == 1) {
    KeyBuffer neighbour;
    leaf.key_at(index == 0 ? 0 : index - 1, neighbour);
    point.index = index;
    if (index == 0) {
      shortest_separator(key, neighbour.key(), point.separator);
    } else {
      shortest_separator(neighbour.key(), key, point.separator);
    }
    // The half with the entries now has a fence where there was none.
    const std::size_t bytes = leaf.read().used_bytes() + point.separator.key().size();
    if (leaf.count() == 1 || bytes <= kNodeCapacity) return;
  }
  choose_shortest_near_middle(leaf, point);
}

void split_leaf(Node leaf, Node right, const SplitPoint& point) noexcept {
  ScratchPage old{leaf};
  Node source = old.node();
  const Fences fences = source.fences();
  right.init(0, {point.separator.key(), fences.upper});
  leaf.init(0, {fences.lower, point.separator.key()});
  // Fits: a half that keeps an entry less loses more bytes than its new fence has.
  bool fits = right.append_from(source, point.index, source.count());
  fits = leaf.append_from(source, 0, point.index) && fits;
  assert(fits);
  (void)fits;
}

void choose_inner_split(Node inner, Bytes key, SplitPoint& point) noexcept {
  assert(inner.count() > 0);
  const unsigned index = inner.read().lower_bound(key).index;
  point.index = inner.count() / 2;
  if (extends_tree(inner, index)) point.index = index == 0 ? 0 : inner.count() - 1;
  inner.key_at(point.index, point.separator);
}

void split_inner(Node inner, Node right, const SplitPoint& point) noexcept {
  ScratchPage old{inner};
  Node source = old.node();
  const NodeReader reader = source.read();
  const Fences fences = source.fences();
  const unsigned level = source.level();
  right.init(level, {point.separator.key(), fences.upper});
  right.set_first_child(reader.child(point.index + 1));
  inner.init(level, {fences.lower, point.separator.key()});
  inner.set_first_child(reader.child(0));
  // Each half loses a cell that is not smaller than what its fences may grow by, so both fit.
  bool fits = right.append_from(source, point.index + 1, source.count());
  fits = inner.append_from(source, 0, point.index) && fits;
  assert(fits);
  (void)fits;
}

bool merge_nodes(Node left, Node right, Bytes separator) noexcept {
  assert(left.level() == right.level());
  ScratchPage scratch;
  Node merged = scratch.node();
  merged.init(left.level(), {left.fences().lower, right.fences().upper});
  if (!merged.append_from(left, 0, left.count())) return false;
  if (left.level() > 0) {
    merged.set_first_child(left.read().child(0));
    if (!merged.inner_has_room(separator.size())) return false;
    merged.insert_separator(merged.count(), separator, right.read().child(0));
  }
  if (!merged.append_from(right, 0, right.count())) return false;
  // Two nodes with nothing in them are one too many, however long their fences are.
  const bool empty = left.count() + right.count() == 0;
  if (!empty && merged.read().used_bytes() > kMergedBytesMax) return false;
  scratch.copy_to(left);
  return true;
}

}  // namespace vmcache::btree

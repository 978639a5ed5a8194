// SPDX-License-Identifier: MIT
#include <array>
#include <memory>
#include <optional>
#include <unordered_set>

#include "btree/node.hpp"
#include "vmcache/btree.hpp"

namespace vmcache {

namespace btree {

namespace {

//! Walks a tree that stands still, one private copy of a node a level.
class Verifier {
 public:
  explicit Verifier(BufferPool& pool) noexcept : _pool(pool) {}

  void walk(PageId page_id, std::optional<unsigned> level, const Fences& expected) {
    auto page = std::make_unique<std::array<std::byte, kPageSize>>();
    claim({page_id, 0});
    {
      const SharedGuard guard = _pool.fix_shared(page_id);
      NodeReader{guard.data()}.copy_page(page->data());
    }
    const Node node{page->data()};
    if (!node.read().is_node()) throw_corrupt(page_id, "not a node");
    if (node.level() > kMaxLevels || (level && node.level() != *level)) {
      throw_corrupt(page_id, "not at the level its parent is above");
    }
    check_layout(page_id, node);
    check_fences(page_id, node, expected);
    check_order(page_id, node);
    if (!level) _shape.levels = node.level() + 1;
    node.level() == 0 ? visit_leaf(page_id, node) : visit_inner(page_id, node);
  }

  [[nodiscard]] const BTreeShape& shape() const noexcept { return _shape; }

 private:
  void claim(Extent extent) {
    for (PageId page_id = extent.page_id; page_id < extent.page_id + extent.pages(); ++page_id) {
      if (!_pool.contains(page_id)) throw_corrupt(page_id, "a page outside the database is part of the tree");
      if (!_claimed.insert(page_id).second) throw_corrupt(page_id, "a page is part of the tree twice");
    }
  }

  //! Cells and fences lie behind the slots, do not overlap, and add up to what the header says.
  static void check_layout(PageId page_id, const Node& node) {
    const NodeReader reader = node.read();
    const std::size_t slots_end = kSlotsAt + reader.count() * reader.slot_bytes();
    std::array<bool, kPageSize> taken{};
    std::size_t used = 0;
    const auto take = [&](std::size_t offset, std::size_t size) {
      if (offset < slots_end || offset + size > kPageSize) throw_corrupt(page_id, "a cell lies outside its page");
      for (std::size_t i = offset; i < offset + size; ++i) {
        if (std::exchange(taken[i], true)) throw_corrupt(page_id, "two cells overlap");
      }
      used += size;
    };
    const std::size_t lower = kPageSize - reader.lower_fence().size();
    take(lower, reader.lower_fence().size());
    take(lower - reader.upper_fence().size(), reader.upper_fence().size());
    for (unsigned i = 0; i < reader.count(); ++i) {
      const Slot slot = reader.slot_at(i);
      const std::size_t size = node.level() == 0
                                   ? kLeafCellOverhead + slot.suffix_len + reader.value(i).size
                                   : kInnerCellOverhead + slot.suffix_len;
      take(slot.offset, size);
      if (slot.head != NodeReader::head_of(reader.suffix(i))) throw_corrupt(page_id, "a head is not its key's");
    }
    if (used + reader.count() * reader.slot_bytes() != reader.used_bytes()) {
      throw_corrupt(page_id, "the bytes in use do not add up");
    }
  }

  static void check_fences(PageId page_id, const Node& node, const Fences& expected) {
    const Fences fences = node.fences();
    const bool lower_matches = compare_bytes(fences.lower, expected.lower) == 0;
    const bool upper_matches = fences.upper.has_value() == expected.upper.has_value() &&
                               (!fences.upper || compare_bytes(*fences.upper, *expected.upper) == 0);
    if (!lower_matches || !upper_matches) throw_corrupt(page_id, "fences are not the parent's separators");
  }

  //! Keys increase strictly, lie within the fences, and a search finds each where it is.
  static void check_order(PageId page_id, const Node& node) {
    const Fences fences = node.fences();
    KeyBuffer previous;
    KeyBuffer key;
    for (unsigned i = 0; i < node.count(); ++i) {
      node.key_at(i, key);
      if (i > 0 && compare_bytes(previous.key(), key.key()) >= 0) throw_corrupt(page_id, "keys out of order");
      if (compare_bytes(key.key(), fences.lower) < 0 ||
          (fences.upper && compare_bytes(key.key(), *fences.upper) >= 0)) {
        throw_corrupt(page_id, "a key lies outside the fences");
      }
      const NodeReader::Position position = node.read().lower_bound(key.key());
      if (!position.found || position.index != i) throw_corrupt(page_id, "a key is not found by search");
      previous.assign(key.key());
    }
  }

  void visit_leaf(PageId page_id, const Node& node) {
    ++_shape.leaf_pages;
    _shape.entries += node.count();
    _shape.payload_bytes += node.read().payload_bytes();
    for (unsigned i = 0; i < node.count(); ++i) {
      const NodeReader::Value value = node.read().value(i);
      if (!value.large) continue;
      LargeValue large{extent_front(_pool)};
      if (!large.parse({value.data, value.size})) throw_corrupt(page_id, "a large value's descriptor is wrong");
      for (std::size_t n = 0; n < large.extents(); ++n) {
        claim(large.extent(n));
        _shape.large_pages += large.extent(n).pages();
      }
    }
  }

  void visit_inner(PageId page_id, const Node& node) {
    ++_shape.inner_pages;
    const Fences fences = node.fences();
    KeyBuffer lower;
    KeyBuffer upper;
    for (unsigned i = 0; i <= node.count(); ++i) {
      Fences child{fences.lower, fences.upper};
      if (i > 0) {
        node.key_at(i - 1, lower);
        child.lower = lower.key();
      }
      if (i < node.count()) {
        node.key_at(i, upper);
        child.upper = upper.key();
      }
      const PageId child_id = node.read().child(i);
      if (child_id == kNoPage) throw_corrupt(page_id, "a child is missing");
      walk(child_id, node.level() - 1, child);
    }
  }

  BufferPool& _pool;
  BTreeShape _shape;
  std::unordered_set<PageId> _claimed;
};

}  // namespace

}  // namespace btree

BTreeShape BTree::verify() const {
  btree::Verifier verifier{pool()};
  verifier.walk(root(), {}, {});
  BTreeShape shape = verifier.shape();
  shape.orphan_pages = _context.orphan_pages();
  return shape;
}

}  // namespace vmcache

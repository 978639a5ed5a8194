// SPDX-License-Identifier: MIT
#include "btree/tree_walk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "vmcache/detail/btree/large_value.hpp"

namespace vmcache::btree {
namespace {

//! Cells and fences lie behind the slots, do not overlap, and add up to what the header says.
std::string layout_fault(const Node& node) {
  const NodeReader reader = node.read();
  const std::size_t slots_end = kSlotsAt + reader.count() * reader.slot_bytes();
  std::array<bool, kPageSize> taken{};
  std::size_t used = 0;
  const auto take = [&](std::size_t offset, std::size_t size) -> std::string {
    if (offset < slots_end || offset + size > kPageSize) {
      return fmt::format("a cell of {} bytes at {} lies outside its page, whose slots end at {}",
                         size, offset, slots_end);
    }
    for (std::size_t i = offset; i < offset + size; ++i) {
      if (std::exchange(taken[i], true)) return fmt::format("two cells overlap at {}", i);
    }
    used += size;
    return {};
  };
  const std::size_t lower = kPageSize - reader.lower_fence().size();
  if (std::string fault = take(lower, reader.lower_fence().size()); !fault.empty()) return fault;
  const std::size_t upper_bytes = reader.upper_fence().size();
  if (std::string fault = take(lower - upper_bytes, upper_bytes); !fault.empty()) return fault;
  const std::size_t shared = reader.shared_len();
  for (unsigned i = 0; i < reader.count(); ++i) {
    const Slot slot = reader.slot_at(i);
    const std::size_t size = node.level() == 0
                                 ? kLeafCellOverhead + slot.suffix_len + reader.value(i).size
                                 : kInnerCellOverhead + slot.suffix_len;
    if (std::string fault = take(slot.offset, size); !fault.empty()) return fault;
    const Bytes suffix = reader.suffix(i);
    if (suffix.size() < shared ||
        compare_bytes(suffix.first(shared), reader.suffix(0).first(shared)) != 0) {
      return fmt::format("not all keys share the {} bytes that its heads leave out: slot {}",
                         shared, i);
    }
    if (const std::uint32_t head = NodeReader::head_of(suffix.after(shared)); slot.head != head) {
      return fmt::format("a head is not its key's: slot {} has {:#010x}, its key gives {:#010x}", i,
                         slot.head, head);
    }
  }
  if (const std::size_t sum = used + reader.count() * reader.slot_bytes();
      sum != reader.used_bytes()) {
    return fmt::format("the bytes in use do not add up: {} are, the header says {}", sum,
                       reader.used_bytes());
  }
  return {};
}

const NodeHeader& header_of(const Node& node) noexcept {
  return *reinterpret_cast<const NodeHeader*>(node.page() + kHeaderAt);
}

//! What searches and inserts believe without looking at the cells.
std::string header_fault(const Node& node) {
  const NodeHeader& header = header_of(node);
  const Fences fences = node.fences();
  std::size_t common = 0;
  if (fences.upper) {
    const std::size_t max = std::min(fences.lower.size(), fences.upper->size());
    while (common < max && fences.lower[common] == (*fences.upper)[common]) ++common;
  }
  if (header.count != node.count())
    return fmt::format("{} slots do not fit into a page", header.count);
  if (header.prefix_len != common) {
    return fmt::format("the keys' prefix has {} bytes, but {} are common to the fences",
                       header.prefix_len, common);
  }
  std::size_t lowest = kPageSize - fences.lower.size() - (fences.upper ? fences.upper->size() : 0);
  for (unsigned i = 0; i < node.count(); ++i)
    lowest = std::min<std::size_t>(lowest, node.read().slot_at(i).offset);
  const std::size_t slots_end = kSlotsAt + node.count() * node.read().slot_bytes();
  if (header.heap_begin > lowest || header.heap_begin < slots_end) {
    return fmt::format("its heap begins at {}; slots end at {}, the lowest cell begins at {}",
                       header.heap_begin, slots_end, lowest);
  }
  if (node.count() <= kHints) return {};
  const unsigned distance = node.count() / unsigned(kHints + 1);
  for (unsigned i = 0; i < kHints; ++i) {
    if (header.hints[i] != node.read().slot_at((i + 1) * distance).head)
      return fmt::format("hint {} is wrong", i);
  }
  return {};
}

std::string fence_fault(const Node& node, const Fences& expected) {
  const Fences fences = node.fences();
  const bool lower_matches = compare_bytes(fences.lower, expected.lower) == 0;
  const bool upper_matches = fences.upper.has_value() == expected.upper.has_value() &&
                             (!fences.upper || compare_bytes(*fences.upper, *expected.upper) == 0);
  if (lower_matches && upper_matches) return {};
  return fmt::format("fences are not the parent's separators: the {} one differs",
                     lower_matches ? "upper" : "lower");
}

//! Keys increase strictly, lie within the fences, and a search finds each where it is.
std::string order_fault(const Node& node) {
  const Fences fences = node.fences();
  KeyBuffer previous;
  KeyBuffer key;
  for (unsigned i = 0; i < node.count(); ++i) {
    node.key_at(i, key);
    if (i > 0 && compare_bytes(previous.key(), key.key()) >= 0)
      return fmt::format("keys out of order at slot {}", i);
    if (compare_bytes(key.key(), fences.lower) < 0 ||
        (fences.upper && compare_bytes(key.key(), *fences.upper) >= 0)) {
      return fmt::format("the key at slot {} lies outside the fences", i);
    }
    const NodeReader::Position position = node.read().lower_bound(key.key());
    if (!position.found || position.index != i)
      return fmt::format("the key at slot {} is not found by search", i);
    previous.assign(key.key());
  }
  return {};
}

}  // namespace

std::string fault_of(const Node& node, std::optional<unsigned> level, const Fences& expected) {
  if (!node.read().is_node()) return "not a node of a B+tree";
  if (node.level() > kMaxLevels || (level && node.level() != *level)) {
    return fmt::format("at level {}; {} {}", node.level(),
                       level ? "its parent is above level" : "there are at most",
                       level.value_or(kMaxLevels));
  }
  if (std::string fault = layout_fault(node); !fault.empty()) return fault;
  if (std::string fault = header_fault(node); !fault.empty()) return fault;
  if (std::string fault = fence_fault(node, expected); !fault.empty()) return fault;
  return order_fault(node);
}

void TreeWalk::walk(PageId page_id, PageId parent, std::optional<unsigned> level,
                    const Fences& expected) {
  if (!_source.claim({page_id, 0}, parent)) return;
  const auto page = std::make_unique<std::array<std::byte, kPageSize>>();
  if (!_source.read(page_id, page->data())) return;
  const Node node{page->data()};
  if (const std::string fault = fault_of(node, level, expected); !fault.empty())
    return _source.fault(page_id, node, fault);
  _source.visit(node);
  node.level() == 0 ? walk_values(page_id, node) : walk_children(page_id, node);
}

void TreeWalk::walk_values(PageId page_id, const Node& node) {
  for (unsigned i = 0; i < node.count(); ++i) {
    const NodeReader::Value value = node.read().value(i);
    if (!value.large) continue;
    LargeValue large{_front};
    if (!large.parse({value.data, value.size})) {
      _source.fault(page_id, node,
                    fmt::format("the descriptor of the large value at slot {} is wrong", i));
      continue;
    }
    for (std::size_t n = 0; n < large.extents(); ++n) {
      if (_source.claim(large.extent(n), page_id)) _source.visit_large(large.extent(n));
    }
  }
}

void TreeWalk::walk_children(PageId page_id, const Node& node) {
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
    if (child_id == kNoPage) {
      _source.fault(page_id, node, fmt::format("child {} is missing", i));
      continue;
    }
    walk(child_id, page_id, node.level() - 1, child);
  }
}

}  // namespace vmcache::btree

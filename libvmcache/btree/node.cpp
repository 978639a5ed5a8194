// SPDX-License-Identifier: MIT
#include "btree/node.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <limits>

namespace vmcache::btree {

namespace {

std::size_t common_prefix(Bytes a, Bytes b) noexcept {
  const std::size_t size = std::min(a.size(), b.size());
  std::size_t i = 0;
  while (i < size && a[i] == b[i]) ++i;
  return i;
}

std::uint16_t u16(std::size_t value) noexcept {
  assert(value <= 0xffff);
  return static_cast<std::uint16_t>(value);
}

}  // namespace

void Node::init(unsigned level, const Fences& fences) noexcept {
  NodeHeader& node = header();
  node = {};
  node.magic = kNodeMagic;
  node.level = static_cast<std::uint8_t>(level);
  node.lower_len = u16(fences.lower.size());
  node.upper_len = fences.upper ? u16(fences.upper->size()) : kNoUpperFence;
  std::size_t heap = kPageSize - fences.lower.size();
  NodeReader::copy(_page + heap, fences.lower.data(), fences.lower.size());
  if (fences.upper) {
    heap -= fences.upper->size();
    NodeReader::copy(_page + heap, fences.upper->data(), fences.upper->size());
    node.prefix_len = u16(common_prefix(fences.lower, *fences.upper));
  }
  node.heap_begin = u16(heap);
  node.heap_used = u16(kPageSize - heap);
}

Fences Node::fences() const noexcept {
  const NodeReader reader = read();
  Fences fences{reader.lower_fence(), {}};
  if (reader.has_upper_fence()) fences.upper = reader.upper_fence();
  return fences;
}

bool Node::leaf_has_room(std::size_t key_len, std::size_t value_len) const noexcept {
  assert(level() == 0 && key_len >= header().prefix_len);
  return has_room(kLeafCellOverhead + key_len - header().prefix_len + value_len, 1);
}

bool Node::inner_has_room(std::size_t key_len) const noexcept {
  assert(level() > 0 && key_len >= header().prefix_len);
  return has_room(kInnerCellOverhead + key_len - header().prefix_len, 1);
}

std::size_t Node::cell_size(unsigned index) const noexcept {
  const std::size_t suffix_len = slot(index).suffix_len;
  if (level() > 0) return kInnerCellOverhead + suffix_len;
  return kLeafCellOverhead + suffix_len + read().value(index).size;
}

std::uint16_t Node::take(std::size_t bytes, std::size_t slots_more) noexcept {
  NodeHeader& node = header();
  const std::size_t slots_end = kSlotsAt + (node.count + slots_more) * slot_bytes();
  if (slots_end + bytes > node.heap_begin) compact();
  assert(slots_end + bytes <= node.heap_begin && "no room: the caller must have asked");
  node.heap_begin = u16(node.heap_begin - bytes);
  node.heap_used = u16(node.heap_used + bytes);
  return node.heap_begin;
}

void Node::put_leaf_cell(std::uint16_t offset, Bytes suffix, Bytes value, bool large) noexcept {
  const std::uint16_t length = u16(value.size() | (large ? kLargeFlag : 0));
  std::byte* cell = _page + offset;
  std::memcpy(cell, &length, sizeof length);
  NodeReader::copy(cell + sizeof length, suffix.data(), suffix.size());
  NodeReader::copy(cell + sizeof length + suffix.size(), value.data(), value.size());
}

void Node::open_slot(unsigned index, std::uint16_t offset, Bytes suffix) noexcept {
  assert(index <= count());
  std::memmove(slot_address(index + 1), slot_address(index), (count() - index) * slot_bytes());
  slot(index) = {NodeReader::head_of(suffix.after(header().shared_len)), offset,
                 u16(suffix.size())};
  header().count = u16(header().count + 1U);
  if (index == 0 || index + 1 == count()) update_shared();
}

//! The keys are in order, so what the first and the last begin with, all do. After an erase they
//! may have more in common.
void Node::update_shared() noexcept {
  const NodeReader reader = read();
  const std::size_t common =
      count() > 1 ? common_prefix(reader.suffix(0), reader.suffix(count() - 1)) : 0;
  constexpr std::size_t kMax = std::numeric_limits<std::uint8_t>::max();
  const std::size_t shared = common < sizeof(Slot::head) ? 0 : std::min(common, kMax);
  if (shared == header().shared_len) return;
  header().shared_len = static_cast<std::uint8_t>(shared);
  for (unsigned i = 0; i < count(); ++i)
    slot(i).head = NodeReader::head_of(reader.suffix(i).after(shared));
}

void Node::insert_leaf(unsigned index, Bytes key, Bytes value, bool large) noexcept {
  assert(leaf_has_room(key.size(), value.size()));
  const Bytes suffix = key.after(header().prefix_len);
  const std::uint16_t offset = take(kLeafCellOverhead + suffix.size() + value.size(), 1);
  put_leaf_cell(offset, suffix, value, large);
  open_slot(index, offset, suffix);
  update_hints();
}

void Node::insert_separator(unsigned index, Bytes key, PageId right_child) noexcept {
  assert(inner_has_room(key.size()));
  const Bytes suffix = key.after(header().prefix_len);
  const std::uint16_t offset = take(kInnerCellOverhead + suffix.size(), 1);
  NodeReader::copy(_page + offset, suffix.data(), suffix.size());
  open_slot(index, offset, suffix);
  reinterpret_cast<InnerSlot&>(slot(index)).child = right_child;
  update_hints();
}

bool Node::can_replace(unsigned index, std::size_t value_len) const noexcept {
  const std::size_t old_len = read().value(index).size;
  return value_len <= old_len || has_room(value_len - old_len, 0);
}

void Node::replace_value(unsigned index, Bytes key, Bytes value, bool large) noexcept {
  assert(can_replace(index, value.size()));
  if (read().value(index).size == value.size()) {
    put_leaf_cell(slot(index).offset, key.after(header().prefix_len), value, large);
    return;
  }
  erase(index);
  insert_leaf(index, key, value, large);
}

void Node::erase(unsigned index) noexcept {
  assert(index < count());
  const std::size_t bytes = cell_size(index);
  if (slot(index).offset == header().heap_begin)
    header().heap_begin = u16(header().heap_begin + bytes);
  header().heap_used = u16(header().heap_used - bytes);
  std::memmove(slot_address(index), slot_address(index + 1), (count() - index - 1) * slot_bytes());
  header().count = u16(header().count - 1U);
  update_hints();
}

bool Node::append_from(const Node& source, unsigned from, unsigned to) noexcept {
  assert(level() == source.level() && source.page() != page());
  const NodeReader reader = source.read();
  KeyBuffer key;
  for (unsigned i = from; i < to; ++i) {
    source.key_at(i, key);
    if (level() > 0) {
      if (!inner_has_room(key.key().size())) return false;
      insert_separator(count(), key.key(), reader.child(i + 1));
    } else {
      const NodeReader::Value value = reader.value(i);
      if (!leaf_has_room(key.key().size(), value.size)) return false;
      insert_leaf(count(), key.key(), {value.data, value.size}, value.large);
    }
  }
  return true;
}

void Node::compact() noexcept {
  std::array<std::byte, kPageSize> old;  // NOLINT: filled by the copy
  std::memcpy(old.data(), _page, kPageSize);
  const Node source{old.data()};
  NodeHeader& node = header();
  std::size_t heap =
      kPageSize - source.read().lower_fence().size() - source.read().upper_fence().size();
  for (unsigned i = 0; i < node.count; ++i) {
    const std::size_t bytes = source.cell_size(i);
    heap -= bytes;
    std::memcpy(_page + heap, old.data() + slot(i).offset, bytes);
    slot(i).offset = u16(heap);
  }
  node.heap_begin = u16(heap);
  assert(node.heap_used == kPageSize - heap);
}

void Node::update_hints() noexcept {
  NodeHeader& node = header();
  if (node.count <= kHints) return;
  const unsigned distance = node.count / unsigned(kHints + 1);
  for (unsigned i = 0; i < kHints; ++i) node.hints[i] = slot((i + 1) * distance).head;
}

}  // namespace vmcache::btree

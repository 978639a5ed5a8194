// SPDX-License-Identifier: MIT
#include "vmcache/detail/btree/write_operations.hpp"

#include <fmt/format.h>

#include <utility>

#include "btree/node.hpp"

namespace vmcache::btree {

namespace {

void check_key(Bytes key) {
  if (key.size() > kMaxKey) {
    throw Error(Errc::kTooLarge, fmt::format("B+tree: a key of {} bytes; at most {} are allowed",
                                             key.size(), kMaxKey));
  }
}

void check_value(std::uint64_t size) {
  if (size > kMaxValue) {
    throw Error(Errc::kTooLarge, fmt::format("B+tree: a value of {} bytes; at most {} are allowed",
                                             size, kMaxValue));
  }
}

//! Puts the part of `value` that belongs to the next extent into it.
void fill_next(TreeContext& tree, LargeValue& large, Bytes value, const ExclusiveGuard& fresh) {
  const std::size_t n = large.placed();
  NodeReader::copy(fresh.data() + large.front(), value.data() + large.offset(n), large.bytes(n));
  tree.value_written(fresh);
  large.place(fresh.page_id());
}

void append_old_extents(const BufferPool& pool, const NodeReader::Value& value, PageId leaf,
                        std::vector<Extent>& extents) {
  if (!value.large) return;
  LargeValue old{extent_front(pool)};
  if (!old.parse({value.data, value.size}))
    throw_corrupt(leaf, "a large value's descriptor makes no sense");
  old.append_extents(extents);
}

}  // namespace

PlacedValue::PlacedValue(TreeContext& tree, std::uint64_t size) : _tree(tree) {
  tree.require_writable();
  check_value(size);
  _value.emplace(extent_front(tree.pool()), size, tree.next_stamp());
  _value->reserve();
}

PlacedValue::~PlacedValue() {
  if (!_value) return;
  for (std::size_t n = 0; n < _value->placed(); ++n) _tree.give_back(_value->extent(n));
}

PlaceOp::PlaceOp(TreeContext& tree, Bytes value)
    : _tree(tree), _value(value), _placed(tree, value.size()) {}

Need PlaceOp::step(BufferPool& /*pool*/) {
  const LargeValue& large = _placed.value();
  if (large.placed() == large.extents()) return Need::nothing();
  return Need::new_extent(large.order(large.placed()));
}

void PlaceOp::supply(ExclusiveGuard&& fresh) {
  const ExclusiveGuard guard = std::move(fresh);
  fill_next(_tree, _placed.value(), _value, guard);
}

WriteOp::WriteOp(TreeContext& tree, Mode mode, Bytes key, PlacedValue&& value)
    : Restructurer(tree, key), _mode(mode) {
  check_key(key);
  _garbage.reserve(value.value().extents());
  _large.emplace(value.take());
}

WriteOp::WriteOp(TreeContext& tree, Mode mode, Bytes key, Bytes value)
    : Restructurer(tree, key), _mode(mode), _value(value) {
  check_key(key);
  check_value(value.size());
  if (is_large(key.size(), value.size())) {
    _large.emplace(extent_front(tree.pool()), value.size(), tree.next_stamp());
    // What has been placed must be kept, or given back, without asking for memory.
    _large->reserve();
    _garbage.reserve(_large->extents());
  }
}

WriteOp::WriteOp(TreeContext& tree, Bytes key, LargeValue&& written)
    : Restructurer(tree, key), _mode(Mode::kUpsert), _large(std::move(written)) {
  check_key(key);
  _garbage.reserve(_large->extents());
}

WriteOp::~WriteOp() {
  if (!_ended && _large) _large->append_extents(_garbage);
}

void WriteOp::supply(ExclusiveGuard&& fresh) {
  if (!_large || _large->placed() == _large->extents()) {
    _fresh = std::move(fresh);
    return;
  }
  const ExclusiveGuard guard = std::move(fresh);
  fill_next(_tree, *_large, _value, guard);
}

Need WriteOp::step(BufferPool& pool) {
  if (!_ended) {
    if (const Need need = write(); !need.done()) return need;
  }
  return clean_up(pool);
}

Need WriteOp::write() {
  while (!_ended) {
    Spot spot;
    if (const Need need = descend(_tree, TowardsChange{{_key}}, 0, spot); !need.done()) return need;
    bool full = false;
    if (const Need need = write_leaf(spot, full); !need.done()) return need;
    if (!full) continue;
    if (!_tree.structure().may_split) {
      _no_room = true;
      finish(false);
      return Need::nothing();
    }
    if (const Need need = split(0); !need.done()) return need;
  }
  return Need::nothing();
}

//! Writes into the leaf, or finds that there is nothing to write, or that the leaf is `full`.
Need WriteOp::write_leaf(const Spot& spot, bool& full) {
  const NodeReader::Position position = NodeReader{spot.node.data()}.lower_bound(_key);
  if (_mode == (position.found ? Mode::kInsert : Mode::kReplace)) {
    if (!spot.node.validate()) return Need::latch();
    _existed = position.found;
    finish(false);
    return Need::nothing();
  }
  if (_large && _large->placed() < _large->extents()) {
    if (!spot.node.validate()) return Need::latch();
    return Need::new_extent(_large->order(_large->placed()));
  }
  if (_large && _descriptor.empty()) _descriptor = _large->descriptor();
  const Bytes value = _large ? Bytes{_descriptor.data(), _descriptor.size()} : _value;

  ExclusiveGuard guard;
  if (!spot.node.try_upgrade(guard)) return Need::latch();
  Node leaf{guard.data()};
  full = position.found ? !leaf.can_replace(position.index, value.size())
                        : !leaf.leaf_has_room(_key.size(), value.size());
  if (full) {
    guard.release_unmodified();
    return Need::nothing();
  }
  std::vector<Extent> old;
  if (position.found)
    append_old_extents(_tree.pool(), leaf.read().value(position.index), guard.page_id(), old);
  std::vector<Extent> placed;
  if (_large) _large->append_extents(placed);
  _garbage.insert(_garbage.end(), old.begin(), old.end());
  _tree.pages_will_change({&guard});
  if (position.found) {
    leaf.replace_value(position.index, _key, value, _large.has_value());
  } else {
    leaf.insert_leaf(position.index, _key, value, _large.has_value());
  }
  _tree.value_changed(guard, placed, old);
  _existed = position.found;
  finish(true);
  return Need::nothing();
}

void WriteOp::finish(bool written) noexcept {
  if (!written && _large) _large->append_extents(_garbage);
  _committed = true;
  _ended = true;
}

Need UpdateOp::step(BufferPool& pool) {
  Spot spot;
  if (const Need need = descend(_tree, TowardsChange{{_key}}, 0, spot); !need.done()) return need;
  const NodeReader leaf{spot.node.data()};
  const NodeReader::Position position = leaf.lower_bound(_key);
  if (!position.found) return spot.node.validate() ? Need::nothing() : Need::latch();
  if (leaf.value(position.index).large) return update_large(pool, spot);
  ExclusiveGuard guard;
  if (!spot.node.try_upgrade(guard)) return Need::latch();
  const Node node{guard.data()};
  _tree.pages_will_change({&guard});
  _change({node.value_bytes(position.index), node.read().value(position.index).size});
  _tree.page_changed(guard);
  _found = true;
  return Need::nothing();
}

//! The leaf is latched shared, so that the value stays; the bytes change under the extent's latch.
Need UpdateOp::update_large(BufferPool& pool, const Spot& spot) {
  SharedGuard leaf_guard;
  if (!spot.node.try_upgrade(leaf_guard)) return Need::latch();
  const NodeReader leaf{leaf_guard.data()};
  const NodeReader::Value bytes = leaf.value(leaf.lower_bound(_key).index);
  LargeValue value{extent_front(pool)};
  if (!value.parse({bytes.data, bytes.size})) {
    throw_corrupt(leaf_guard.page_id(), "a large value's descriptor makes no sense");
  }
  if (value.extents() > 1) {
    throw Error(
        Errc::kTooLarge,
        fmt::format(
            "B+tree: update in place of a value of {} bytes; at most {} are allowed, replace() "
            "takes any",
            value.size(), (kPageSize << kMaxOrder) - value.front()));
  }
  const Extent extent = value.extent(0);
  ExclusiveGuard guard;
  if (const TryFix result = pool.try_fix(extent.page_id, guard); result != TryFix::kFixed) {
    return Need::after(result, extent.page_id, extent.order);
  }
  _change({guard.data() + value.front(), value.bytes(0)});
  _found = true;
  return Need::nothing();
}

Need EraseOp::step(BufferPool& pool) {
  while (!_ended) {
    if (const Need need = erase(); !need.done()) return need;
  }
  if (_underfull) {
    if (const Need need = merge(); !need.done()) return need;
    _underfull = false;
  }
  return clean_up(pool);
}

Need EraseOp::erase() {
  Spot spot;
  if (const Need need = descend(_tree, TowardsChange{{_key}}, 0, spot); !need.done()) return need;
  const NodeReader::Position position = NodeReader{spot.node.data()}.lower_bound(_key);
  if (!position.found) {
    if (!spot.node.validate()) return Need::latch();
    _ended = true;
    return Need::nothing();
  }
  ExclusiveGuard guard;
  if (!spot.node.try_upgrade(guard)) return Need::latch();
  Node leaf{guard.data()};
  append_old_extents(_tree.pool(), leaf.read().value(position.index), guard.page_id(), _garbage);
  _tree.pages_will_change({&guard});
  leaf.erase(position.index);
  _tree.value_changed(guard, {}, _garbage);
  _underfull =
      spot.parent && leaf.read().payload_bytes() < kUnderfullBytes && _tree.structure().may_merge;
  _found = true;
  _committed = true;
  _ended = true;
  return Need::nothing();
}

}  // namespace vmcache::btree

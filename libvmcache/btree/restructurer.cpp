// SPDX-License-Identifier: MIT
#include <new>
#include <utility>

#include "btree/node.hpp"
#include "btree/node_split.hpp"
#include "vmcache/detail/btree/write_operations.hpp"

namespace vmcache::btree {

namespace {

//! How often a merge lets others go first before it is left to the next erase.
constexpr unsigned kMergeTriesMax = 1000;

using Kind = PageChange::Kind;

}  // namespace

Restructurer::~Restructurer() {
  end_split();
  if (!_garbage.empty()) _tree.leave_orphans(std::move(_garbage));
}

void Restructurer::end_split() noexcept {
  if (_fresh) _tree.pool().free(std::move(_fresh));
  if (std::exchange(_may_split, false)) _tree.leave_split();
}

Need Restructurer::clean_up(BufferPool& pool) {
  end_split();
  if (_committed && _tree.has_orphans()) {
    std::vector<Extent> orphans = _tree.take_orphans();
    if (_garbage.empty()) _garbage.swap(orphans);
    try {
      _garbage.insert(_garbage.end(), orphans.begin(), orphans.end());
    } catch (const std::bad_alloc&) {
      _tree.leave_orphans(std::move(orphans));
    }
  }
  while (!_garbage.empty()) {
    if (!pool.try_free(_garbage.back())) return Need::latch(_garbage.back().page_id);
    _garbage.pop_back();
  }
  return Need::nothing();
}

Need Restructurer::split(unsigned level) {
  if (!_may_split && !(_may_split = _tree.try_enter_split())) return Need::latch();
  for (;; ++level) {
    if (!_fresh) return Need::new_extent(0);
    Spot spot;
    if (const Need need = descend(_tree, TowardsKey{_key}, level, spot); !need.done()) return need;
    if (!spot.node) return Need::nothing();  // the tree has become lower: begin again
    if (!spot.parent) return grow_root(spot);
    ExclusiveGuard parent_guard;
    ExclusiveGuard guard;
    if (!spot.parent.try_upgrade(parent_guard)) return Need::latch();
    if (!spot.node.try_upgrade(guard)) {
      parent_guard.release_unmodified();
      return Need::latch();
    }
    Node parent{parent_guard.data()};
    Node node{guard.data()};
    // The node may have changed since it was found full: then there is nothing to divide, or
    // nothing to do.
    const bool has_key = level == 0 && node.count() == 1 && node.read().lower_bound(_key).found;
    const bool divisible = node.count() > 0 && !has_key;
    SplitPoint point;
    if (divisible) {
      level == 0 ? choose_leaf_split(node, _key, point) : choose_inner_split(node, _key, point);
    }
    if (!divisible || !parent.inner_has_room(point.separator.key().size())) {
      guard.release_unmodified();
      parent_guard.release_unmodified();
      if (!divisible) return Need::nothing();
      continue;  // the parent first
    }
    _tree.pages_will_change({&parent_guard, &guard});
    const Node right{_fresh.data()};
    level == 0 ? split_leaf(node, right, point) : split_inner(node, right, point);
    const unsigned index = parent.read().lower_bound(point.separator.key()).index;
    parent.insert_separator(index, point.separator.key(), _fresh.page_id());
    _tree.structure_changed({{parent_guard.page_id(), Kind::kChanged},
                             {guard.page_id(), Kind::kChanged},
                             {_fresh.page_id(), Kind::kAllocated}});
    _fresh.release();
    return Need::nothing();
  }
}

//! The root keeps its id: its content moves to a new page, below it.
Need Restructurer::grow_root(const Spot& spot) {
  ExclusiveGuard guard;
  if (!spot.node.try_upgrade(guard)) return Need::latch();
  _tree.pages_will_change({&guard});
  Node root{guard.data()};
  root.read().copy_page(_fresh.data());
  root.init(root.level() + 1, {});
  root.set_first_child(_fresh.page_id());
  _tree.note_levels(root.level() + 1);
  _tree.structure_changed(
      {{guard.page_id(), Kind::kChanged}, {_fresh.page_id(), Kind::kAllocated}});
  _fresh.release();
  return Need::nothing();
}

Need Restructurer::merge() {
  unsigned level = 0;
  while (level <= _merge_reach) {
    Need need;
    switch (merge_at(level, need)) {
      case Merged::kYes:
        _merge_reach = level + 1 > _merge_reach ? level + 1 : _merge_reach;
        level = 0;
        break;
      case Merged::kNoSibling:
        _merge_reach = level + 1 > _merge_reach ? level + 1 : _merge_reach;
        ++level;
        break;
      case Merged::kNo:
        ++level;
        break;
      case Merged::kNeed:
        if (need.kind == Need::Kind::kLatch && ++_merge_tries > kMergeTriesMax)
          return Need::nothing();
        return need;
    }
  }
  return Need::nothing();
}

Restructurer::Merged Restructurer::merge_at(unsigned level, Need& need) {
  Spot spot;
  need = descend(_tree, TowardsKey{_key}, level, spot);
  if (!need.done()) return Merged::kNeed;
  if (!spot.node) return Merged::kNo;
  if (!spot.parent) return level == 0 ? Merged::kNo : shrink_root(spot, need);
  const std::size_t payload = NodeReader{spot.node.data()}.payload_bytes();
  if (payload >= kUnderfullBytes) return Merged::kNo;

  const NodeReader parent{spot.parent.data()};
  const NodeReader::Position position = parent.lower_bound(_key);
  const unsigned index = position.index + unsigned(position.found);
  const unsigned last = parent.count();
  bool alone = true;
  for (const bool to_the_right : {true, false}) {
    if (to_the_right ? index >= last : index == 0) continue;
    alone = false;
    const PageId sibling_id = parent.child(to_the_right ? index + 1 : index - 1);
    OptimisticGuard sibling;
    const TryFix result = _tree.pool().try_fix(sibling_id, sibling);
    if (!spot.parent.validate()) {
      need = Need::latch();
      return Merged::kNeed;
    }
    if (result != TryFix::kFixed) {
      need = Need::after(result, sibling_id);
      return Merged::kNeed;
    }
    if (payload + NodeReader{sibling.data()}.payload_bytes() > kMergedBytesMax) continue;
    const Merged merged = to_the_right ? merge_siblings(spot, index, spot.node, sibling, need)
                                       : merge_siblings(spot, index - 1, sibling, spot.node, need);
    if (merged != Merged::kNo) return merged;
  }
  return alone ? Merged::kNoSibling : Merged::kNo;
}

//! Children `left_index` and the one right of it become one.
Restructurer::Merged Restructurer::merge_siblings(const Spot& spot, unsigned left_index,
                                                  const OptimisticGuard& left,
                                                  const OptimisticGuard& right, Need& need) {
  ExclusiveGuard parent_guard;
  ExclusiveGuard left_guard;
  ExclusiveGuard right_guard;
  if (!spot.parent.try_upgrade(parent_guard) || !left.try_upgrade(left_guard) ||
      !right.try_upgrade(right_guard)) {
    left_guard.release_unmodified();
    parent_guard.release_unmodified();
    need = Need::latch();
    return Merged::kNeed;
  }
  if (_tree.pool().pinned(right_guard.page_id())) {  // it could not be freed
    right_guard.release_unmodified();
    left_guard.release_unmodified();
    parent_guard.release_unmodified();
    return Merged::kNo;
  }
  _tree.pages_will_change({&parent_guard, &left_guard, &right_guard});
  Node parent{parent_guard.data()};
  KeyBuffer separator;
  parent.key_at(left_index, separator);
  if (!merge_nodes(Node{left_guard.data()}, Node{right_guard.data()}, separator.key())) {
    right_guard.release_unmodified();
    left_guard.release_unmodified();
    parent_guard.release_unmodified();
    return Merged::kNo;
  }
  parent.erase(left_index);
  _tree.structure_changed({{parent_guard.page_id(), Kind::kChanged},
                           {left_guard.page_id(), Kind::kChanged},
                           {right_guard.page_id(), Kind::kFreed}});
  _tree.pool().free(std::move(right_guard));
  return Merged::kYes;
}

//! A root with one child takes its content.
Restructurer::Merged Restructurer::shrink_root(const Spot& spot, Need& need) {
  const NodeReader reader{spot.node.data()};
  if (reader.count() > 0) return Merged::kNo;
  const PageId child_id = reader.child(0);
  ExclusiveGuard root_guard;
  need = Need::latch();
  if (!spot.node.try_upgrade(root_guard)) return Merged::kNeed;
  ExclusiveGuard child_guard;
  if (const TryFix result = _tree.pool().try_fix(child_id, child_guard); result != TryFix::kFixed) {
    root_guard.release_unmodified();
    need = Need::after(result, child_id);
    return Merged::kNeed;
  }
  if (_tree.pool().pinned(child_id)) {  // it could not be freed
    child_guard.release_unmodified();
    root_guard.release_unmodified();
    return Merged::kNo;
  }
  _tree.pages_will_change({&root_guard, &child_guard});
  NodeReader{child_guard.data()}.copy_page(root_guard.data());
  _tree.structure_changed(
      {{root_guard.page_id(), Kind::kChanged}, {child_guard.page_id(), Kind::kFreed}});
  _tree.pool().free(std::move(child_guard));
  return Merged::kYes;
}

}  // namespace vmcache::btree

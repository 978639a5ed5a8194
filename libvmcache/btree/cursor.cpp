// SPDX-License-Identifier: MIT
#include "vmcache/detail/btree/cursor.hpp"

namespace vmcache::btree {

ScanState::ScanState(const TreeContext& tree, Direction direction, const Bound& from) noexcept
    : _tree(tree), _direction(direction), _inclusive(from.inclusive), _unbounded(from.everything) {
  // The bound is longer than any key in the tree, so its first kMaxKey bytes are less than it.
  if (from.key.size() > kMaxKey) _inclusive = !ascending();
  _bound.assign(from.key);
}

Need ScanState::step(BufferPool& pool) {
  _valid = false;
  for (;;) {
    if (_large_pending) {
      Need need;
      const bool there = take_large(pool, need);
      if (!need.done()) return need;
      if (there) break;
      continue;  // erased since its leaf was copied
    }
    if (_left == 0) {
      if (_at_end) return Need::nothing();
      if (const Need need = next_leaf(pool); !need.done()) return need;
      continue;
    }
    take_entry();
    if (!_large_pending) break;
  }
  _valid = true;
  return Need::nothing();
}

Need ScanState::next_leaf(BufferPool& pool) {
  if (_safepoint != nullptr && _safepoint->due()) return Need::turn();
  using Towards = ReadLeafOp::Towards;
  // A descending scan goes on with what is less than the fence; an ascending one, unbounded, starts
  // at "".
  const Towards towards = ascending()  ? Towards::kKey
                          : _unbounded ? Towards::kLast
                          : _inclusive ? Towards::kKey
                                       : Towards::kBefore;
  ReadLeafOp read{_tree, towards, _bound.key(), _page.data()};
  if (const Need need = read.step(pool); !need.done()) return need;
  place_in_leaf();
  if (!_unbounded && !advances())
    throw_corrupt(_tree.root(), "a leaf's fences do not enclose the key that leads to it");
  remember_fence();
  return Need::nothing();
}

//! True if the leaf's fence lies beyond the bound that led to it. In a damaged tree it may not, and
//! the scan would never end.
bool ScanState::advances() const noexcept {
  if (ascending())
    return !leaf().has_upper_fence() || compare_bytes(leaf().upper_fence(), _bound.key()) > 0;
  const int order = compare_bytes(leaf().lower_fence(), _bound.key());
  return leaf().lower_fence().empty() || order < 0 || (order == 0 && _inclusive);
}

void ScanState::place_in_leaf() noexcept {
  const unsigned count = leaf().count();
  if (_unbounded) {
    _next = ascending() ? 0 : count - 1;
    _left = count;
    return;
  }
  const Bytes bound = _bound.key();
  const NodeReader::Position position = leaf().lower_bound(bound);
  if (ascending()) {
    _next = position.index + unsigned(position.found && !_inclusive);
    _left = count - _next;
  } else {
    _left = position.index + unsigned(position.found && _inclusive);
    _next = _left - 1;
  }
}

void ScanState::remember_fence() noexcept {
  _unbounded = false;
  _inclusive = ascending();
  if (ascending()) {
    _at_end = !leaf().has_upper_fence();
    _bound.assign(leaf().upper_fence());
  } else {
    _at_end = leaf().lower_fence().empty();
    _bound.assign(leaf().lower_fence());
  }
}

void ScanState::take_entry() {
  const NodeReader::Value value = leaf().value(_next);
  _key.assign(leaf().prefix(), leaf().suffix(_next));
  _value = {value.data, value.size};
  --_left;
  _next = ascending() ? _next + 1 : _next - 1;
  if (value.large) {
    _large = std::make_unique<LookupOp<OwnBuffer>>(_tree, _key.key());
    _large_pending = true;
  }
}

//! True if the entry still exists. Its value is then the present one.
bool ScanState::take_large(BufferPool& pool, Need& need) {
  need = _large->step(pool);
  if (!need.done()) return false;
  _large_pending = false;
  if (!_large->found()) return false;
  _value = _large->buffer().bytes(_large->size());
  return true;
}

Need CountOp::step(BufferPool& pool) {
  while (!_state.at_end()) {
    if (const Need need = _state.next_leaf(pool); !need.done()) return need;
    _count += _state.left_in_leaf();
  }
  return Need::nothing();
}

}  // namespace vmcache::btree

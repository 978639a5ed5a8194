// SPDX-License-Identifier: MIT
//
// Many look-ups at once. A single look-up waits for one cache and TLB miss after the other, most of them in the leaf;
// here several go down the tree in turns, each asking for its next lines before it lets the others on, so that their
// misses overlap (AMAC: Kocberber et al., "Asynchronous memory access chaining", VLDB 2015). Pages that are not
// resident are collected and asked for together.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "vmcache/btree/descent.hpp"
#include "vmcache/btree/read_operations.hpp"

namespace vmcache::btree {

//! Look-ups of up to kSize keys that go down together. Holds no latch between its calls.
class LookupGroup {
 public:
  //! As many misses as a core keeps in flight, with a few to spare.
  static constexpr std::size_t kSize = 16;

  //! `keys`, at most kSize, must outlive the group.
  LookupGroup(const TreeContext& tree, std::span<const Bytes> keys) noexcept : _tree(tree), _keys(keys) {
    for (std::size_t i = 0; i < keys.size(); ++i) _paths[i].key = i;
    _pending = keys.size();
  }

  //! Every pending key starts at the root and goes as far as it gets; for those that arrive, calls
  //! use(std::size_t index, std::optional<Bytes> value). What stays pending was overtaken, lacks a page (see missing()),
  //! or has a large value.
  template <typename Use>
  void pass(Use&& use) {
    _missing_count = 0;
    std::size_t active = _pending;
    _pending = 0;
    // Paths that have ended go out of the row; those to be tried again are kept at its front.
    std::array<std::uint8_t, kSize> left_over;  // NOLINT: filled as far as it is read
    for (std::size_t i = 0; i < active; ++i) _paths[i].start(_tree.root());
    while (active > 0) {
      for (std::size_t i = 0; i < active;) {
        const Progress progress = advance(_paths[i], use);
        if (progress == Progress::kOn) {
          ++i;
          continue;
        }
        if (progress == Progress::kAgain) left_over[_pending++] = std::uint8_t(_paths[i].key);
        _paths[i] = _paths[--active];
      }
    }
    for (std::size_t i = 0; i < _pending; ++i) _paths[i].key = left_over[i];
  }

  //! Pages the last pass lacked; a page may be named twice.
  [[nodiscard]] std::span<const Extent> missing() const noexcept { return {_missing.data(), _missing_count}; }
  [[nodiscard]] std::size_t pending() const noexcept { return _pending; }
  //! Index of the n-th pending key.
  [[nodiscard]] std::size_t pending_key(std::size_t n) const noexcept { return _paths[n].key; }

 private:
  enum class Progress : std::uint8_t { kOn, kEnded, kAgain };
  enum class Stage : std::uint8_t { kNode, kSlots, kCell };
  struct Path {
    std::size_t key = 0;
    OptimisticGuard node;
    PageId next = kNoPage;
    unsigned level = 0;
    Stage stage = Stage::kNode;

    void start(PageId root) noexcept {
      node = {};
      next = root;
      stage = Stage::kNode;
    }
  };

  template <typename Use>
  [[nodiscard]] Progress advance(Path& path, Use& use) {
    switch (path.stage) {
      case Stage::kNode:
        return enter(path);
      case Stage::kSlots:
        NodeReader{path.node.data()}.prefetch_cell_for(_keys[path.key]);
        path.stage = Stage::kCell;
        return Progress::kOn;
      case Stage::kCell:
        return read_leaf(path, use);
    }
    return Progress::kAgain;
  }

  //! As descend_once() does: the child's version first, then the parent is validated.
  [[nodiscard]] Progress enter(Path& path) {
    OptimisticGuard node;
    const TryFix result = _tree.pool().try_fix(path.next, node);
    const bool is_root = !path.node;
    if (!is_root && !path.node.validate()) return Progress::kAgain;
    if (result != TryFix::kFixed) {
      if (result == TryFix::kMiss && _tree.pool().contains(path.next))
        _missing[_missing_count++] = {path.next, 0};
      return Progress::kAgain;
    }
    const NodeReader reader{node.data()};
    const unsigned level = reader.level();
    // What does not fit together is left to the single look-up, which knows what to say of it.
    if (!reader.is_node() || (is_root ? level > kMaxLevels : level + 1 != path.level))
      return Progress::kAgain;
    path.node = node;
    path.level = level;
    if (level == 0) {
      reader.prefetch_slots_for(_keys[path.key]);
      path.stage = Stage::kSlots;
    } else {
      path.next = reader.child_for<Search::kInTurns>(_keys[path.key]);
      __builtin_prefetch(reinterpret_cast<const void*>(state_place(_tree.pool(), path.next)));
      prefetch_node(_tree.pool(), path.next);
    }
    return Progress::kOn;
  }

  template <typename Use>
  [[nodiscard]] Progress read_leaf(Path& path, Use& use) {
    const NodeReader leaf{path.node.data()};
    const NodeReader::Position position = leaf.lower_bound<Search::kInTurns>(_keys[path.key]);
    if (!position.found) {
      if (!path.node.validate()) return Progress::kAgain;
      use(path.key, std::optional<Bytes>{});
      return Progress::kEnded;
    }
    const NodeReader::Value value = leaf.value(position.index);
    if (value.large || value.size > kMaxInlineValue) return Progress::kAgain;
    std::array<std::byte, kMaxInlineValue> copy;  // NOLINT: filled as far as it is read
    NodeReader::copy(copy.data(), value.data, value.size);
    if (!path.node.validate()) return Progress::kAgain;
    use(path.key, std::optional{Bytes{copy.data(), value.size}});
    return Progress::kEnded;
  }

  const TreeContext& _tree;
  std::span<const Bytes> _keys;
  std::array<Path, kSize> _paths;  // the pending ones first
  std::size_t _pending = 0;
  std::array<Extent, kSize> _missing;
  std::size_t _missing_count = 0;
};

//! Passes before what is left is looked up key by key: each may bring one more level into memory.
inline constexpr unsigned kGroupPasses = kMaxLevels + 1;

}  // namespace vmcache::btree

// SPDX-License-Identifier: MIT
//
// Many look-ups at once. A single look-up waits for one cache and TLB miss after the other, most of
// them in the leaf. Here several look-ups descend in turns. Each prefetches its next lines and then
// lets the others run, so that their misses overlap (AMAC: Kocberber et al., "Asynchronous memory
// access chaining", VLDB 2015). Pages that are not resident are collected and read together.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "vmcache/detail/btree/descent.hpp"
#include "vmcache/detail/btree/read_operations.hpp"
#include "vmcache/export.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT btree {

//! Looks up to kSize keys together. Holds no latch between its calls.
class LookupGroup {
 public:
  //! As many misses as a core keeps in flight, with a few to spare.
  static constexpr std::size_t kSize = 16;

  //! `keys`, at most kSize, must outlive the group.
  LookupGroup(const TreeContext& tree, std::span<const Bytes> keys) noexcept
      : _tree(tree), _keys(keys) {
    for (std::size_t i = 0; i < keys.size(); ++i) _paths[i].key = i;
    _pending = keys.size();
  }

  //! Starts every pending key at the root. For each that is found, or found not to exist, calls
  //! use(std::size_t index, std::optional<Bytes> value). A key stays pending if a writer has
  //! overtaken it, if it lacks a page (see missing()), or if its value is large.
  template <typename Use>
  void pass(Use&& use) {
    _missing_count = 0;
    std::size_t active = _pending;
    _pending = 0;
    // Paths that have ended leave the array. Those that must be tried again are moved to its front
    // at the end.
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
  [[nodiscard]] std::span<const Extent> missing() const noexcept {
    return {_missing.data(), _missing_count};
  }
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
    // Whatever is inconsistent is left to the single look-up, which reports it.
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

  //! True if a commit that is being applied changes the key.
  [[nodiscard, gnu::noinline]] bool is_being_changed(const Path& path) const {
    return _tree.commit_on(_keys[path.key], NodeReader{path.node.data()}.lsn()) != 0;
  }

  template <typename Use>
  [[nodiscard]] Progress read_leaf(Path& path, Use& use) {
    const NodeReader leaf{path.node.data()};
    if (_tree.may_be_applying(leaf.lsn()) && is_being_changed(path)) [[unlikely]]
      return Progress::kAgain;  // the single look-up knows how to wait for a commit
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

//! Maximum number of passes before the remaining keys are looked up one by one. Each pass may bring
//! one more level into memory.
inline constexpr unsigned kGroupPasses = kMaxLevels + 1;

//! The loop of BTree::lookup_each(): looks all keys up, one group after the other, and stops where
//! its caller has to wait. The blocking and the awaited form differ only in how they wait.
template <typename Use>
class LookupEach {
 public:
  //! What the caller must do before the next run().
  enum class Lacks : std::uint8_t {
    kNothing,  //!< all keys have been looked up
    kPages,    //!< prefetch pages(), or stop_waiting_for_pages()
    kKey,      //!< look up key() alone and give() its value
  };

  //! `keys` and `use` must outlive the object.
  LookupEach(const TreeContext& tree, std::span<const Bytes> keys, Use& use) noexcept
      : _tree(tree), _keys(keys), _use(use) {}

  [[nodiscard]] Lacks run() {
    for (;;) {
      switch (_next) {
        case Next::kGroup:
          if (_first >= _keys.size()) return Lacks::kNothing;
          _group.emplace(_tree, _keys.subspan(_first, group_size()));
          _passes = 0;
          [[fallthrough]];
        case Next::kPass:
          _group->pass([this](std::size_t index, std::optional<Bytes> value) {
            _use(_first + index, value);
          });
          if (!_group->missing().empty() && _passes++ < kGroupPasses) {
            _next = Next::kPass;
            return Lacks::kPages;
          }
          stop_waiting_for_pages();
          [[fallthrough]];
        case Next::kPendingKey:
          if (_pending < _group->pending()) return Lacks::kKey;
          _first += LookupGroup::kSize;
          _next = Next::kGroup;
      }
    }
  }

  [[nodiscard]] std::span<const Extent> pages() const noexcept { return _group->missing(); }
  //! If pages() cannot be read: the look-up of a key alone will find the page and report it.
  void stop_waiting_for_pages() noexcept {
    _pending = 0;
    _next = Next::kPendingKey;
  }
  [[nodiscard]] Bytes key() const noexcept { return _keys[pending_key()]; }
  void give(std::optional<Bytes> value) {
    _use(pending_key(), value);
    ++_pending;
  }

 private:
  enum class Next : std::uint8_t { kGroup, kPass, kPendingKey };

  [[nodiscard]] std::size_t group_size() const noexcept {
    return std::min(LookupGroup::kSize, _keys.size() - _first);
  }
  [[nodiscard]] std::size_t pending_key() const noexcept {
    return _first + _group->pending_key(_pending);
  }

  const TreeContext& _tree;
  std::span<const Bytes> _keys;
  Use& _use;
  std::optional<LookupGroup> _group;
  std::size_t _first = 0;    // key of the group
  std::size_t _pending = 0;  // of the group's pending keys, those that were looked up alone
  unsigned _passes = 0;
  Next _next = Next::kGroup;
};

}  // namespace btree
}  // namespace vmcache

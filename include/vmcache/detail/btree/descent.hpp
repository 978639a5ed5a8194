// SPDX-License-Identifier: MIT
//
// Descends from the root by optimistic lock coupling (Leis et al., "The ART of practical
// synchronization", DaMoN 2016). Each step takes the child's version and then validates the parent.
// From then on it is enough to validate the child: its key range cannot shrink, and the child
// cannot be removed, without a change of its version.
#pragma once

#include <type_traits>
#include <utility>

#include "vmcache/detail/btree/node_reader.hpp"
#include "vmcache/detail/btree/tree_context.hpp"
#include "vmcache/detail/processor.hpp"
#include "vmcache/export.hpp"
#include "vmcache/operation.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT btree {

//! How often a step that was overtaken by a writer starts again before it lets others run.
inline constexpr unsigned kRestartsInStep = 16;

struct TowardsKey {
  Bytes key;
  [[nodiscard]] PageId child(const NodeReader& node) const noexcept { return node.child_for(key); }
};
//! As TowardsKey, for a caller that is going to latch the node exclusively.
struct TowardsChange : TowardsKey {};
//! To the leaf with the greatest keys less than `key`.
struct TowardsBefore {
  Bytes key;
  [[nodiscard]] PageId child(const NodeReader& node) const noexcept {
    return node.child_before(key);
  }
};
struct TowardsLast {
  [[nodiscard]] PageId child(const NodeReader& node) const noexcept {
    return node.child(node.count());
  }
};

//! Where a descent has ended.
struct Spot {
  OptimisticGuard parent;  //!< empty if the node is the root
  OptimisticGuard node;    //!< empty if the tree is not that high
};

//! \name Addresses of a page and of its state word, for prefetches only. The page id may come from
//! a page that was not validated, so the address may be anything; a prefetch cannot fault. @{
[[nodiscard]] inline std::uintptr_t page_place(const BufferPool& pool, PageId page_id) noexcept {
  return reinterpret_cast<std::uintptr_t>(pool.address(0)) + page_id * kPageSize;
}
[[nodiscard]] inline std::uintptr_t state_place(const BufferPool& pool, PageId page_id) noexcept {
  return reinterpret_cast<std::uintptr_t>(&pool.page_ref(0).state()) +
         page_id * sizeof(AtomicPageState);
}
//! @}

//! Header, hints and the first slots of a page that will be read: one miss instead of three.
inline void prefetch_node(const BufferPool& pool, PageId page_id) noexcept {
  constexpr std::size_t kLine = 64;
  constexpr std::size_t kLines = 6;
  const std::uintptr_t page = page_place(pool, page_id);
  for (std::size_t i = 0; i < kLines; ++i)
    __builtin_prefetch(reinterpret_cast<const void*>(page + i * kLine));
}

//! The page's state word, to be latched, and its first line, where headers are.
inline void prefetch_for_change(const BufferPool& pool, PageId page_id) noexcept {
  prefetch_for_write(state_place(pool, page_id));
  prefetch_for_write(page_place(pool, page_id));
}

//! Descends once from the root to the node at `level` (0: leaf). `towards` chooses the child at
//! each node. Returns Need::nothing() if it arrived, Need::latch() if a writer has overtaken it or
//! holds a latch, and otherwise what it lacks. Throws Error kCorrupt.
template <typename Towards>
[[nodiscard, gnu::always_inline]] inline Need descend_once(const TreeContext& tree,
                                                           const Towards& towards, unsigned level,
                                                           Spot& spot) {
  BufferPool& pool = tree.pool();
  spot.parent = {};
  if (const TryFix result = pool.try_fix(tree.root(), spot.node); result != TryFix::kFixed)
      [[unlikely]] {
    return Need::after(result, tree.root());
  }
  const NodeReader root{spot.node.data()};
  unsigned level_now = root.level();
  if (!root.is_node() || level_now > kMaxLevels) [[unlikely]] {
    if (spot.node.validate()) throw_corrupt(tree.root(), "the root is not a node");
    return Need::latch();
  }
  if (level_now < level) [[unlikely]] {
    const bool valid = spot.node.validate();
    spot.node = {};
    return valid ? Need::nothing() : Need::latch();
  }
  while (level_now > level) {
    const PageId child_id = towards.child(NodeReader{spot.node.data()});
    if constexpr (std::is_same_v<Towards, TowardsChange>) {
      if (level_now == level + 1) prefetch_for_change(pool, child_id);
    }
    prefetch_node(pool, child_id);
    OptimisticGuard child;
    const TryFix result = pool.try_fix(child_id, child);
    if (!spot.node.validate()) [[unlikely]]
      return Need::latch();
    if (result != TryFix::kFixed) [[unlikely]] {
      if (result == TryFix::kMiss && !pool.contains(child_id)) {
        throw_corrupt(spot.node.page_id(), "a child lies outside the database");
      }
      return Need::after(result, child_id);
    }
    const NodeReader reader{child.data()};
    --level_now;
    if (!reader.is_node() || reader.level() != level_now) [[unlikely]] {
      if (child.validate()) throw_corrupt(child_id, "not a node of the level its parent is above");
      return Need::latch();
    }
    spot.parent = spot.node;
    spot.node = child;
  }
  return Need::nothing();
}

//! The same, but starts again a few times if a writer overtakes it.
template <typename Towards>
[[nodiscard]] Need descend(const TreeContext& tree, const Towards& towards, unsigned level,
                           Spot& spot) {
  Need need;
  for (unsigned restarts = 0; restarts < kRestartsInStep; ++restarts) {
    need = descend_once(tree, towards, level, spot);
    if (need.kind != Need::Kind::kLatch) return need;
    relax();
  }
  return need;
}

//! Remembers the last step of a descent whose leaf was not in memory: the parent, in the version
//! that named the leaf. Once the leaf has come, take() fixes it and then validates the parent. That
//! is a step of a descent like any other, however long it took. If the parent was changed, latched
//! or evicted meanwhile, its version differs, and the look-up starts at the root again.
class LastStep {
 public:
  LastStep() noexcept {}  // NOLINT: leaves _commit alone
  //! `need` is what a descent to a leaf returned; `spot` is where it ended.
  void keep(const Need& need, const Spot& spot) noexcept {
    const bool at_leaf =
        need.kind == Need::Kind::kPage && spot.node && NodeReader{spot.node.data()}.level() == 1;
    _leaf = at_leaf ? need.extent.page_id : kNoPage;
    if (at_leaf) _parent = spot.node;
  }
  //! True if the next step() can continue: at a leaf, or by waiting for a commit.
  [[nodiscard]] bool kept() const noexcept { return _leaf != kNoPage; }
  //! \name The look-up has its result, but must not end before a commit has been applied
  //! @{
  void await(std::uint64_t commit) noexcept {
    _leaf = kDone;
    _commit = commit;
  }
  //! 0 if there is none.
  [[nodiscard]] std::uint64_t commit() const noexcept { return _leaf == kDone ? _commit : 0; }
  void forget() noexcept { _leaf = kNoPage; }
  //! @} True, once a keep(), if `spot` is now the leaf. What is wrong with it is for a whole
  //! descent to say.
  [[nodiscard]] bool take(BufferPool& pool, Spot& spot) noexcept {
    const PageId leaf = std::exchange(_leaf, kNoPage);
    if (leaf == kNoPage || pool.try_fix(leaf, spot.node) != TryFix::kFixed || !_parent.validate())
      return false;
    const NodeReader reader{spot.node.data()};
    if (!reader.is_node() || !reader.is_leaf()) return false;
    spot.parent = _parent;
    return true;
  }

 private:
  static constexpr PageId kDone = ~PageId{0};

  PageId _leaf = kNoPage;
  std::uint64_t _commit;  // NOLINT: while _leaf is kDone
  OptimisticGuard _parent;
};

}  // namespace btree
}  // namespace vmcache

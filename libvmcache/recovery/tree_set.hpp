// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "vmcache/btree.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/function_ref.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

//! The trees of a database that were used since it was opened. A tree stays in the set until the
//! set is destroyed. Thread-safe.
class TreeSet {
 public:
  static constexpr unsigned kTrees = BufferPool::kRoots;

  //! The tree with that index (below kTrees), or null if open() was not called for it.
  [[nodiscard]] BTree* find(unsigned index) const noexcept {
    return _by_index[index].load(std::memory_order_acquire);
  }
  //! Opens the tree whose root the pool keeps under `index`. If there is none, `create` makes it
  //! and returns its root. Reads the root page. Throws Error, and what `create` throws.
  const BTree& open(BufferPool& pool, unsigned index, FunctionRef<PageId()> create);

 private:
  [[nodiscard]] BTree& tree_at(BufferPool& pool, PageId root);

  //! Each commit and each read loads from it; only open() stores.
  std::array<std::atomic<BTree*>, kTrees> _by_index{};
  std::mutex _mutex;
  //! By root: two indexes may have the same one.
  std::map<PageId, std::unique_ptr<BTree>> _trees;
};

}  // namespace vmcache

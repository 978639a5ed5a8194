// SPDX-License-Identifier: MIT
#include "recovery/tree_set.hpp"

namespace vmcache {

const BTree& TreeSet::open(BufferPool& pool, unsigned index, FunctionRef<PageId()> create) {
  {
    const std::lock_guard lock(_mutex);
    if (pool.root(index) == kNoPage) pool.set_root(index, create());
  }
  BTree& tree = tree_at(pool, pool.root(index));
  // Known from now on. Commits ask for it, and must not wait.
  (void)tree.max_levels();
  _by_index[index].store(&tree, std::memory_order_release);
  return tree;
}

BTree& TreeSet::tree_at(BufferPool& pool, PageId root) {
  const std::lock_guard lock(_mutex);
  std::unique_ptr<BTree>& tree = _trees[root];
  if (!tree) tree = std::make_unique<BTree>(pool, root);
  return *tree;
}

}  // namespace vmcache

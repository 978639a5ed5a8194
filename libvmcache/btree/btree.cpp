// SPDX-License-Identifier: MIT
#include "vmcache/btree.hpp"

#include "btree/node.hpp"

namespace vmcache {

PageId BTree::create(BufferPool& pool) {
  return create(pool, [](PageId) {});
}

PageId BTree::create(BufferPool& pool, FunctionRef<void(PageId)> made) {
  ExclusiveGuard guard = pool.allocate();
  btree::Node{guard.data()}.init(0, {});
  try {
    made(guard.page_id());
  } catch (...) {
    pool.free(std::move(guard));
    throw;
  }
  return guard.page_id();
}

unsigned BTree::max_levels() const {
  if (_context.max_levels() == 0) {
    const SharedGuard guard = pool().fix_shared(root());
    const btree::NodeReader node{guard.data()};
    if (!node.is_node() || node.level() > btree::kMaxLevels)
      btree::throw_corrupt(root(), "the root is not a node");
    _context.note_levels(node.level() + 1);
  }
  return _context.max_levels();
}

}  // namespace vmcache

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

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include <algorithm>
#include <string>
#include <unordered_set>

#include "btree/tree_walk.hpp"
#include "vmcache/btree.hpp"

namespace vmcache {

namespace btree {

namespace {

//! A tree in a pool; the first fault ends the walk.
class PoolSource final : public TreeSource {
 public:
  explicit PoolSource(BufferPool& pool) noexcept : _pool(pool) {}

  [[nodiscard]] bool read(PageId page_id, std::byte* to) override {
    const SharedGuard guard = _pool.fix_shared(page_id);
    NodeReader{guard.data()}.copy_page(to);
    return true;
  }
  [[nodiscard]] bool claim(Extent extent, PageId) override {
    for (std::uint64_t n = 0; n < extent.pages(); ++n) {
      const PageId page_id = extent.page_id + n;
      if (!_pool.contains(page_id))
        throw_corrupt(page_id, "a page outside the database is part of the tree");
      if (!_claimed.insert(page_id).second)
        throw_corrupt(page_id, "a page is part of the tree twice");
    }
    return true;
  }
  void visit(const Node& node) override {
    _shape.levels = std::max(_shape.levels, node.level() + 1);
    if (node.level() > 0) {
      ++_shape.inner_pages;
      return;
    }
    ++_shape.leaf_pages;
    _shape.entries += node.count();
    _shape.payload_bytes += node.read().payload_bytes();
  }
  void visit_large(Extent extent) override { _shape.large_pages += extent.pages(); }
  void fault(PageId page_id, const Node&, const std::string& what) override {
    throw_corrupt(page_id, what.c_str());
  }

  [[nodiscard]] const BTreeShape& shape() const noexcept { return _shape; }

 private:
  BufferPool& _pool;
  BTreeShape _shape;
  std::unordered_set<PageId> _claimed;
};

}  // namespace

}  // namespace btree

BTreeShape BTree::verify() const {
  btree::PoolSource source{pool()};
  btree::TreeWalk{source, btree::extent_front(pool())}.run(root());
  BTreeShape shape = source.shape();
  shape.orphan_pages = _context.orphan_pages();
  return shape;
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Checks a tree that stands still, wherever its pages are read from: a pool (BTree::verify()) or storage
// (tools/check).
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "btree/node.hpp"
#include "vmcache/types.hpp"

namespace vmcache::btree {

//! Where the pages come from, and who is told.
class TreeSource {
 public:
  virtual ~TreeSource() = default;
  //! Copies page `page_id`. False: there is nothing to be checked, and why is known.
  [[nodiscard]] virtual bool read(PageId page_id, std::byte* to) = 0;
  //! A page or an extent of a value is part of the tree, below `parent` (kNoPage: the root). False: leave it out.
  [[nodiscard]] virtual bool claim(Extent extent, PageId parent) = 0;
  //! The node is sound.
  virtual void visit(const Node& node) = 0;
  //! An extent of a large value that was claimed.
  virtual void visit_large(Extent extent) = 0;
  //! The node contradicts itself or its parent; what is below it is left out. May throw.
  virtual void fault(PageId page_id, const Node& node, const std::string& what) = 0;
};

//! From the root down, one private copy of a node a level.
class TreeWalk {
 public:
  //! `front`: bytes of large values' extents before the value's (extent_front()).
  TreeWalk(TreeSource& source, std::size_t front) noexcept : _source(source), _front(front) {}
  void run(PageId root) { walk(root, kNoPage, {}, {}); }

 private:
  void walk(PageId page_id, PageId parent, std::optional<unsigned> level, const Fences& expected);
  void walk_values(PageId page_id, const Node& node);
  void walk_children(PageId page_id, const Node& node);

  TreeSource& _source;
  const std::size_t _front;
};

//! What is wrong with a node that should be at `level`, if that is known, and have these fences; empty if nothing is.
[[nodiscard]] std::string fault_of(const Node& node, std::optional<unsigned> level, const Fences& expected);

}  // namespace vmcache::btree

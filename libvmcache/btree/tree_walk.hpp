// SPDX-License-Identifier: MIT
//
// Checks a tree that nobody changes meanwhile. Its pages come from a pool (BTree::verify()) or from
// storage (tools/check).
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "btree/node.hpp"
#include "vmcache/types.hpp"

namespace vmcache::btree {

//! Supplies the pages of a walk and receives what it finds.
class TreeSource {
 public:
  virtual ~TreeSource() = default;
  //! Copies page `page_id` to `to`, which has room for kPageSize bytes. False if the page cannot be
  //! checked; the source has then recorded the reason.
  [[nodiscard]] virtual bool read(PageId page_id, std::byte* to) = 0;
  //! Told of each page, and of each extent of a large value, before it is read. `parent` leads to
  //! it; kNoPage stands for the root's. False if the walk is to leave it out.
  [[nodiscard]] virtual bool claim(Extent extent, PageId parent) = 0;
  //! Told of each node that is sound.
  virtual void visit(const Node& node) = 0;
  //! Told of each extent of a large value that was claimed.
  virtual void visit_large(Extent extent) = 0;
  //! Told of a node that contradicts itself or its parent. The walk leaves out what is below it.
  //! May throw.
  virtual void fault(PageId page_id, const Node& node, const std::string& what) = 0;
};

//! Walks a tree from the root down. It holds a private copy of one node for each level.
class TreeWalk {
 public:
  //! `front`: bytes at the start of a large value's extent that are not the value's
  //! (extent_front()).
  TreeWalk(TreeSource& source, std::size_t front) noexcept : _source(source), _front(front) {}
  void run(PageId root) { walk(root, kNoPage, {}, {}); }

 private:
  void walk(PageId page_id, PageId parent, std::optional<unsigned> level, const Fences& expected);
  void walk_values(PageId page_id, const Node& node);
  void walk_children(PageId page_id, const Node& node);

  TreeSource& _source;
  const std::size_t _front;
};

//! Says what is wrong with a node that should have this level (if it is known) and these fences.
//! Empty if nothing is wrong.
[[nodiscard]] std::string fault_of(const Node& node, std::optional<unsigned> level,
                                   const Fences& expected);

}  // namespace vmcache::btree

// SPDX-License-Identifier: MIT
//
// Operations that change the tree. A writer latches its leaf by upgrading the version it has read; what
// changes the structure latches a parent and then its children, each by upgrade as well. Nobody waits for a
// latch while holding one, so no order of latches can deadlock.
#pragma once

#include <optional>
#include <vector>

#include "vmcache/btree/descent.hpp"
#include "vmcache/btree/large_value.hpp"

namespace vmcache::btree {

//! What insert and erase have in common: splits, merges and giving pages back. Each split or merge is
//! complete in itself, so an operation may end between two of them.
class Restructurer {
 public:
  Restructurer(const Restructurer&) = delete;
  Restructurer& operator=(const Restructurer&) = delete;

  //! True once the tree holds the result; an error after that concerns the tidying up alone.
  [[nodiscard]] bool committed() const noexcept { return _committed; }

 protected:
  Restructurer(TreeContext& tree, Bytes key) noexcept : _tree(tree), _key(key) {}
  ~Restructurer();

  //! Splits the node at `level` on the way to the key, or what must be split before it. Done: descend again.
  [[nodiscard]] Need split(unsigned level);
  //! Merges upwards from the leaf of the key for as long as there is something to merge.
  [[nodiscard]] Need merge();
  //! Gives back the pages that are left over.
  [[nodiscard]] Need clean_up(BufferPool& pool);

  TreeContext& _tree;
  Bytes _key;
  bool _committed = false;
  ExclusiveGuard _fresh;         //!< a new page, for the next split; only while _may_split
  std::vector<Extent> _garbage;  //!< extents that belong to nobody else any more

 private:
  enum class Merged : std::uint8_t { kYes, kNo, kNoSibling, kNeed };
  [[nodiscard]] Need grow_root(const Spot& spot);
  [[nodiscard]] Merged merge_at(unsigned level, Need& need);
  [[nodiscard]] Merged shrink_root(const Spot& spot, Need& need);
  [[nodiscard]] Merged merge_siblings(const Spot& spot, unsigned left_index, const OptimisticGuard& left,
                                      const OptimisticGuard& right, Need& need);

  void end_split() noexcept;

  bool _may_split = false;    //!< one of the tree's places for splits is ours
  unsigned _merge_reach = 0;  //!< up to which level merging must look
  unsigned _merge_tries = 0;
};

//! insert, upsert, replace. `key` and `value` must outlive the operation.
class WriteOp : public Restructurer {
 public:
  enum class Mode : std::uint8_t {
    kInsert,   //!< only if the key is not there
    kUpsert,   //!< whether it is there or not
    kReplace,  //!< only if it is there
  };
  //! Throws Error kTooLarge.
  WriteOp(TreeContext& tree, Mode mode, Bytes key, Bytes value);
  ~WriteOp();

  [[nodiscard]] Need step(BufferPool& pool);
  void supply(ExclusiveGuard&& fresh);

  //! replace: whether the key was there; else: whether it was not.
  [[nodiscard]] bool result() const noexcept { return _existed == (_mode == Mode::kReplace); }

 private:
  [[nodiscard]] Need write();
  [[nodiscard]] Need write_leaf(const Spot& spot, bool& full);
  void finish(bool written) noexcept;

  Mode _mode;
  Bytes _value;
  bool _existed = false;
  bool _ended = false;
  std::optional<LargeValue> _large;
  std::vector<std::byte> _descriptor;
};

//! Hands a value's bytes to a function that may change them, not their number.
class UpdateOp {
 public:
  UpdateOp(TreeContext& tree, Bytes key, FunctionRef<void(std::span<std::byte>)> change) noexcept
      : _tree(tree), _key(key), _change(change) {}

  [[nodiscard]] Need step(BufferPool& pool);
  void supply(ExclusiveGuard&&) noexcept {}
  [[nodiscard]] bool result() const noexcept { return _found; }
  [[nodiscard]] bool committed() const noexcept { return false; }

 private:
  [[nodiscard]] Need update_large(BufferPool& pool, const Spot& spot);

  TreeContext& _tree;
  Bytes _key;
  FunctionRef<void(std::span<std::byte>)> _change;
  bool _found = false;
};

class EraseOp : public Restructurer {
 public:
  //! `key` must outlive the operation.
  EraseOp(TreeContext& tree, Bytes key) noexcept : Restructurer(tree, key) {}

  [[nodiscard]] Need step(BufferPool& pool);
  void supply(ExclusiveGuard&&) noexcept {}
  [[nodiscard]] bool result() const noexcept { return _found; }

 private:
  [[nodiscard]] Need erase();

  bool _found = false;
  bool _ended = false;
  bool _underfull = false;
};

}  // namespace vmcache::btree

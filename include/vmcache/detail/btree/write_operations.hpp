// SPDX-License-Identifier: MIT
//
// Operations that change the tree. A writer latches its leaf by upgrading its optimistic guard. A
// structural change latches a parent and then its children, each by an upgrade. Nobody waits for a
// latch while holding one, so no order of latches can deadlock.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "vmcache/detail/btree/descent.hpp"
#include "vmcache/detail/btree/large_value.hpp"
#include "vmcache/export.hpp"
#include "vmcache/function_ref.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT btree {

//! The common part of inserts and erases: splits, merges, and freeing pages. Each split or merge is
//! complete in itself, so an operation may end between two of them.
class Restructurer {
 public:
  Restructurer(const Restructurer&) = delete;
  Restructurer& operator=(const Restructurer&) = delete;

  [[nodiscard]] BufferPool& pool() const noexcept { return _tree.pool(); }
  //! True once the tree holds the result. An error after that is only about merging or freeing
  //! pages.
  [[nodiscard]] bool committed() const noexcept { return _committed; }

 protected:
  //! Throws Error kReadOnly.
  Restructurer(TreeContext& tree, Bytes key) : _tree(tree), _key(key) { tree.require_writable(); }
  ~Restructurer();

  //! Splits the node at `level` on the way to the key, or a node above it that must be split first.
  //! After Need::nothing() the caller descends again.
  [[nodiscard]] Need split(unsigned level);
  //! Merges upwards from the leaf of the key, as long as there is something to merge.
  [[nodiscard]] Need merge();
  //! Frees the pages in _garbage.
  [[nodiscard]] Need clean_up(BufferPool& pool);

  TreeContext& _tree;
  Bytes _key;
  bool _committed = false;
  ExclusiveGuard _fresh;         //!< a new page, for the next split; only while _may_split
  std::vector<Extent> _garbage;  //!< extents that nothing refers to any more, to be freed

 private:
  enum class Merged : std::uint8_t { kYes, kNo, kNoSibling, kNeed };
  [[nodiscard]] Need grow_root(const Spot& spot);
  [[nodiscard]] Merged merge_at(unsigned level, Need& need);
  [[nodiscard]] Merged shrink_root(const Spot& spot, Need& need);
  [[nodiscard]] Merged merge_siblings(const Spot& spot, unsigned left_index,
                                      const OptimisticGuard& left, const OptimisticGuard& right,
                                      Need& need);

  void end_split() noexcept;

  bool _may_split = false;    //!< try_enter_split() has granted it
  unsigned _merge_reach = 0;  //!< the highest level at which merging must look
  unsigned _merge_tries = 0;
};

//! A large value whose extents are allocated and filled, and that no leaf leads to yet. The
//! destructor frees extents that were not handed on by take(). Only one thread at a time may use
//! it.
class PlacedValue {
 public:
  PlacedValue(TreeContext& tree, std::uint64_t size);
  PlacedValue(PlacedValue&& other) noexcept
      : _tree(other._tree), _value(std::exchange(other._value, std::nullopt)) {}
  PlacedValue& operator=(PlacedValue&&) = delete;
  ~PlacedValue();

  [[nodiscard]] LargeValue& value() noexcept { return *_value; }
  //! Hands the value, all of which is placed, over to the caller.
  [[nodiscard]] LargeValue take() noexcept { return *std::exchange(_value, std::nullopt); }

 private:
  TreeContext& _tree;
  std::optional<LargeValue> _value;
};

//! Allocates extents for a large value and fills them. That is the part of a write that needs large
//! extents, frames and storage; it runs before the write is logged. `value` must outlive the
//! operation.
class PlaceOp {
 public:
  //! Throws Error kTooLarge.
  PlaceOp(TreeContext& tree, Bytes value);

  [[nodiscard]] BufferPool& pool() const noexcept { return _tree.pool(); }
  [[nodiscard]] Need step(BufferPool& pool);
  void supply(ExclusiveGuard&& fresh);
  [[nodiscard]] PlacedValue result() { return std::move(_placed); }
  [[nodiscard]] bool committed() const noexcept { return false; }

 private:
  TreeContext& _tree;
  Bytes _value;
  PlacedValue _placed;
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
  //! Writes a value that is already in its extents.
  WriteOp(TreeContext& tree, Mode mode, Bytes key, PlacedValue&& value);
  //! Upserts a large value whose extents are all placed and written. They are freed if the value
  //! does not get into the tree.
  WriteOp(TreeContext& tree, Bytes key, LargeValue&& written);
  ~WriteOp();

  [[nodiscard]] Need step(BufferPool& pool);
  void supply(ExclusiveGuard&& fresh);

  //! For kReplace, true if the key existed. Otherwise true if it did not.
  [[nodiscard]] bool result() const noexcept { return _existed == (_mode == Mode::kReplace); }
  //! True if nothing was changed, because the leaf is full and may not be split
  //! (TreeContext::Structure).
  [[nodiscard]] bool found_no_room() const noexcept { return _no_room; }

 private:
  [[nodiscard]] Need write();
  [[nodiscard]] Need write_leaf(const Spot& spot, bool& full);
  void finish(bool written) noexcept;

  Mode _mode;
  Bytes _value;
  bool _existed = false;
  bool _ended = false;
  bool _no_room = false;
  std::optional<LargeValue> _large;
  std::vector<std::byte> _descriptor;
};

//! Hands a value's bytes to a function that may change them, but not their number.
class UpdateOp {
 public:
  UpdateOp(TreeContext& tree, Bytes key, FunctionRef<void(std::span<std::byte>)> change)
      : _tree(tree), _key(key), _change(change) {
    tree.require_writable();
  }

  [[nodiscard]] BufferPool& pool() const noexcept { return _tree.pool(); }
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
  EraseOp(TreeContext& tree, Bytes key) : Restructurer(tree, key) {}

  [[nodiscard]] Need step(BufferPool& pool);
  void supply(ExclusiveGuard&&) noexcept {}
  [[nodiscard]] bool result() const noexcept { return _found; }

 private:
  [[nodiscard]] Need erase();

  bool _found = false;
  bool _ended = false;
  bool _underfull = false;
};

}  // namespace btree
}  // namespace vmcache

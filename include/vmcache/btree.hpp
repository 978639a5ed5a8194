// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "vmcache/btree/bytes.hpp"
#include "vmcache/btree/cursor.hpp"
#include "vmcache/btree/lookup_group.hpp"
#include "vmcache/btree/read_operations.hpp"
#include "vmcache/btree/tree_context.hpp"
#include "vmcache/btree/write_operations.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {

//! What verify() found.
struct BTreeShape {
  std::uint64_t entries = 0;
  std::uint64_t leaf_pages = 0;
  std::uint64_t inner_pages = 0;
  std::uint64_t large_pages = 0;    //!< pages of the extents of large values
  std::uint64_t orphan_pages = 0;   //!< pages that could not be given back yet
  std::uint64_t payload_bytes = 0;  //!< bytes in use in leaves, fences not counted
  unsigned levels = 0;              //!< 1: the root is a leaf

  //! All pages that the tree holds.
  [[nodiscard]] std::uint64_t pages() const noexcept {
    return leaf_pages + inner_pages + large_pages + orphan_pages;
  }
};

//! A B+tree in the pages of a pool. Keys are byte strings of 0 to kMaxKey bytes, ordered byte by byte; values
//! have 0 to kMaxValue bytes. Nodes are single pages; values of more than a quarter page, or too long beside
//! their key, lie in extents. How it is built: vmcache/btree/node_layout.hpp, descent.hpp, write_operations.hpp.
//!
//! All calls may be made by any thread at any time, also by several BTree objects of one root. The blocking
//! calls wait for I/O and latches. The forms that take a Worker are to be awaited in its tasks: they suspend
//! the task instead, and allocate nothing unless the value is large; keys and values passed in must live
//! until the co_await ends (temporaries in its expression do).
//!
//! Errors are thrown as Error: kTooLarge (says the limit), kCorrupt, and what the pool throws. Unless said
//! otherwise the tree's content is as before then. Pages that a finished change left over but that could not
//! be given back because the change ended in an error are kept and tried again by later changes.
class BTree {
  using Mode = btree::WriteOp::Mode;

  template <typename Op>
  auto run(Op&& op) const {
    try {
      pool().perform(op);
    } catch (const Error&) {
      if (!op.committed()) throw;
    }
    return op.result();
  }

 public:
  static constexpr std::size_t kMaxKey = btree::kMaxKey;                  //!< bytes: a quarter page
  static constexpr std::size_t kMaxInlineValue = btree::kMaxInlineValue;  //!< bytes: a quarter page
  static constexpr std::uint64_t kMaxValue = btree::kMaxValue;            //!< bytes: 64 MiB

  //! An operation to be awaited; holds it, so it costs no coroutine frame.
  template <typename Op>
  class Awaiter;

  //! Makes an empty tree and returns its root's page id, which never changes. Waits for a frame.
  [[nodiscard]] static PageId create(BufferPool& pool);

  //! The same; calls `made(root)` before the new root's latch is given back, for the log. What it throws undoes the making.
  [[nodiscard]] static PageId create(BufferPool& pool, FunctionRef<void(PageId)> made);

  //! The tree whose root is `root`. Reads nothing; that it is no tree is found out by the first call.
  BTree(BufferPool& pool, PageId root) : _context(pool, root) {}

  [[nodiscard]] BufferPool& pool() const noexcept { return _context.pool(); }
  [[nodiscard]] PageId root() const noexcept { return _context.root(); }

  //! \name Changes
  //! @{

  //! Adds the entry if the key is not there. False if it is.
  bool insert(Bytes key, Bytes value) { return run(btree::WriteOp{_context, Mode::kInsert, key, value}); }
  //! Adds the entry or gives it a new value. True if the key was not there.
  bool upsert(Bytes key, Bytes value) { return run(btree::WriteOp{_context, Mode::kUpsert, key, value}); }
  //! Gives the entry a new value, of any length. False if the key is not there.
  bool replace(Bytes key, Bytes value) { return run(btree::WriteOp{_context, Mode::kReplace, key, value}); }
  //! Calls `change(std::span<std::byte> value)` with the value in place, under its exclusive latch; what
  //! `change` writes, stays, even if it then throws. It must not use the pool. False if the key is not there.
  //! Error kTooLarge for a value of more than one extent of 1 MiB, which has no single place.
  template <typename F>
  bool update(Bytes key, F&& change) {
    return run(btree::UpdateOp{_context, key, change});
  }
  //! Removes the entry. False if the key is not there.
  bool erase(Bytes key) { return run(btree::EraseOp{_context, key}); }

  [[nodiscard]] auto insert(Worker& worker, Bytes key, Bytes value);
  [[nodiscard]] auto upsert(Worker& worker, Bytes key, Bytes value);
  [[nodiscard]] auto replace(Worker& worker, Bytes key, Bytes value);
  template <typename F>
  [[nodiscard]] auto update(Worker& worker, Bytes key, F&& change);
  [[nodiscard]] auto erase(Worker& worker, Bytes key);
  //! @}

  //! \name Look-ups
  //! @{

  //! Copies the value to `buffer`, as much as fits, and returns its whole length; nullopt if the key is not
  //! there. What the buffer holds is a validated copy once the call has returned a length, and undefined
  //! otherwise.
  [[nodiscard]] std::optional<std::size_t> lookup(Bytes key, std::span<std::byte> buffer) const {
    return run(btree::LookupIntoOp{_context, key, buffer});
  }
  //! Calls `use(Bytes value)` once with a validated copy. False if the key is not there.
  template <typename F>
  requires std::is_invocable_v<F&, Bytes>
  bool lookup(Bytes key, F&& use) const {
    return run(btree::LookupWithOp<F>{_context, key, std::forward<F>(use)});
  }
  //! The value as a string; nullopt if the key is not there.
  [[nodiscard]] std::optional<std::string> get(Bytes key) const { return run(btree::GetOp{_context, key}); }

  //! Looks many keys up: calls use(std::size_t index, std::optional<Bytes> value) once for each, in no particular order,
  //! with a validated copy, or nullopt if the key is not there. Several look-ups go on at a time, so that their cache
  //! misses overlap, and pages that are not resident are read together. No latch is held: `use` may use the tree.
  template <typename F>
  void lookup_each(std::span<const Bytes> keys, F&& use) const;
  //! `keys` and what `use` refers to must outlive the task.
  template <typename F>
  [[nodiscard]] Task<> lookup_each(Worker& worker, std::span<const Bytes> keys, F use) const;

  [[nodiscard]] auto lookup(Worker& worker, Bytes key, std::span<std::byte> buffer) const;
  template <typename F>
  requires std::is_invocable_v<F&, Bytes>
  [[nodiscard]] auto lookup(Worker& worker, Bytes key, F&& use) const;
  [[nodiscard]] auto get(Worker& worker, Bytes key) const;
  //! @}

  //! \name Scans
  //! They run beside writers: each leaf is seen as it was at one moment, the whole is no snapshot. An entry
  //! that is there all the time is seen exactly once; nothing is seen out of order.
  //! @{

  //! Calls `visit(Bytes key, Bytes value)`, upwards or downwards from `from`, until it returns false. The
  //! bytes are a private copy, for the time of the call. Returns the number of calls. No latch is held:
  //! `visit` may use the tree.
  template <typename F>
  std::uint64_t scan(const Bound& from, F&& visit) const {
    return run(btree::ScanOp<F>{_context, Direction::kAscending, from, std::forward<F>(visit)});
  }
  template <typename F>
  std::uint64_t scan_descending(const Bound& from, F&& visit) const {
    return run(btree::ScanOp<F>{_context, Direction::kDescending, from, std::forward<F>(visit)});
  }
  template <typename F>
  [[nodiscard]] auto scan(Worker& worker, const Bound& from, F&& visit) const;
  template <typename F>
  [[nodiscard]] auto scan_descending(Worker& worker, const Bound& from, F&& visit) const;

  class Cursor;
  //! @}

  //! Entries, counted leaf by leaf. Waits for I/O.
  [[nodiscard]] std::uint64_t count() const { return run(btree::CountOp{_context}); }
  [[nodiscard]] auto count(Worker& worker) const;

  //! Walks the whole tree and checks order, fences, levels and page ids; no one may change it meanwhile.
  //! Throws Error kCorrupt with the page that is wrong. Waits for I/O.
  [[nodiscard]] BTreeShape verify() const;

 private:
  mutable btree::TreeContext _context;
};

template <typename Op>
class BTree::Awaiter {
 public:
  template <typename... Args>
  explicit Awaiter(Worker& worker, Args&&... args)
      : _op(std::forward<Args>(args)...), _perform(worker, _op) {}
  Awaiter(const Awaiter&) = delete;
  Awaiter& operator=(const Awaiter&) = delete;

  [[nodiscard]] bool await_ready() { return _perform.await_ready(); }
  void await_suspend(std::coroutine_handle<> task) { _perform.await_suspend(task); }
  auto await_resume() {
    try {
      _perform.await_resume();
    } catch (const Error&) {
      if (!_op.committed()) throw;
    }
    return _op.result();
  }

 private:
  Op _op;
  Worker::PerformAwaiter<Op> _perform;
};

//! A scan that its user drives, entry by entry. Belongs to one thread or task at a time.
class BTree::Cursor {
 public:
  Cursor(const BTree& tree, Direction direction, const Bound& from)
      : _tree(tree), _state(tree._context, direction, from) {}

  //! Goes on to the first or next entry. False at the end. Waits for I/O.
  bool next() {
    _tree.pool().perform(_state);
    return _state.valid();
  }
  //! The same, to be awaited.
  [[nodiscard]] auto next(Worker& worker) { return NextAwaiter{worker, _state}; }

  //! After next() was true, until the next call of it: private copies.
  [[nodiscard]] Bytes key() const noexcept { return _state.key(); }
  [[nodiscard]] Bytes value() const noexcept { return _state.value(); }

 private:
  class NextAwaiter {
   public:
    NextAwaiter(Worker& worker, btree::ScanState& state) : _state(state), _perform(worker, state) {}
    [[nodiscard]] bool await_ready() { return _perform.await_ready(); }
    void await_suspend(std::coroutine_handle<> task) { _perform.await_suspend(task); }
    [[nodiscard]] bool await_resume() {
      _perform.await_resume();
      return _state.valid();
    }

   private:
    btree::ScanState& _state;
    Worker::PerformAwaiter<btree::ScanState> _perform;
  };

  const BTree& _tree;
  btree::ScanState _state;
};

inline auto BTree::insert(Worker& worker, Bytes key, Bytes value) {
  return Awaiter<btree::WriteOp>{worker, _context, Mode::kInsert, key, value};
}
inline auto BTree::upsert(Worker& worker, Bytes key, Bytes value) {
  return Awaiter<btree::WriteOp>{worker, _context, Mode::kUpsert, key, value};
}
inline auto BTree::replace(Worker& worker, Bytes key, Bytes value) {
  return Awaiter<btree::WriteOp>{worker, _context, Mode::kReplace, key, value};
}
template <typename F>
auto BTree::update(Worker& worker, Bytes key, F&& change) {
  return Awaiter<btree::UpdateOp>{worker, _context, key, change};
}
inline auto BTree::erase(Worker& worker, Bytes key) {
  return Awaiter<btree::EraseOp>{worker, _context, key};
}
inline auto BTree::lookup(Worker& worker, Bytes key, std::span<std::byte> buffer) const {
  return Awaiter<btree::LookupIntoOp>{worker, _context, key, buffer};
}
template <typename F>
requires std::is_invocable_v<F&, Bytes>
auto BTree::lookup(Worker& worker, Bytes key, F&& use) const {
  return Awaiter<btree::LookupWithOp<F>>{worker, _context, key, std::forward<F>(use)};
}
template <typename F>
void BTree::lookup_each(std::span<const Bytes> keys, F&& use) const {
  for (std::size_t first = 0; first < keys.size(); first += btree::LookupGroup::kSize) {
    const auto chunk = keys.subspan(first, std::min(btree::LookupGroup::kSize, keys.size() - first));
    const auto use_at = [&](std::size_t index, std::optional<Bytes> value) { use(first + index, value); };
    btree::LookupGroup group{_context, chunk};
    group.pass(use_at);
    for (unsigned passes = 0; !group.missing().empty() && passes < btree::kGroupPasses; ++passes) {
      try {
        pool().prefetch(group.missing());
      } catch (const Error&) {
        break;  // the look-up it concerns will find it and say so
      }
      group.pass(use_at);
    }
    for (std::size_t i = 0; i < group.pending(); ++i) {
      const std::size_t index = group.pending_key(i);
      const bool found = lookup(chunk[index], [&](Bytes value) { use_at(index, value); });
      if (!found) use_at(index, std::nullopt);
    }
  }
}
template <typename F>
Task<> BTree::lookup_each(Worker& worker, std::span<const Bytes> keys, F use) const {
  for (std::size_t first = 0; first < keys.size(); first += btree::LookupGroup::kSize) {
    const auto chunk = keys.subspan(first, std::min(btree::LookupGroup::kSize, keys.size() - first));
    const auto use_at = [&](std::size_t index, std::optional<Bytes> value) { use(first + index, value); };
    btree::LookupGroup group{_context, chunk};
    group.pass(use_at);
    for (unsigned passes = 0; !group.missing().empty() && passes < btree::kGroupPasses; ++passes) {
      try {
        co_await worker.prefetch(group.missing());
      } catch (const Error&) {
        break;
      }
      group.pass(use_at);
    }
    for (std::size_t i = 0; i < group.pending(); ++i) {
      const std::size_t index = group.pending_key(i);
      const auto use_one = [&](Bytes value) { use_at(index, value); };
      if (!(co_await lookup(worker, chunk[index], use_one))) use_at(index, std::nullopt);
    }
  }
}
inline auto BTree::get(Worker& worker, Bytes key) const {
  return Awaiter<btree::GetOp>{worker, _context, key};
}
template <typename F>
auto BTree::scan(Worker& worker, const Bound& from, F&& visit) const {
  return Awaiter<btree::ScanOp<F>>{worker, _context, Direction::kAscending, from, std::forward<F>(visit)};
}
template <typename F>
auto BTree::scan_descending(Worker& worker, const Bound& from, F&& visit) const {
  return Awaiter<btree::ScanOp<F>>{worker, _context, Direction::kDescending, from, std::forward<F>(visit)};
}
inline auto BTree::count(Worker& worker) const {
  return Awaiter<btree::CountOp>{worker, _context};
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/bytes.hpp"
#include "vmcache/detail/btree/cursor.hpp"
#include "vmcache/detail/btree/lookup_group.hpp"
#include "vmcache/detail/btree/read_operations.hpp"
#include "vmcache/detail/btree/tree_context.hpp"
#include "vmcache/detail/btree/write_operations.hpp"
#include "vmcache/export.hpp"
#include "vmcache/function_ref.hpp"
#include "vmcache/worker.hpp"

namespace VMCACHE_EXPORT vmcache {

//! What verify() found.
struct BTreeShape {
  std::uint64_t entries = 0;
  std::uint64_t leaf_pages = 0;
  std::uint64_t inner_pages = 0;
  std::uint64_t large_pages = 0;    //!< pages of the extents of large values
  std::uint64_t orphan_pages = 0;   //!< pages that could not be given back yet
  std::uint64_t payload_bytes = 0;  //!< bytes in use in leaves, without fences
  unsigned levels = 0;              //!< 1: the root is a leaf

  //! All pages of the tree.
  [[nodiscard]] std::uint64_t pages() const noexcept {
    return leaf_pages + inner_pages + large_pages + orphan_pages;
  }
};

//! A B+tree in the pages of a pool, or of a PagedFile in one. Keys are byte strings of 0 to kMaxKey
//! bytes, ordered byte by byte. Values have 0 to kMaxValue bytes. Nodes are single pages. A value
//! of more than a quarter page lies in extents of its own, and so does one that is too long to lie
//! beside its key. Internals: vmcache/detail/btree/node_layout.hpp, descent.hpp,
//! write_operations.hpp.
//!
//! Threads. Any thread may make any call at any time, also through several BTree objects of one
//! root. The blocking calls wait for I/O and latches. The forms that take a Worker are for its
//! tasks: they suspend the task instead, and allocate nothing unless the value is large. Keys and
//! values passed to them must live until the co_await ends; temporaries in its expression do.
//!
//! Errors are thrown as Error: kTooLarge (it names the limit), kCorrupt, and what the pool throws.
//! Unless said otherwise the content of the tree is then as before. A change that is complete but
//! ended in an error may leave pages that were not given back. The tree keeps them, and later
//! changes try again.
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

  //! Awaits an operation. It holds the operation, so there is no coroutine frame.
  template <typename Op>
  class Awaiter;

  //! Creates an empty tree and returns the page id of its root, which never changes. Waits for a
  //! frame.
  [[nodiscard]] static PageId create(BufferPool& pool);

  //! Does the same, and calls `made(root)` before it releases the new root's latch, for the log. If
  //! `made` throws, the creation is undone.
  [[nodiscard]] static PageId create(BufferPool& pool, FunctionRef<void(PageId)> made);

  //! Opens the tree with this root. Reads nothing: if there is no tree, the first call throws
  //! kCorrupt.
  BTree(BufferPool& pool, PageId root) : _context(pool, root) {}

  [[nodiscard]] BufferPool& pool() const noexcept { return _context.pool(); }
  [[nodiscard]] PageId root() const noexcept { return _context.root(); }

  //! \name Changes
  //! @{

  //! Adds the entry if the key does not exist. False if it does.
  bool insert(Bytes key, Bytes value) {
    return run(btree::WriteOp{_context, Mode::kInsert, key, value});
  }
  //! Adds the entry or gives it a new value. True if the key did not exist.
  bool upsert(Bytes key, Bytes value) {
    return run(btree::WriteOp{_context, Mode::kUpsert, key, value});
  }
  //! True if this value, with this key, would lie in extents of its own.
  [[nodiscard]] static constexpr bool is_large(Bytes key, Bytes value) noexcept {
    return btree::is_large(key.size(), value.size());
  }
  //! Takes extents for a large value and fills them, so that upsert() needs none. Throws Error as
  //! upsert() does.
  [[nodiscard]] btree::PlacedValue place(Bytes value) {
    return run(btree::PlaceOp{_context, value});
  }
  //! Like upsert(key, value), with a value that place() of this tree returned.
  bool upsert(Bytes key, btree::PlacedValue&& value) {
    return run(btree::WriteOp{_context, Mode::kUpsert, key, std::move(value)});
  }
  //! Maximum number of levels that this object has seen the tree have; 1: the root is a leaf. Waits
  //! for I/O the first time.
  [[nodiscard]] unsigned max_levels() const;
  //! The name of max_levels() before 0.2.0.
  [[deprecated("use max_levels()"), nodiscard]] unsigned most_levels() const {
    return max_levels();
  }
  //! Gives the entry a new value of any length. False if the key does not exist.
  bool replace(Bytes key, Bytes value) {
    return run(btree::WriteOp{_context, Mode::kReplace, key, value});
  }
  //! Calls `change(std::span<std::byte> value)` with the value in place, under its exclusive latch.
  //! What `change` writes stays, even if it then throws. It must not use the pool. False if the key
  //! does not exist. Throws Error kTooLarge for a value of more than one extent of 1 MiB, because
  //! it does not lie in one place.
  template <typename F>
  bool update(Bytes key, F&& change) {
    return run(btree::UpdateOp{_context, key, change});
  }
  //! Removes the entry. False if the key does not exist.
  bool erase(Bytes key) { return run(btree::EraseOp{_context, key}); }

  [[nodiscard]] auto insert(Worker& worker, Bytes key, Bytes value);
  [[nodiscard]] auto upsert(Worker& worker, Bytes key, Bytes value);
  [[nodiscard]] auto place(Worker& worker, Bytes value);
  [[nodiscard]] auto upsert(Worker& worker, Bytes key, btree::PlacedValue&& value);
  [[nodiscard]] auto replace(Worker& worker, Bytes key, Bytes value);
  template <typename F>
  [[nodiscard]] auto update(Worker& worker, Bytes key, F&& change);
  [[nodiscard]] auto erase(Worker& worker, Bytes key);
  //! @}

  //! \name Look-ups
  //! @{

  //! Copies the value to `buffer`, as much as fits, and returns its whole length; nullopt if the
  //! key does not exist. Once the call has returned a length, the buffer holds a validated copy.
  //! Otherwise its content is undefined.
  [[nodiscard]] std::optional<std::size_t> lookup(Bytes key, std::span<std::byte> buffer) const {
    return run(btree::LookupIntoOp{_context, key, buffer});
  }
  //! Calls `use(Bytes value)` once with a validated copy. False if the key does not exist.
  template <typename F>
  requires std::is_invocable_v<F&, Bytes>
  bool lookup(Bytes key, F&& use) const {
    return run(btree::LookupWithOp<F>{_context, key, std::forward<F>(use)});
  }
  //! The value as a string; nullopt if the key does not exist.
  [[nodiscard]] std::optional<std::string> get(Bytes key) const {
    return run(btree::GetOp{_context, key});
  }

  //! The same, in a pool with page headers and a log. What was read is durable once the log is
  //! durable up to `lsn`.
  [[nodiscard]] std::optional<std::string> get(Bytes key, Lsn& lsn) const {
    return run(btree::GetWithLsnOp{_context, key, lsn});
  }

  //! Looks up many keys. Calls use(std::size_t index, std::optional<Bytes> value) once for each, in
  //! no particular order, with a validated copy, or with nullopt if the key does not exist. Several
  //! look-ups run at a time, so that their cache misses overlap, and pages that are not resident
  //! are read together. No latch is held, so `use` may use the tree.
  template <typename F>
  void lookup_each(std::span<const Bytes> keys, F&& use) const;
  //! The same in a task. `keys`, and what `use` refers to, must outlive the task.
  template <typename F>
  [[nodiscard]] Task<> lookup_each(Worker& worker, std::span<const Bytes> keys, F use) const;

  [[nodiscard]] auto lookup(Worker& worker, Bytes key, std::span<std::byte> buffer) const;
  template <typename F>
  requires std::is_invocable_v<F&, Bytes>
  [[nodiscard]] auto lookup(Worker& worker, Bytes key, F&& use) const;
  [[nodiscard]] auto get(Worker& worker, Bytes key) const;
  [[nodiscard]] auto get(Worker& worker, Bytes key, Lsn& lsn) const;
  //! @}

  //! \name Scans
  //! Scans run beside writers. Each leaf is seen as it was at one moment; the whole scan is no
  //! snapshot. An entry that exists all the time is seen exactly once. Entries come in order.
  //! @{

  //! Calls `visit(Bytes key, Bytes value)`, upwards or downwards from `from`, until it returns
  //! false. Returns the number of calls. The bytes are a private copy, valid during the call. No
  //! latch is held, so `visit` may use the tree.
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

  //! Number of entries, counted leaf by leaf. Waits for I/O.
  [[nodiscard]] std::uint64_t count() const { return run(btree::CountOp{_context}); }
  [[nodiscard]] auto count(Worker& worker) const;

  //! Walks the whole tree and checks order, fences, levels and page ids. Nobody may change the tree
  //! meanwhile. Throws Error kCorrupt with the page that is wrong. Waits for I/O.
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
  detail::PerformAwaiter<Op> _perform;
};

//! A scan that its user moves from entry to entry. Only one thread or task at a time may use it.
class BTree::Cursor {
 public:
  Cursor(const BTree& tree, Direction direction, const Bound& from)
      : _tree(tree), _state(tree._context, direction, from) {}

  //! Moves to the first or next entry. False at the end. Waits for I/O.
  bool next() {
    _tree.pool().perform(_state);
    return _state.valid();
  }
  //! The same, to be awaited.
  [[nodiscard]] auto next(Worker& worker) { return NextAwaiter{worker, _state}; }

  //! Private copies, valid after next() returned true and until its next call.
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
    detail::PerformAwaiter<btree::ScanState> _perform;
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
inline auto BTree::place(Worker& worker, Bytes value) {
  return Awaiter<btree::PlaceOp>{worker, _context, value};
}
inline auto BTree::upsert(Worker& worker, Bytes key, btree::PlacedValue&& value) {
  return Awaiter<btree::WriteOp>{worker, _context, Mode::kUpsert, key, std::move(value)};
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
  using Lacks = typename btree::LookupEach<std::remove_reference_t<F>>::Lacks;
  btree::LookupEach<std::remove_reference_t<F>> each{_context, keys, use};
  for (;;) {
    const Lacks lacks = each.run();
    if (lacks == Lacks::kNothing) return;
    if (lacks == Lacks::kKey) {
      const bool found = lookup(each.key(), [&](Bytes value) { each.give(value); });
      if (!found) each.give(std::nullopt);
      continue;
    }
    try {
      pool().prefetch(each.pages());
    } catch (const Error&) {
      each.stop_waiting_for_pages();
    }
  }
}
template <typename F>
Task<> BTree::lookup_each(Worker& worker, std::span<const Bytes> keys, F use) const {
  using Lacks = typename btree::LookupEach<F>::Lacks;
  btree::LookupEach<F> each{_context, keys, use};
  for (;;) {
    const Lacks lacks = each.run();
    if (lacks == Lacks::kNothing) co_return;
    if (lacks == Lacks::kKey) {
      const auto give = [&](Bytes value) { each.give(value); };
      if (!(co_await lookup(worker, each.key(), give))) each.give(std::nullopt);
      continue;
    }
    try {
      co_await worker.prefetch(pool(), each.pages());
    } catch (const Error&) {
      each.stop_waiting_for_pages();
    }
  }
}
inline auto BTree::get(Worker& worker, Bytes key) const {
  return Awaiter<btree::GetOp>{worker, _context, key};
}
inline auto BTree::get(Worker& worker, Bytes key, Lsn& lsn) const {
  return Awaiter<btree::GetWithLsnOp>{worker, _context, key, lsn};
}
template <typename F>
auto BTree::scan(Worker& worker, const Bound& from, F&& visit) const {
  return Awaiter<btree::ScanOp<F>>{worker, _context, Direction::kAscending, from,
                                   std::forward<F>(visit)};
}
template <typename F>
auto BTree::scan_descending(Worker& worker, const Bound& from, F&& visit) const {
  return Awaiter<btree::ScanOp<F>>{worker, _context, Direction::kDescending, from,
                                   std::forward<F>(visit)};
}
inline auto BTree::count(Worker& worker) const {
  return Awaiter<btree::CountOp>{worker, _context};
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <memory>
#include <utility>

#include "vmcache/detail/btree/key_buffer.hpp"
#include "vmcache/detail/btree/read_operations.hpp"
#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

//! Where a scan begins. The key's bytes are needed only while a call that takes a bound runs.
struct Bound {
  Bytes key;
  bool inclusive = true;
  bool everything = false;

  //! From the key itself, if it is there.
  [[nodiscard]] static Bound at(Bytes key) noexcept { return {key, true, false}; }
  //! From the next key, in the direction of the scan.
  [[nodiscard]] static Bound beyond(Bytes key) noexcept { return {key, false, false}; }
  //! From the first key, or for a descending scan from the last.
  [[nodiscard]] static Bound all() noexcept { return {{}, true, true}; }
};

enum class Direction : std::uint8_t { kAscending, kDescending };

namespace btree {

//! A scan in progress. It copies one leaf at a time and shows the entries of the copy. To reach the
//! next leaf it descends again, towards the fence of the copy. It holds no latch meanwhile, so
//! leaves may split and merge. All entries of one copy were in the tree at one moment. An entry
//! that is in the tree all the time is shown exactly once.
class ScanState {
 public:
  ScanState(const TreeContext& tree, Direction direction, const Bound& from) noexcept;
  ScanState(const ScanState&) = delete;
  ScanState& operator=(const ScanState&) = delete;

  //! Stops before the next leaf when it is others' turn.
  void heed(const detail::Safepoint* safepoint) noexcept { _safepoint = safepoint; }
  //! Moves to the next entry. Once it returns Need::nothing(), valid() says whether there is one.
  [[nodiscard]] Need step(BufferPool& pool);
  void supply(ExclusiveGuard&&) noexcept {}
  [[nodiscard]] BufferPool& pool() const noexcept { return _tree.pool(); }
  [[nodiscard]] bool committed() const noexcept { return false; }

  [[nodiscard]] bool valid() const noexcept { return _valid; }
  [[nodiscard]] bool result() const noexcept { return _valid; }
  [[nodiscard]] Bytes key() const noexcept { return _key.key(); }
  [[nodiscard]] Bytes value() const noexcept { return _value; }
  //! Copies the next leaf; left_in_leaf() is then its number of entries. For counting.
  [[nodiscard]] Need next_leaf(BufferPool& pool);
  [[nodiscard]] bool at_end() const noexcept { return _at_end; }
  [[nodiscard]] unsigned left_in_leaf() const noexcept { return _left; }

 private:
  [[nodiscard]] NodeReader leaf() const noexcept { return NodeReader{_page.data()}; }
  [[nodiscard]] bool ascending() const noexcept { return _direction == Direction::kAscending; }
  void place_in_leaf() noexcept;
  [[nodiscard]] bool advances() const noexcept;
  void remember_fence() noexcept;
  void take_entry();
  [[nodiscard]] bool take_large(BufferPool& pool, Need& need);

  const TreeContext& _tree;
  Direction _direction;
  bool _valid = false;
  bool _at_end = false;
  bool _inclusive;
  bool _unbounded;
  unsigned _next = 0;  //!< slot of the next entry
  unsigned _left = 0;  //!< entries left in the copy
  KeyBuffer _bound;    //!< where the next leaf begins
  KeyBuffer _key;
  Bytes _value;
  const detail::Safepoint* _safepoint = nullptr;
  std::unique_ptr<LookupOp<OwnBuffer>> _large;  //!< the current value, if it is large
  bool _large_pending = false;
  alignas(8) std::array<std::byte, kPageSize> _page;
};

//! Hands entries to a function until it returns false.
template <typename F>
class ScanOp {
 public:
  ScanOp(const TreeContext& tree, Direction direction, const Bound& from, F&& visit)
      : _state(tree, direction, from), _visit(std::forward<F>(visit)) {}

  void heed(const detail::Safepoint* safepoint) noexcept { _state.heed(safepoint); }
  [[nodiscard]] Need step(BufferPool& pool) {
    for (;;) {
      if (const Need need = _state.step(pool); !need.done()) return need;
      if (!_state.valid()) return Need::nothing();
      ++_visited;
      if (!_visit(_state.key(), _state.value())) return Need::nothing();
    }
  }
  void supply(ExclusiveGuard&&) noexcept {}
  [[nodiscard]] BufferPool& pool() const noexcept { return _state.pool(); }
  [[nodiscard]] bool committed() const noexcept { return false; }
  //! Entries handed out.
  [[nodiscard]] std::uint64_t result() const noexcept { return _visited; }

 private:
  ScanState _state;
  F _visit;
  std::uint64_t _visited = 0;
};

//! Counts entries leaf by leaf.
class CountOp {
 public:
  explicit CountOp(const TreeContext& tree) noexcept
      : _state(tree, Direction::kAscending, Bound::all()) {}
  void heed(const detail::Safepoint* safepoint) noexcept { _state.heed(safepoint); }
  [[nodiscard]] Need step(BufferPool& pool);
  void supply(ExclusiveGuard&&) noexcept {}
  [[nodiscard]] BufferPool& pool() const noexcept { return _state.pool(); }
  [[nodiscard]] bool committed() const noexcept { return false; }
  [[nodiscard]] std::uint64_t result() const noexcept { return _count; }

 private:
  ScanState _state;
  std::uint64_t _count = 0;
};

}  // namespace btree
}  // namespace vmcache

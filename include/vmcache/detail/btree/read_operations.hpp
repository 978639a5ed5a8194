// SPDX-License-Identifier: MIT
//
// Operations that read. BTree's calls wrap them. They are in a header so that a hit can be inlined.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vmcache/detail/btree/descent.hpp"
#include "vmcache/detail/btree/large_value.hpp"
#include "vmcache/export.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT btree {

//! Where a look-up puts the value: the caller's memory.
class CallerBuffer {
 public:
  explicit CallerBuffer(std::span<std::byte> to) noexcept : _to(to) {}
  //! Memory for a value of `size` bytes, or less if there is not enough.
  [[nodiscard]] std::span<std::byte> room(std::size_t size) noexcept {
    return _to.first(size < _to.size() ? size : _to.size());
  }

 private:
  std::span<std::byte> _to;
};

//! Where a look-up puts the value: a buffer of its own for inline values, the heap for large ones.
class OwnBuffer {
 public:
  OwnBuffer() noexcept {}  // NOLINT: the bytes stay as they are
  [[nodiscard]] std::span<std::byte> room(std::size_t size) {
    if (size <= _inline.size()) [[likely]]
      return std::span{_inline}.first(size);
    _heap.resize(size);
    return _heap;
  }
  [[nodiscard]] Bytes bytes(std::size_t size) const noexcept {
    return {size <= _inline.size() ? _inline.data() : _heap.data(), size};
  }

 private:
  std::array<std::byte, kMaxInlineValue> _inline;
  std::vector<std::byte> _heap;
};

//! The same, with the LSN of the leaf. It is not less than the LSN of the change that wrote or
//! removed the entry.
class BufferWithLsn : public OwnBuffer {
 public:
  void note_leaf(const std::byte* page) noexcept {
    _lsn = __atomic_load_n(reinterpret_cast<const Lsn*>(page + offsetof(PageHeader, lsn)),
                           __ATOMIC_RELAXED);
  }
  [[nodiscard]] Lsn lsn() const noexcept { return _lsn; }

 private:
  Lsn _lsn = 0;
};

//! Looks a key up and copies its value. `key` must outlive the operation.
template <typename Buffer>
class LookupOp {
 public:
  template <typename... Args>
  LookupOp(const TreeContext& tree, Bytes key, Args&&... buffer) noexcept
      : _tree(tree), _key(key), _buffer(std::forward<Args>(buffer)...) {}

  [[nodiscard]] Need step(BufferPool& pool) {
    if (_last_step.kept()) [[unlikely]]
      return go_on(pool);
    return look_up(pool);
  }
  void supply(ExclusiveGuard&&) noexcept {}
  [[nodiscard]] BufferPool& pool() const noexcept { return _tree.pool(); }

  [[nodiscard]] bool found() const noexcept { return _found; }
  //! Bytes of the whole value, even if the buffer was smaller.
  [[nodiscard]] std::size_t size() const noexcept { return _size; }
  [[nodiscard]] const Buffer& buffer() const noexcept { return _buffer; }
  //! A look-up changes nothing.
  [[nodiscard]] bool committed() const noexcept { return false; }

 private:
  //! Looks up from the root.
  [[nodiscard, gnu::always_inline]] Need look_up(BufferPool& pool) {
    for (unsigned restarts = 0; restarts < kRestartsInStep; ++restarts) {
      Spot spot;
      const Need need = descend_once(_tree, TowardsKey{_key}, 0, spot);
      if (need.done()) [[likely]] {
        if (_tree.may_be_applying(NodeReader{spot.node.data()}.lsn())) [[unlikely]]
          return read_recent_leaf(pool, spot.node);
        Need more;
        if (read_leaf(pool, spot.node, more)) [[likely]]
          return more;
      } else if (need.kind != Need::Kind::kLatch) {
        _last_step.keep(need, spot);
        return need;
      }
      relax();
    }
    return Need::latch();
  }
  //! Continues where the last step ended.
  [[nodiscard, gnu::noinline]] Need go_on(BufferPool& pool) {
    if (_last_step.commit() != 0) {
      // This waits no longer than for that commit: a later commit of the same key has another
      // number (V3).
      if (_tree.still_on(_key, _last_step.commit())) return Need::latch();
      _last_step.forget();
      return Need::nothing();
    }
    Spot spot;
    if (_last_step.take(pool, spot)) {
      if (const Need need = read_recent_leaf(pool, spot.node);
          need.kind != Need::Kind::kLatch || _last_step.kept())
        return need;
    }
    return look_up(pool);
  }
  //! Like read_leaf(), for a leaf that may hold changes of a commit that is being applied. The
  //! result is held back until that commit has been applied (V1).
  [[nodiscard, gnu::noinline]] Need read_recent_leaf(BufferPool& pool,
                                                     const OptimisticGuard& guard) {
    const Lsn lsn = NodeReader{guard.data()}.lsn();
    Need more;
    if (!read_leaf(pool, guard, more)) return Need::latch();
    if (!more.done() || !_tree.may_be_applying(lsn)) return more;
    const std::uint64_t commit = _tree.commit_on(_key, lsn);
    if (commit == 0) return more;
    _last_step.await(commit);
    return Need::latch();
  }

  //! Reads the entry. False if the leaf has changed meanwhile.
  [[nodiscard]] bool read_leaf(BufferPool& pool, const OptimisticGuard& guard, Need& more) {
    const NodeReader leaf{guard.data()};
    if constexpr (requires { _buffer.note_leaf(guard.data()); }) _buffer.note_leaf(guard.data());
    const NodeReader::Position position = leaf.lower_bound(_key);
    if (!position.found) {
      _found = false;
      return guard.validate();
    }
    const NodeReader::Value value = leaf.value(position.index);
    if (value.large) [[unlikely]]
      return read_large(pool, guard, value, more);
    if (value.size > kMaxInlineValue) [[unlikely]]
      return changed_or_corrupt(guard);
    const std::span<std::byte> to = _buffer.room(value.size);
    NodeReader::copy(to.data(), value.data, to.size());
    _found = true;
    _size = value.size;
    return guard.validate();
  }

  [[gnu::noinline]] bool read_large(BufferPool& pool, const OptimisticGuard& guard,
                                    const NodeReader::Value& value, Need& more) {
    std::array<std::byte, kMaxInlineValue> descriptor;  // NOLINT: filled by the copy
    if (value.size > descriptor.size()) return changed_or_corrupt(guard);
    NodeReader::copy(descriptor.data(), value.data, value.size);
    if (!guard.validate()) return false;
    LargeValue large{extent_front(pool)};
    if (!large.parse({descriptor.data(), value.size})) return changed_or_corrupt(guard);
    if (!_large || _large->value() != large)
      _large = std::make_unique<LargeReader>(std::move(large));
    _found = true;
    _size = _large->value().size();
    more = _large->copy(pool, _buffer.room(_size));
    return guard.validate();
  }

  static bool changed_or_corrupt(const OptimisticGuard& guard) {
    if (guard.validate()) throw_corrupt(guard.page_id(), "a leaf's value lies outside its bounds");
    return false;
  }

  const TreeContext& _tree;
  Bytes _key;
  LastStep _last_step;
  bool _found = false;
  std::size_t _size = 0;
  std::unique_ptr<LargeReader> _large;
  Buffer _buffer;
};

class LookupIntoOp : public LookupOp<CallerBuffer> {
 public:
  using LookupOp::LookupOp;
  [[nodiscard]] std::optional<std::size_t> result() const noexcept {
    return found() ? std::optional{size()} : std::nullopt;
  }
};

class GetOp : public LookupOp<OwnBuffer> {
 public:
  using LookupOp::LookupOp;
  [[nodiscard]] std::optional<std::string> result() const {
    return found() ? std::optional{std::string{buffer().bytes(size()).view()}} : std::nullopt;
  }
};

class GetWithLsnOp : public LookupOp<BufferWithLsn> {
 public:
  GetWithLsnOp(const TreeContext& tree, Bytes key, Lsn& lsn) noexcept
      : LookupOp(tree, key), _lsn(lsn) {}
  [[nodiscard]] std::optional<std::string> result() const {
    _lsn = buffer().lsn();
    return found() ? std::optional{std::string{buffer().bytes(size()).view()}} : std::nullopt;
  }

 private:
  Lsn& _lsn;
};

template <typename F>
class LookupWithOp : public LookupOp<OwnBuffer> {
 public:
  LookupWithOp(const TreeContext& tree, Bytes key, F&& use)
      : LookupOp(tree, key), _use(std::forward<F>(use)) {}
  bool result() {
    if (found()) _use(buffer().bytes(size()));
    return found();
  }

 private:
  F _use;
};

//! Copies the next leaf of a scan. The copy is of one version of the page.
class ReadLeafOp {
 public:
  enum class Towards : std::uint8_t {
    kKey,     //!< the leaf for `key`
    kBefore,  //!< the leaf for the greatest keys less than `key`
    kLast,    //!< the last leaf
  };
  //! `page` has kPageSize bytes, 8-byte aligned; it and `key` must outlive the operation.
  ReadLeafOp(const TreeContext& tree, Towards towards, Bytes key, std::byte* page) noexcept
      : _tree(tree), _towards(towards), _key(key), _page(page) {}

  [[nodiscard]] Need step(BufferPool& pool);
  void supply(ExclusiveGuard&&) noexcept {}
  [[nodiscard]] BufferPool& pool() const noexcept { return _tree.pool(); }

 private:
  [[nodiscard]] Need find(Spot& spot) const;

  const TreeContext& _tree;
  Towards _towards;
  Bytes _key;
  std::byte* _page;
};

}  // namespace btree
}  // namespace vmcache

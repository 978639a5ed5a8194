// SPDX-License-Identifier: MIT
//
// Operations that read. BTree's calls wrap them; they are here because a hit is to be inlined.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vmcache/btree/descent.hpp"
#include "vmcache/btree/large_value.hpp"

namespace vmcache::btree {

//! A place for a value: the caller's memory.
class CallerBuffer {
 public:
  explicit CallerBuffer(std::span<std::byte> to) noexcept : _to(to) {}
  //! As much memory as there is for a value of `size` bytes.
  [[nodiscard]] std::span<std::byte> room(std::size_t size) noexcept {
    return _to.first(size < _to.size() ? size : _to.size());
  }

 private:
  std::span<std::byte> _to;
};

//! A place for a value: a buffer of its own for what is inline, memory from the heap for what is large.
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

//! Looks a key up and copies its value. `key` must outlive the operation.
template <typename Buffer>
class LookupOp {
 public:
  template <typename... Args>
  LookupOp(const TreeContext& tree, Bytes key, Args&&... buffer) noexcept
      : _tree(tree), _key(key), _buffer(std::forward<Args>(buffer)...) {}

  [[nodiscard]] Need step(BufferPool& pool) {
    for (unsigned restarts = 0; restarts < kRestartsInStep; ++restarts) {
      Spot spot;
      const Need need =
          _last_step.take(pool, spot) ? Need::nothing() : descend_once(_tree, TowardsKey{_key}, 0, spot);
      if (need.done()) [[likely]] {
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
  void supply(ExclusiveGuard&&) noexcept {}

  [[nodiscard]] bool found() const noexcept { return _found; }
  //! Of the whole value, even if the buffer was smaller.
  [[nodiscard]] std::size_t size() const noexcept { return _size; }
  [[nodiscard]] const Buffer& buffer() const noexcept { return _buffer; }
  //! Nothing is ever changed.
  [[nodiscard]] bool committed() const noexcept { return false; }

 private:
  //! False if the leaf has changed meanwhile.
  [[nodiscard]] bool read_leaf(BufferPool& pool, const OptimisticGuard& guard, Need& more) {
    const NodeReader leaf{guard.data()};
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
    if (!_large || _large->value() != large) _large = std::make_unique<LargeReader>(std::move(large));
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

//! Copies the leaf in which a scan goes on: the unit of a scan. The copy is of one version of the page.
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

 private:
  [[nodiscard]] Need find(Spot& spot) const;

  const TreeContext& _tree;
  Towards _towards;
  Bytes _key;
  std::byte* _page;
};

}  // namespace vmcache::btree

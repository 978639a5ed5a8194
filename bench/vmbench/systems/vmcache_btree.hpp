// SPDX-License-Identifier: MIT
//
// The library's B+tree as a system's index: all operations, blocking and awaited.
#pragma once

#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <stdexcept>

#include "systems/system.hpp"
#include "vmcache/btree.hpp"

namespace vmbench {

//! A key as the tree orders it: big-endian bytes.
class KeyBytes {
 public:
  explicit KeyBytes(Key key) {
    const Key swapped = std::endian::native == std::endian::little ? __builtin_bswap64(key) : key;
    std::memcpy(_bytes.data(), &swapped, sizeof swapped);
  }
  // NOLINT: meant to convert.
  operator vmcache::Bytes() const { return {_bytes.data(), _bytes.size()}; }

 private:
  std::array<std::byte, sizeof(Key)> _bytes;
};

inline vmcache::Bytes value_bytes(const Value& value) {
  return {value.data(), value.size()};
}

//! For a scan: copies each value, which is what its caller gets, and stops after `length`.
class ScanVisitor {
 public:
  explicit ScanVisitor(unsigned length) : _left(length) {}
  bool operator()(vmcache::Bytes /*key*/, vmcache::Bytes value) {
    std::memcpy(_value.data(), value.data(), std::min(value.size(), _value.size()));
    asm volatile("" : : "r"(_value.data()) : "memory");
    return --_left != 0;
  }

 private:
  unsigned _left;
  Value _value;
};

class BTreeIndex {
 public:
  BTreeIndex(vmcache::BufferPool& pool, vmcache::PageId root) : _tree(pool, root) {}

  //! Inserts all loaded records in key order; returns the root.
  static vmcache::PageId build(vmcache::BufferPool& pool, const KeySpace& keys,
                               const std::function<void(std::uint64_t)>& progress) {
    const vmcache::PageId root = vmcache::BTree::create(pool);
    vmcache::BTree tree(pool, root);
    for (std::uint64_t record = 0; record < keys.loaded(); record++) {
      const Key key = keys.key(record);
      if (!tree.insert(KeyBytes(key), value_bytes(make_value(key, 0))))
        throw std::runtime_error("a key was there before it was loaded");
      if (record % (1u << 17) == 0) progress(record);
    }
    return root;
  }

  //! One operation in a task.
  vmcache::Task<void> execute(vmcache::Worker& worker, const Op op, ThreadContext& context) {
    const KeyBytes key(op.key);
    Value value;
    bool found = true;
    switch (op.kind) {
      case OpKind::kRead:
      case OpKind::kReadModifyWrite:
        found = (co_await _tree.lookup(worker, key, value)).has_value();
        if (found) check_value(op.key, value);
        if (op.kind == OpKind::kRead || !found) break;
        [[fallthrough]];
      case OpKind::kUpdate:
        value = make_value(op.key, context.source.random());
        found = co_await _tree.replace(worker, key, value_bytes(value));
        break;
      case OpKind::kInsert:
        value = make_value(op.key, context.source.random());
        co_await _tree.upsert(worker, key, value_bytes(value));
        break;
      case OpKind::kScan:
        found =
            co_await _tree.scan(worker, vmcache::Bound::at(key), ScanVisitor(op.scan_length)) != 0;
        break;
    }
    check_found(op, found, context.counters);
  }

  [[nodiscard]] vmcache::BTree& tree() { return _tree; }

 private:
  vmcache::BTree _tree;
};

//! The same, blocking.
class BTreeSession final : public Session {
 public:
  explicit BTreeSession(BTreeIndex& index) : _tree(index.tree()) {}

  bool read(Key key, Value& value) override {
    return _tree.lookup(KeyBytes(key), value).has_value();
  }
  bool update(Key key, const Value& value) override {
    return _tree.replace(KeyBytes(key), value_bytes(value));
  }
  void insert(Key key, const Value& value) override {
    _tree.upsert(KeyBytes(key), value_bytes(value));
  }
  unsigned scan(Key key, unsigned length) override {
    const KeyBytes from(key);
    return static_cast<unsigned>(_tree.scan(vmcache::Bound::at(from), ScanVisitor(length)));
  }

 private:
  vmcache::BTree& _tree;
};

}  // namespace vmbench

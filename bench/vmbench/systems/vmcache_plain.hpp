// SPDX-License-Identifier: MIT
//
// The peers' B+tree pages inside a vmcache pool, for lookups: the same accesses as through mmap and
// pread, so that a comparison is one of caches alone.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <stdexcept>

#include "plain/bulk_build.hpp"
#include "plain/page_format.hpp"
#include "systems/system.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/worker.hpp"

namespace vmbench {

//! One lookup as an operation of the pool: optimistic all the way, every value used only after
//! validation.
class PlainLookup {
 public:
  PlainLookup(vmcache::PageId root, Key key) : _root(root), _key(key) {}

  vmcache::Need step(vmcache::BufferPool& pool) {
    vmcache::PageId page_id = _root;
    for (;;) {
      vmcache::OptimisticGuard guard;
      const vmcache::TryFix result = pool.try_fix(page_id, guard);
      if (result != vmcache::TryFix::kFixed) return vmcache::Need::after(result, page_id);
      const bool is_leaf = plain::header(guard.data()).level == 0;
      if (is_leaf)
        read_leaf(plain::leaf(guard.data()));
      else
        page_id = child(plain::inner(guard.data()));
      if (!guard.validate()) return vmcache::Need::latch();
      if (is_leaf) return vmcache::Need::nothing();
    }
  }
  void supply(vmcache::ExclusiveGuard&&) {
    throw std::logic_error("a lookup asks for no new page");
  }

  [[nodiscard]] bool found() const { return _found; }
  [[nodiscard]] const Value& value() const { return _value; }

 private:
  void read_leaf(const plain::Leaf& page) {
    const unsigned count = std::min<unsigned>(page.header.count, plain::Leaf::kCapacity);
    const unsigned position = plain::lower_bound(page.keys, count, _key);
    _found = position < count && page.keys[position] == _key;
    if (_found) _value = page.values[position];
  }
  [[nodiscard]] vmcache::PageId child(const plain::Inner& page) const {
    const unsigned count = std::min<unsigned>(page.header.count, plain::Inner::kCapacity);
    return page.children[plain::child_index(page, count, _key)];
  }

  vmcache::PageId _root;
  Key _key;
  Value _value;
  bool _found = false;
};

//! Where BulkBuilder puts pages of a pool.
class PoolSink {
 public:
  explicit PoolSink(vmcache::BufferPool& pool) : _pool(pool) {}
  plain::PageNo allocate() { return _pool.allocate().page_id(); }
  void write(plain::PageNo page, const std::byte* bytes) {
    const vmcache::ExclusiveGuard guard = _pool.fix_exclusive(page);
    std::memcpy(guard.data(), bytes, plain::kPageBytes);
  }

 private:
  vmcache::BufferPool& _pool;
};

//! What a run does with the peers' page format: lookups only.
class PlainIndex {
 public:
  PlainIndex(vmcache::BufferPool& pool, vmcache::PageId root) : _pool(pool), _root(root) {}

  //! Returns the root.
  static vmcache::PageId build(vmcache::BufferPool& pool, const KeySpace& keys,
                               const std::function<void(std::uint64_t)>& progress) {
    PoolSink sink(pool);
    return plain::BulkBuilder(sink, keys).build(progress);
  }

  vmcache::Task<void> execute(vmcache::Worker& worker, const Op op, ThreadContext& context) {
    PlainLookup lookup(_root, op.key);
    co_await worker.perform(lookup);
    check_found(op, lookup.found(), context.counters);
    if (lookup.found()) check_value(op.key, lookup.value());
  }
  bool read(Key key, Value& value) {
    PlainLookup lookup(_root, key);
    _pool.perform(lookup);
    value = lookup.value();
    return lookup.found();
  }

 private:
  vmcache::BufferPool& _pool;
  vmcache::PageId _root;
};

//! The same, blocking.
class PlainSession final : public Session {
 public:
  explicit PlainSession(PlainIndex& index) : _index(index) {}

  bool read(Key key, Value& value) override { return _index.read(key, value); }
  bool update(Key, const Value&) override {
    throw std::logic_error("--index plain is for lookups");
  }
  void insert(Key, const Value&) override {
    throw std::logic_error("--index plain is for lookups");
  }
  unsigned scan(Key, unsigned) override { throw std::logic_error("--index plain is for lookups"); }

 private:
  PlainIndex& _index;
};

}  // namespace vmbench

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>

#include "vmcache/btree.hpp"
#include "vmcache/btree/bytes.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {

//! Applies the commits of a log again, in the log's order, by batches. A batch keeps the last change of each key, so that the order
//! inside it does not matter, and makes them by tasks: most wait for a leaf to be read, many at a time. One thread's.
class CommitRedo {
 public:
  using TreeOf = FunctionRef<BTree&(PageId root)>;

  //! Throws std::bad_alloc. `tree_of` must outlive it.
  CommitRedo(BufferPool& pool, TreeOf tree_of);

  //! Takes a commit record's body, and returns how many changes are in it. Throws Error: kCorrupt if it makes no sense, and what changing a
  //! tree throws.
  std::uint64_t add(Bytes body);
  //! Makes what is left.
  void finish();

 private:
  struct Key {
    BTree* tree;
    std::string_view bytes;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    [[nodiscard]] std::size_t operator()(const Key& key) const noexcept;
  };
  struct Change {
    bool erased = false;
    Bytes value;
  };
  using Changes = std::unordered_map<Key, Change, Hash>;

  Task<> make_changes(Worker& worker);

  BufferPool& _pool;
  const TreeOf _tree_of;
  const std::size_t _tasks;
  const std::unique_ptr<std::byte[]> _bytes;  // of the bodies
  std::size_t _used = 0;
  Changes _changes;
  Changes::const_iterator _next;  // to be made
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>

#include "recovery/log_format.hpp"
#include "recovery/small_buffer.hpp"
#include "vmcache/btree/bytes.hpp"

namespace vmcache {

//! What a transaction wants to change, in the form of a commit record's body. A key has one change, the last one. One thread's.
class WriteSet {
 public:
  struct Change {
    unsigned tree = 0;  //!< its index
    bool erased = false;
    Bytes key;
    Bytes value;
  };

  //! Adds a change, or replaces the one of the same key. `hash` is LockTable::hash_of(tree, key), `root` the tree's. No value:
  //! erased. Returns whether it was added. Throws std::bad_alloc, and then has changed nothing.
  bool set(std::uint64_t hash, unsigned tree, PageId root, Bytes key, std::optional<Bytes> value);
  //! Takes back the last set(), which has added a change.
  void remove_last() noexcept;
  //! The change of a key, if there is one; to be used before the next set().
  [[nodiscard]] std::optional<Change> find(std::uint64_t hash, unsigned tree, Bytes key) const;

  [[nodiscard]] bool empty() const noexcept { return _entries.empty(); }
  [[nodiscard]] std::size_t changes() const noexcept { return _entries.size(); }
  [[nodiscard]] Change change(std::size_t n) const noexcept;
  //! The commit record's.
  [[nodiscard]] Bytes body() const noexcept { return {_body.begin(), _body.size()}; }
  //! What set() of such a change adds to the body, if it replaces none.
  [[nodiscard]] static std::size_t size_of(Bytes key, const std::optional<Bytes>& value) noexcept {
    return sizeof(ChangeHeader) + key.size() + (value ? value->size() : 0);
  }
  void clear() noexcept;

 private:
  struct Entry {
    std::uint64_t hash = 0;
    std::uint32_t tree = 0;
    std::uint32_t at = 0;  // in _body
  };
  //! Up to so many changes are looked through one by one; then there is an index.
  static constexpr std::size_t kScanned = 32;
  //! A small transaction's.
  static constexpr std::size_t kFrontBytes = 512;
  static constexpr std::size_t kFrontChanges = 4;

  [[nodiscard]] std::size_t index_of(std::uint64_t hash, unsigned tree, Bytes key) const;
  [[nodiscard]] bool is(const Entry& entry, std::uint64_t hash, unsigned tree, Bytes key) const noexcept;
  void index(std::size_t n);
  void remove_bytes(std::size_t n) noexcept;

  SmallBuffer<std::byte, kFrontBytes> _body;
  SmallBuffer<Entry, kFrontChanges> _entries;
  std::unique_ptr<std::unordered_map<std::uint64_t, std::uint32_t>>
      _by_hash;  // to the first entry of the hash
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <unordered_map>

#include "recovery/log_format.hpp"
#include "recovery/small_buffer.hpp"
#include "vmcache/bytes.hpp"

namespace vmcache {

//! The changes of a transaction, in the form of a commit record's body. Of each key it keeps only
//! the last change. One thread's.
class WriteSet {
 public:
  struct Change {
    unsigned tree = 0;  //!< its index
    bool erased = false;
    Bytes key;
    Bytes value;
  };

  //! Adds a change, or replaces the one of the same key. `hash` is LockTable::hash_of(tree, key),
  //! and `root` is the tree's root. Without a value the key is erased. Returns true if the change
  //! was added. Throws std::bad_alloc, and has then changed nothing.
  bool set(std::uint64_t hash, unsigned tree, PageId root, Bytes key, std::optional<Bytes> value);
  //! Takes back the last set(), which must have added a change.
  void remove_last() noexcept;
  //! The change of a key, if there is one. Its bytes are valid until the next set().
  [[nodiscard]] std::optional<Change> find(std::uint64_t hash, unsigned tree, Bytes key) const;

  [[nodiscard]] bool empty() const noexcept { return _entries.empty(); }
  [[nodiscard]] std::size_t changes() const noexcept { return _entries.size(); }
  //! How many of the changes are erases.
  [[nodiscard]] std::size_t erases() const noexcept { return _erases; }
  [[nodiscard]] Change change(std::size_t n) const noexcept {
    const std::byte* const at = _body.begin() + _entries[n].at;
    ChangeHeader header;
    std::memcpy(&header, at, sizeof header);
    const Bytes key{at + sizeof header, header.key_bytes};
    return {_entries[n].tree,
            header.erased != 0,
            key,
            {key.data() + key.size(), static_cast<std::size_t>(header.value_bytes)}};
  }
  //! The body of the commit's record.
  [[nodiscard]] Bytes body() const noexcept { return {_body.begin(), _body.size()}; }
  //! Bytes that set() adds to the body if it replaces no change.
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
  //! Up to so many changes are searched one by one. With more there is an index.
  static constexpr std::size_t kScanned = 32;
  //! A small transaction's.
  static constexpr std::size_t kFrontBytes = 512;
  static constexpr std::size_t kFrontChanges = 4;

  [[nodiscard]] std::size_t index_of(std::uint64_t hash, unsigned tree, Bytes key) const;
  [[nodiscard]] bool is(const Entry& entry, std::uint64_t hash, unsigned tree,
                        Bytes key) const noexcept;
  void index(std::size_t n);
  void remove_bytes(std::size_t n) noexcept;

  std::uint32_t _erases = 0;
  SmallBuffer<std::byte, kFrontBytes> _body;
  SmallBuffer<Entry, kFrontChanges> _entries;
  std::unique_ptr<std::unordered_map<std::uint64_t, std::uint32_t>>
      _by_hash;  // to the first entry of the hash
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "vmcache/bytes.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

//! Remembers which commit has changed each key last. A key is represented by a salted hash of 128
//! bits. Two keys with the same hash are less likely than an error of the memory, and another
//! recovery has another salt. Keys are divided into parts, so that the memory is bounded.
class FinalChanges {
 public:
  //! Changes in one part, about. Their table takes 32 MiB.
  static constexpr std::uint64_t kChangesAPart = 400'000;

  struct Key {
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct Entry {
    Key key;
    Lsn commit = 0;  //!< 0: free
    bool made = false;
  };

  FinalChanges() {
    std::random_device random;
    for (std::uint64_t& salt : _salts) salt = (std::uint64_t{random()} << 32 | random()) | 1;
  }

  //! `changes` is the maximum number of changes. Each may be of another key.
  void begin(std::uint64_t changes) {
    _parts = (changes + kChangesAPart - 1) / kChangesAPart;
    // Half of the table stays empty. Parts differ a little in size. If one does not fit, the table
    // grows.
    const std::uint64_t in_part = changes / _parts;
    _entries.assign(std::bit_ceil(2 * (in_part + in_part / 8 + 8)), {});
    _count = 0;
  }
  [[nodiscard]] std::uint64_t parts() const noexcept { return _parts; }
  void begin_part(std::uint64_t part) {
    _part = part;
    _count = 0;
    _entries.assign(_entries.size(), {});
  }

  [[nodiscard]] Key key_of(PageId root, Bytes key) const noexcept {
    Key hash{root * _salts[0], root * _salts[1]};
    const std::byte* at = key.data();
    std::size_t left = key.size();
    for (; left >= sizeof(std::uint64_t);
         left -= sizeof(std::uint64_t), at += sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, at, sizeof word);
      mix(hash, word);
    }
    std::uint64_t last = 0;
    if (left > 0) std::memcpy(&last, at, left);
    mix(hash, last);
    mix(hash, key.size());
    mix(hash, _salts[2]);
    return hash;
  }
  [[nodiscard]] bool in_part(const Key& key) const noexcept { return key.second % _parts == _part; }

  //! Notes that `commit` has changed the key. Called in the order of the log.
  void note(const Key& key, Lsn commit) {
    if (2 * (_count + 1) > _entries.size()) grow();
    Entry& entry = _entries[place_of(key)];
    if (entry.commit == 0) ++_count;
    entry = {key, commit};
  }
  //! The key's entry, or null if `commit` was not the last one to change it.
  [[nodiscard]] Entry* find(const Key& key, Lsn commit) noexcept {
    Entry& entry = _entries[place_of(key)];
    return entry.commit == commit ? &entry : nullptr;
  }

 private:
  static std::uint64_t fold(std::uint64_t a, std::uint64_t b) noexcept {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
  void mix(Key& hash, std::uint64_t word) const noexcept {
    hash.first = fold(hash.first ^ word ^ _salts[2], _salts[0]) + std::rotl(word, 23);
    hash.second = fold(hash.second ^ word ^ _salts[3], _salts[1]) + std::rotl(word, 41);
  }
  //! The place of the key, or of a free entry. Half of the entries are free, so the search ends.
  [[nodiscard]] std::size_t place_of(const Key& key) const noexcept {
    const std::size_t mask = _entries.size() - 1;
    std::size_t at = key.first & mask;
    while (_entries[at].commit != 0 && _entries[at].key != key) at = (at + 1) & mask;
    return at;
  }
  void grow() {
    std::vector<Entry> old(2 * _entries.size());
    old.swap(_entries);
    for (const Entry& entry : old) {
      if (entry.commit != 0) _entries[place_of(entry.key)] = entry;
    }
  }

  std::array<std::uint64_t, 4> _salts{};
  std::uint64_t _parts = 1;
  std::uint64_t _part = 0;
  std::uint64_t _count = 0;
  std::vector<Entry> _entries;
};

}  // namespace vmcache

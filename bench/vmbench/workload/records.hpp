// SPDX-License-Identifier: MIT
//
// The records every system stores: 8-byte keys, 120-byte values that can be checked.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/random.hpp"

namespace vmbench {

using Key = std::uint64_t;
inline constexpr std::size_t kValueSize = 120;
inline constexpr std::size_t kRecordSize = sizeof(Key) + kValueSize;
using Value = std::array<std::byte, kValueSize>;

//! The loaded records' keys leave gaps of this, into which inserts fall.
inline constexpr Key kKeyStride = 256;

//! A value whose both ends tell its key and version, so that a torn or misplaced one is noticed.
inline Value make_value(Key key, std::uint64_t version) {
  std::array<std::uint64_t, kValueSize / 8> words;
  words.fill(version);
  words.front() = SplitMix64::mix(key);
  words.back() = SplitMix64::mix(key ^ version);
  Value value;
  std::memcpy(value.data(), words.data(), kValueSize);
  return value;
}

inline bool value_belongs_to(const Value& value, Key key) {
  std::array<std::uint64_t, kValueSize / 8> words;
  std::memcpy(words.data(), value.data(), kValueSize);
  return words.front() == SplitMix64::mix(key) && words.back() == SplitMix64::mix(key ^ words[1]);
}

//! Maps record numbers to keys. Numbers below `loaded` are in key order; those above, the inserted
//! ones, are scattered over the key space.
class KeySpace {
 public:
  explicit KeySpace(std::uint64_t loaded) : _loaded(loaded) {}

  [[nodiscard]] std::uint64_t loaded() const { return _loaded; }
  [[nodiscard]] Key key(std::uint64_t record) const {
    if (record < _loaded) return record * kKeyStride;
    const std::uint64_t inserted = record - _loaded;
    return scatter(inserted % _loaded) * kKeyStride + 1 + inserted / _loaded;
  }
  //! A permutation of 0 .. loaded-1 that takes neighbours far apart: hot ranks shall not share
  //! pages.
  [[nodiscard]] std::uint64_t scatter(std::uint64_t rank) const {
    // A prime above every `loaded` is coprime to it, so the product modulo `loaded` hits each
    // number once.
    constexpr std::uint64_t kPrime = 11'400'714'819'323'198'549u;
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(rank) * kPrime % _loaded);
  }

 private:
  std::uint64_t _loaded;
};

}  // namespace vmbench

// SPDX-License-Identifier: MIT
//
// The peers' B+tree on pages: fixed-length records, the simplest layout that is not slow. The same
// bytes serve mmap, the hash-table pool and, for a comparison of caches alone, vmcache.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "workload/records.hpp"

namespace vmbench::plain {

inline constexpr std::size_t kPageBytes = 4096;
using PageNo = std::uint64_t;

struct Header {
  std::uint16_t level;  //!< 0: leaf
  std::uint16_t count;  //!< keys
  std::uint32_t unused;
  PageNo next;  //!< of a leaf: its right neighbour, or 0
};

struct Leaf {
  static constexpr unsigned kCapacity = (kPageBytes - sizeof(Header)) / kRecordSize;
  Header header;
  Key keys[kCapacity];
  Value values[kCapacity];
};

//! children[i] holds keys below keys[i], and the last one the rest.
struct Inner {
  static constexpr unsigned kCapacity =
      (kPageBytes - sizeof(Header) - sizeof(PageNo)) / (sizeof(Key) + sizeof(PageNo));
  Header header;
  Key keys[kCapacity];
  PageNo children[kCapacity + 1];
};
static_assert(sizeof(Leaf) <= kPageBytes && sizeof(Inner) <= kPageBytes);
static_assert(std::is_trivially_copyable_v<Leaf> && std::is_trivially_copyable_v<Inner>);

//! Page 0 of a plain file.
struct FileHeader {
  static constexpr std::uint64_t kMagic = 0x31'65'65'72'74'6d'76;  // "vmtree1"
  std::uint64_t magic;
  std::uint64_t records;
  PageNo root;
  PageNo next_page;        //!< first that was never used
  std::uint64_t pristine;  //!< 1: as it was loaded
};

inline const Header& header(const std::byte* page) {
  return *reinterpret_cast<const Header*>(page);
}
inline const Leaf& leaf(const std::byte* page) {
  return *reinterpret_cast<const Leaf*>(page);
}
inline const Inner& inner(const std::byte* page) {
  return *reinterpret_cast<const Inner*>(page);
}
inline Leaf& leaf(std::byte* page) {
  return *reinterpret_cast<Leaf*>(page);
}
inline Inner& inner(std::byte* page) {
  return *reinterpret_cast<Inner*>(page);
}

//! First position whose key is not below `key`. `count` is bounded by the caller where the page may
//! change meanwhile.
inline unsigned lower_bound(const Key* keys, unsigned count, Key key) {
  unsigned position = 0;
  // Without a branch on the comparison: random keys would mispredict half of them.
  while (count > 1) {
    const unsigned half = count / 2;
    position += keys[position + half - 1] < key ? half : 0;
    count -= half;
  }
  return position + (count == 1 && keys[position] < key ? 1 : 0);
}

//! Child to follow for `key`.
inline unsigned child_index(const Inner& page, unsigned count, Key key) {
  const unsigned position = lower_bound(page.keys, count, key);
  return position < count && page.keys[position] == key ? position + 1 : position;
}

}  // namespace vmbench::plain

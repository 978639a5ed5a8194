// SPDX-License-Identifier: MIT
//
// A node of the B+tree: one page.
//
//   | header | hints | slots ->            <- cells | upper fence | lower fence |
//
// A node covers the keys in [lower fence, upper fence) (Graefe, "A survey of B-tree locking techniques", TODS
// 2010: fence keys), so every key in it starts with what the fences have in common: that prefix is stored
// once, in the lower fence, and cells hold suffixes. A slot carries four bytes of its suffix as a
// number (the head), so that a search touches a cell only to break a tie, and `hints` holds every n-th head,
// in one cache line, to narrow the search first (Leis et al., "LeanStore", ICDE 2018; Alhomssi and Leis,
// "Scalable and robust snapshot isolation", VLDB 2023). Heads are the first four bytes, or, where these are the same in
// all suffixes, as in a root, which has no fences, the four behind all that they have in common.
//
// leaf cell:   u16 value length, bit 15 set if the value is large | suffix | value (or where it is)
// inner cell:  suffix of the separator. The child is in the slot: a search that a head decides reads no cell.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache::btree {

//! Bytes left free at the front of every node, for what the pool's user keeps in a page (LSN, checksum).
inline constexpr std::size_t kReservedBytes = sizeof(PageHeader);

inline constexpr std::uint16_t kNodeMagic = 0xb7e1;
inline constexpr std::size_t kHints = 16;
inline constexpr std::uint16_t kNoUpperFence = 0xffff;
//! Deeper than any tree that fits the largest database; what is deeper is corrupt.
inline constexpr unsigned kMaxLevels = 64;

struct NodeHeader {
  std::uint16_t magic;
  std::uint8_t level;        //!< 0: leaf
  std::uint8_t shared_len;   //!< bytes all suffixes begin with, which heads leave out; 0 or at least a head's
  std::uint16_t count;       //!< slots
  std::uint16_t prefix_len;  //!< bytes all keys have in common, at the front of the lower fence
  std::uint16_t heap_begin;  //!< offset of the lowest cell
  std::uint16_t heap_used;   //!< bytes of cells and fences in use; what lies between is garbage
  std::uint16_t lower_len;   //!< lower fence; 0 bytes is "no lower bound", as no key is smaller than that
  std::uint16_t upper_len;   //!< upper fence, or kNoUpperFence
  PageId first_child;        //!< inner: the child for keys before the first separator
  std::array<std::uint32_t, kHints> hints;
};
static_assert(sizeof(NodeHeader) == 88);

struct Slot {
  std::uint32_t head;  //!< four bytes of the suffix, from shared_len on, big-endian, filled up with zeros
  std::uint16_t offset;
  std::uint16_t suffix_len;
};
static_assert(sizeof(Slot) == 8);

//! A separator and the child for the keys that are not less.
struct InnerSlot {
  Slot separator;
  PageId child;
};
static_assert(sizeof(InnerSlot) == 16);

inline constexpr std::size_t kHeaderAt = kReservedBytes;
inline constexpr std::size_t kSlotsAt = kHeaderAt + sizeof(NodeHeader);
//! Bytes for slots, cells and fences.
inline constexpr std::size_t kNodeCapacity = kPageSize - kSlotsAt;
//! A slot has 2^shift bytes.
inline constexpr unsigned kLeafSlotShift = 3;
inline constexpr unsigned kInnerSlotShift = 4;

inline constexpr std::uint16_t kLargeFlag = 0x8000;
inline constexpr std::size_t kLeafCellOverhead = sizeof(std::uint16_t);
inline constexpr std::size_t kInnerCellOverhead = 0;

//! Longest key.
inline constexpr std::size_t kMaxKey = kPageSize / 4;
//! Longest value inside a leaf.
inline constexpr std::size_t kMaxInlineValue = kPageSize / 4;
//! Longest suffix and value together: a leaf with the longest fences must be able to hold one such cell. A
//! value that would exceed this with its key goes to an extent, like a longer one.
inline constexpr std::size_t kMaxLeafPayload = kNodeCapacity - sizeof(Slot) - kLeafCellOverhead - 2 * kMaxKey;
static_assert(kNodeCapacity >= 2 * kMaxKey + sizeof(InnerSlot) + kMaxKey);

//! A node with less in it than this looks for a sibling to merge with ...
inline constexpr std::size_t kUnderfullBytes = kNodeCapacity * 2 / 5;
//! ... and does it if both together take no more than this: some room, so that the next insert does not
//! split it again.
inline constexpr std::size_t kMergedBytesMax = kNodeCapacity * 7 / 8;

}  // namespace vmcache::btree

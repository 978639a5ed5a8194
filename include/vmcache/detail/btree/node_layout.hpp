// SPDX-License-Identifier: MIT
//
// A node of the B+tree: one page.
//
//   | header | hints | slots ->            <- cells | upper fence | lower fence |
//
// A node covers the keys in [lower fence, upper fence) (Graefe, "A survey of B-tree locking
// techniques", TODS 2010: fence keys), so every key in it starts with the bytes that both fences
// have in common. This prefix is stored once, in the lower fence, and cells hold only suffixes. A
// slot holds four bytes of its suffix as a number, the head, so that a search reads a cell only to
// break a tie. `hints` holds every n-th head, in one cache line, to narrow the search first (Leis
// et al., "LeanStore", ICDE 2018; Alhomssi and Leis, "Scalable and robust snapshot isolation", VLDB
// 2023). A head is the first four bytes of a suffix. If all suffixes of the node begin with the
// same four bytes or more, it is the four bytes behind what they share. (That happens in a root,
// which has no fences and thus no prefix.)
//
// leaf cell:   u16 value length, bit 15 set if the value is large | suffix | value (or where it is)
// inner cell:  suffix of the separator. The child is in the slot, so that a search which the heads
//              decide reads no cell.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "vmcache/export.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT btree {

//! Bytes at the front of every node that the tree leaves to the page header (LSN, checksum).
inline constexpr std::size_t kReservedBytes = sizeof(PageHeader);

inline constexpr std::uint16_t kNodeMagic = 0xb7e1;
inline constexpr std::size_t kHints = 16;
inline constexpr std::uint16_t kNoUpperFence = 0xffff;
//! More levels than any tree in the largest database has. A node of a higher level is corrupt.
inline constexpr unsigned kMaxLevels = 64;

struct NodeHeader {
  std::uint16_t magic;
  std::uint8_t level;  //!< 0: leaf
  //! Bytes that all suffixes begin with, which heads leave out. 0, or at least 4.
  std::uint8_t shared_len;
  std::uint16_t count;       //!< slots
  std::uint16_t prefix_len;  //!< bytes all keys have in common, at the front of the lower fence
  std::uint16_t heap_begin;  //!< offset of the lowest cell
  std::uint16_t heap_used;   //!< bytes of cells and fences in use; what lies between is garbage
  std::uint16_t
      lower_len;  //!< lower fence; 0 bytes is "no lower bound", as no key is smaller than that
  std::uint16_t upper_len;  //!< upper fence, or kNoUpperFence
  PageId first_child;       //!< inner: the child for keys before the first separator
  std::array<std::uint32_t, kHints> hints;
};
static_assert(sizeof(NodeHeader) == 88);

struct Slot {
  //! Four bytes of the suffix, from shared_len on, as a big-endian number; padded with zeros.
  std::uint32_t head;
  std::uint16_t offset;
  std::uint16_t suffix_len;
};
static_assert(sizeof(Slot) == 8);

//! A separator, and the child for keys that are not less than it.
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
//! Maximum bytes of suffix and value together, so that a leaf with the longest fences can hold one
//! such cell. A value that would exceed this together with its key goes to an extent.
inline constexpr std::size_t kMaxLeafPayload =
    kNodeCapacity - sizeof(Slot) - kLeafCellOverhead - 2 * kMaxKey;
static_assert(kNodeCapacity >= 2 * kMaxKey + sizeof(InnerSlot) + kMaxKey);

//! A node with fewer bytes in use than this looks for a sibling to merge with ...
inline constexpr std::size_t kUnderfullBytes = kNodeCapacity * 2 / 5;
//! ... and merges if both together have no more than this. The room that is left keeps the next
//! insert from splitting the node again.
inline constexpr std::size_t kMergedBytesMax = kNodeCapacity * 7 / 8;

}  // namespace btree
}  // namespace vmcache

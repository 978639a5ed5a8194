// SPDX-License-Identifier: MIT
//
// What stands in a block, so that a read that brought the wrong bytes is told from a good one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vmbench {

inline constexpr std::size_t kBlock = 4096;

//! The first and the last 24 bytes of a block. `magic` tells the bench's own content from anybody
//! else's, `salt` a write of this run from an earlier one.
struct BlockMark {
  std::uint64_t number;
  std::uint64_t magic;
  std::uint64_t salt;
};
inline constexpr std::uint64_t kBlockMagic = 0x6b636f6c62626d76;  // "vmbblock"

//! Marks `block` (kBlock bytes) as number `number`; between the marks it stays as it is.
inline void mark_block(std::byte* block, std::uint64_t number, std::uint64_t salt) {
  const BlockMark mark{number, kBlockMagic, salt};
  std::memcpy(block, &mark, sizeof mark);
  std::memcpy(block + kBlock - sizeof mark, &mark, sizeof mark);
}

//! True if both marks say `number`, and the same salt (a block half of one write, half of another,
//! is torn).
inline bool block_is(const std::byte* block, std::uint64_t number) {
  BlockMark first, last;
  std::memcpy(&first, block, sizeof first);
  std::memcpy(&last, block + kBlock - sizeof last, sizeof last);
  return first.number == number && last.number == number && first.magic == kBlockMagic &&
         last.magic == kBlockMagic && first.salt == last.salt;
}

inline std::uint64_t block_salt(const std::byte* block) {
  BlockMark mark;
  std::memcpy(&mark, block, sizeof mark);
  return mark.salt;
}

}  // namespace vmbench

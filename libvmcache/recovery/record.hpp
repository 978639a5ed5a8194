// SPDX-License-Identifier: MIT
//
// How a log lies in its storage: two pages with a master each, then the ring. Byte `lsn` of the log is at
// lsn % capacity of the ring; LSNs begin at kFirstLsn, so 0 is before all of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "crc32c.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

inline constexpr Lsn kFirstLsn = kPageSize;
inline constexpr std::uint64_t kRingAt = 2 * kPageSize;
//! A cache line, so that no two appenders fill the same one.
inline constexpr std::size_t kRecordAlign = 64;

struct RecordHeader {
  std::uint32_t type = 0;
  std::uint32_t body_bytes = 0;
  Lsn lsn = 0;  //!< where the record begins: what is left of an earlier round has another
  std::uint32_t epoch = 0;
  std::uint32_t body_checksum = 0;
  //! How far before `lsn` the log was durable when this was appended, in units of kRecordAlign (or as many as fit): tells a
  //! damaged record from one that a crash has kept from being written.
  std::uint32_t durable_back = 0;
  std::uint32_t checksum = 0;  //!< of all before

  [[nodiscard]] std::uint32_t compute_checksum() const noexcept {
    return crc32c(this, offsetof(RecordHeader, checksum));
  }
};
static_assert(sizeof(RecordHeader) == 32);

[[nodiscard]] constexpr std::uint32_t durable_back(Lsn lsn, Lsn durable) noexcept {
  constexpr std::uint64_t kMost = 0xffff'ffff;
  const std::uint64_t units = (lsn - durable) / kRecordAlign;
  return static_cast<std::uint32_t>(units < kMost ? units : kMost);
}

//! Where the record that begins at `lsn` ends.
[[nodiscard]] constexpr Lsn record_end(Lsn lsn, std::size_t body_bytes) noexcept {
  return lsn + (sizeof(RecordHeader) + body_bytes + kRecordAlign - 1) / kRecordAlign * kRecordAlign;
}

}  // namespace vmcache

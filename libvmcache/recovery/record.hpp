// SPDX-License-Identifier: MIT
//
// How a log lies in its storage: two pages with a master each, then the ring. Byte `lsn` of the log
// is at lsn % capacity of the ring; LSNs begin at kFirstLsn, so 0 is before all of them.
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
  //! Where the record begins. A record that an earlier round of the ring has left has another.
  Lsn lsn = 0;
  std::uint32_t epoch = 0;
  std::uint32_t body_checksum = 0;
  //! How far before `lsn` the log was durable when the record was appended, in units of
  //! kRecordAlign, or the maximum if there were more. It shows whether an earlier record that is
  //! not whole is damaged, or was not written because of a crash.
  std::uint32_t durable_back = 0;
  std::uint32_t checksum = 0;  //!< of all before

  [[nodiscard]] std::uint32_t compute_checksum(std::uint32_t seed) const noexcept {
    return crc32c_more(seed, this, offsetof(RecordHeader, checksum));
  }
};
static_assert(sizeof(RecordHeader) == 32);

//! The seeds of a log's record checksums, from the salt in its master. With another seed the same
//! bytes have another checksum. So a record that an earlier log has left in the file does not
//! check, unless both seeds are equal by chance (1 in 2^64). An empty record has only a header and
//! so only one seed (1 in 2^32).
struct RecordSalt {
  std::uint32_t header = 0;
  std::uint32_t body = 0;

  RecordSalt() = default;
  explicit constexpr RecordSalt(std::uint64_t salt) noexcept
      : header(static_cast<std::uint32_t>(salt)), body(static_cast<std::uint32_t>(salt >> 32)) {}
};

[[nodiscard]] constexpr std::uint32_t durable_back(Lsn lsn, Lsn durable) noexcept {
  constexpr std::uint64_t kMax = 0xffff'ffff;
  const std::uint64_t units = (lsn - durable) / kRecordAlign;
  return static_cast<std::uint32_t>(units < kMax ? units : kMax);
}

//! The start of the page that has this position.
[[nodiscard]] constexpr Lsn page_floor(Lsn lsn) noexcept {
  return lsn / kPageSize * kPageSize;
}

//! Where the byte at `lsn` lies in the storage of a log with that capacity.
[[nodiscard]] constexpr std::uint64_t place_in_ring(Lsn lsn, std::uint64_t capacity) noexcept {
  return kRingAt + lsn % capacity;
}

//! Where the record that begins at `lsn` ends.
[[nodiscard]] constexpr Lsn record_end(Lsn lsn, std::size_t body_bytes) noexcept {
  return lsn + (sizeof(RecordHeader) + body_bytes + kRecordAlign - 1) / kRecordAlign * kRecordAlign;
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// A log's header, the master. It has two slots, the first two pages of the log, written in turn.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "crc32c.hpp"
#include "vmcache/identity.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

//! A master as it lies in storage, little-endian. It fits into one sector, so no write tears it.
struct Master {
  static constexpr std::array<char, 8> kMagic{'v', 'm', 'c', 'l', 'o', 'g', '\0', '\0'};
  //! 3: identity and salt. Version 2 had its number at the end of the magic.
  static constexpr std::uint32_t kVersion = 3;
  static constexpr unsigned kSlots = 2;

  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t epoch = 0;
  std::uint64_t number = 0;  //!< the greater one counts; it lies in slot number % kSlots
  std::uint64_t capacity = 0;
  Lsn begin = 0;
  Identity identity;  //!< of the checkpoint with which the log begins
  //! Part of the records' checksums (RecordSalt), so that records of an earlier log do not check.
  std::uint64_t salt = 0;
  std::array<std::uint8_t, 164> reserved{};  //!< zeros
  std::uint32_t checksum = 0;                //!< CRC32C of all before

  [[nodiscard]] std::uint32_t compute_checksum() const noexcept {
    return crc32c(this, offsetof(Master, checksum));
  }
};
static_assert(sizeof(Master) == 248);

//! The content of a slot.
struct MasterSlot {
  Master master;
  bool blank = false;  //!< all zeros: never written
  bool whole = false;  //!< it is a master, and its checksum is right
};
//! Whether `newest` is of a creation and may not be the newest master that there was: `other`, the
//! other slot, is damaged or gone (R21). A creation writes both slots before anything else. So a
//! slot of zeros is damage, too, unless `newest` is the first master of all.
[[nodiscard]] inline bool may_hide_a_newer(const Master& newest, const MasterSlot& other) noexcept {
  return newest.identity.generation == 0 && !other.whole && !(other.blank && newest.number == 1);
}
//! Throws Error: kIo; kNotADatabase if the master is of another version, or has fields set that
//! this library does not know.
[[nodiscard]] MasterSlot read_master_slot(Storage& storage, unsigned slot);

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// A log's own header. There are two slots, the first two pages, written in turn.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "crc32c.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

struct Master {
  static constexpr std::array<char, 8> kMagic{'v', 'm', 'c', 'l', 'o', 'g', '2', '\0'};
  static constexpr unsigned kSlots = 2;

  std::array<char, 8> magic = kMagic;
  std::uint64_t number = 0;  //!< the greater one counts; its slot is number % kSlots
  std::uint64_t capacity = 0;
  Lsn begin = 0;
  std::uint32_t epoch = 0;
  std::uint32_t checksum = 0;

  [[nodiscard]] std::uint32_t compute_checksum() const noexcept {
    return crc32c(this, offsetof(Master, checksum));
  }
};

//! What lies in a slot.
struct MasterSlot {
  Master master;
  bool blank = false;  //!< zeros: never written
  bool whole = false;
};
//! Throws Error kIo.
[[nodiscard]] MasterSlot read_master_slot(Storage& storage, unsigned slot);

}  // namespace vmcache

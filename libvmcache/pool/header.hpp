// SPDX-License-Identifier: MIT
//
// Page 0 of a database.
#pragma once

#include <array>
#include <cstdint>

#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

class Log;

//! The header as it lies in storage; little-endian, as every machine we run on.
struct Header {
  static constexpr std::array<char, 8> kMagic{'v', 'm', 'c', 'a', 'c', 'h', 'e', '\0'};
  //! 2: nodes of the B+tree leave room for a PageHeader.
  static constexpr std::uint32_t kVersion = 2;
  static constexpr unsigned kRoots = 64;
  static constexpr std::uint32_t kPageHeaders = 1;  //!< extents begin with a PageHeader

  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t page_bytes = kPageSize;
  std::uint32_t clean = 0;      //!< 1 between a clean close and the next open
  std::uint32_t format = 0;     //!< kPageHeaders or 0
  std::uint64_t next_page = 1;  //!< lowest page id never handed out
  PageId free_list = kNoPage;   //!< first page of the list of free extents; valid while clean
  std::array<PageId, kRoots> roots{};
  std::uint32_t checksum = 0;  //!< CRC32C of all before

  [[nodiscard]] std::uint32_t compute_checksum() const noexcept;
  //! Reads and checks it. Throws Error: kNotADatabase (foreign), kCorrupt (ours, but damaged), kIo.
  [[nodiscard]] static Header read(Storage& storage);
  //! Writes and flushes it. Throws Error kIo.
  void write(Storage& storage);
};
static_assert(sizeof(Header) <= 1024);

}  // namespace vmcache

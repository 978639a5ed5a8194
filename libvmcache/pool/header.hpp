// SPDX-License-Identifier: MIT
//
// Page 0 of a database.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "vmcache/identity.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

//! Whose page 0 it is: what has to be known even of one that a crash has torn. It lies twice in
//! page 0, each time within one 512-byte sector, and a sector is never torn: so one of the two is
//! always whole, and says what was written last or before that.
struct HeaderFront {
  static constexpr std::array<char, 8> kMagic{'v', 'm', 'c', 'a', 'c', 'h', 'e', '\0'};
  //! 2: nodes of the B+tree leave room for a PageHeader. 3: identity.
  static constexpr std::uint32_t kVersion = 3;
  static constexpr std::uint32_t kPageHeaders = 1;  //!< extents begin with a PageHeader
  static constexpr std::uint32_t kLogged = 2;       //!< a log belongs to it
  static constexpr std::size_t kCopyAt = kPageSize / 2;

  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t page_bytes = kPageSize;
  std::uint32_t format = 0;  //!< kPageHeaders, kLogged
  std::uint32_t reserved = 0;
  Identity identity;  //!< all changes from before that checkpoint are in the page file
  //! The log was durable up to here when this was written: one that ends before is an older one.
  Lsn log_end = 0;
  std::array<std::uint8_t, 60> reserved_more{};  //!< zeros
  std::uint32_t checksum = 0;                    //!< CRC32C of all before

  [[nodiscard]] std::uint32_t compute_checksum() const noexcept;
  //! Ours, of this version and whole.
  [[nodiscard]] bool whole() const noexcept;
};
static_assert(sizeof(HeaderFront) == 128);

//! The header as it lies in storage; little-endian, as every machine we run on.
struct Header {
  static constexpr std::uint32_t kVersion = HeaderFront::kVersion;
  static constexpr unsigned kRoots = 64;

  HeaderFront front;
  std::uint32_t clean = 0;  //!< 1 between a clean close and the next open
  std::uint32_t reserved = 0;
  std::uint64_t next_page = 1;  //!< lowest page id never handed out
  PageId free_list = kNoPage;   //!< first page of the list of free extents; valid while clean
  std::array<std::uint8_t, 128> reserved_more{};  //!< zeros
  std::uint32_t reserved_last = 0;
  //! CRC32C of all but itself. In the first sector, as is all that is not zero in a new database:
  //! so the header of a creation that was cut is whole, or its first sector is zeros.
  std::uint32_t checksum = 0;
  std::array<PageId, kRoots> roots{};

  [[nodiscard]] bool page_headers() const noexcept {
    return (front.format & HeaderFront::kPageHeaders) != 0;
  }
  [[nodiscard]] bool logged() const noexcept { return (front.format & HeaderFront::kLogged) != 0; }
  [[nodiscard]] std::uint32_t compute_checksum() const noexcept;
  //! Reads and checks it. Throws Error: kNotADatabase (foreign, or of another version), kCorrupt
  //! (ours, but damaged), kIo.
  [[nodiscard]] static Header read(Storage& storage);
  //! Writes it. To flush it is the caller's. Throws Error kIo.
  void write(Storage& storage);
};
static_assert(sizeof(Header) <= HeaderFront::kCopyAt && offsetof(Header, roots) <= 512);

//! What lies in page 0, for who has a log and needs less than a whole header.
struct FirstPage {
  bool blank = false;  //!< nothing, or what a creation may have left that was cut before its header
  std::optional<HeaderFront> front;  //!< there unless it is blank
  std::optional<Header> header;      //!< there if it is whole
  std::string damage;                //!< why it is not
  //! The first sector is zeros and the front's copy is there: the first header ever was torn, and
  //! nothing followed it.
  bool made_in_part = false;

  //! Throws Error: kNotADatabase (foreign, or of another version), kCorrupt (ours, but both fronts
  //! are damaged), kIo.
  [[nodiscard]] static FirstPage read(Storage& storage);
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// What a database's URI says to the VFS.
#pragma once

#include <cstdint>
#include <optional>

#include "vmcache/options.hpp"

namespace vmcache::sqlite {

//! Only what the URI names; the rest is as the pool is, or the default.
struct Parameters {
  std::optional<std::uint64_t> pool_mib;        //!< memory for pages: 1 .. 67108864 MiB
  std::optional<std::uint64_t> pool_space_gib;  //!< address space for databases: 1 .. 65536 GiB
  std::optional<MemoryKind> pool_memory;        //!< auto, anonymous, exmap
  std::optional<StorageKind> pool_storage;      //!< auto, io_uring, pread
  std::optional<std::uint64_t> file_max_gib;    //!< largest size of this database: 1 .. 65536 GiB
  std::optional<bool> file_direct_io;           //!< 0, 1

  static constexpr std::uint64_t kDefaultPoolMib = 256;
#ifdef __SANITIZE_THREAD__  // its shadow leaves little address space
  static constexpr std::uint64_t kDefaultSpaceGib = 256;
#else
  static constexpr std::uint64_t kDefaultSpaceGib = 32768;
#endif
  static constexpr std::uint64_t kDefaultFileMaxGib = 64;
};

//! Reads those of a name that SQLite has handed to xOpen. Throws std::invalid_argument, with the
//! parameter, its value and what is allowed, for a wrong value or a parameter that begins with
//! "pool_" or "file_" and is none of these.
[[nodiscard]] Parameters parameters_of(const char* name);

}  // namespace vmcache::sqlite

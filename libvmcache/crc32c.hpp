// SPDX-License-Identifier: MIT
#pragma once

#include <isa-l/crc.h>

#include <cstddef>
#include <cstdint>

namespace vmcache {

//! CRC32C (Castagnoli, RFC 3720 B.4) by ISA-L, which takes the CPU's instruction where there is
//! one. At most 2 GiB.
[[nodiscard]] inline std::uint32_t crc32c(const void* data, std::size_t bytes) noexcept {
  // ISA-L's signature lacks const; it only reads. It leaves both inversions to the caller.
  auto* buffer = static_cast<unsigned char*>(const_cast<void*>(data));
  return ~crc32_iscsi(buffer, static_cast<int>(bytes), ~std::uint32_t{0});
}

//! The same of bytes that follow those `before` is the checksum of.
[[nodiscard]] inline std::uint32_t crc32c_more(std::uint32_t before, const void* data,
                                               std::size_t bytes) noexcept {
  auto* buffer = static_cast<unsigned char*>(const_cast<void*>(data));
  return ~crc32_iscsi(buffer, static_cast<int>(bytes), ~before);
}

}  // namespace vmcache

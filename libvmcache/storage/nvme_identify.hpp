// SPDX-License-Identifier: MIT
//
// What a namespace says about itself (NVM Express: Identify Namespace, CNS 00h; Identify
// Controller, CNS 01h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace vmcache::nvme {

inline constexpr std::size_t kIdentifyBytes = 4096;

//! What the library needs to know of a namespace to read and write it.
struct Namespace {
  std::uint32_t id = 0;
  std::uint64_t blocks = 0;
  unsigned block_shift = 9;              //!< 2^9 .. 2^12 bytes a block
  std::uint32_t max_transfer_bytes = 0;  //!< of a command; a multiple of kPageSize
  bool write_cache = false;              //!< volatile: only a flush makes a write durable
  bool deallocates = false;

  [[nodiscard]] std::uint64_t bytes() const noexcept { return blocks << block_shift; }
};

//! Fills `name_space` from the two answers to Identify, of kIdentifyBytes each. Returns why the
//! namespace cannot be used; empty if it can.
[[nodiscard]] std::string parse_identify(std::span<const std::byte> of_namespace,
                                         std::span<const std::byte> of_controller,
                                         Namespace& name_space);

}  // namespace vmcache::nvme

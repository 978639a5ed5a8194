// SPDX-License-Identifier: MIT
//
// What an NVMe status means (NVM Express Base Specification 2.0, 3.3.3.2.1; NVM Command Set, 3.1.4).
#pragma once

#include <cstdint>
#include <string_view>

namespace vmcache::nvme {

//! Status code type (3 bits) and status code (8 bits) of what a completion says; "more", retry delay and "do
//! not retry" are left out.
inline constexpr std::uint16_t kStatusMask = 0x7ff;

//! In words; says at least the status code type of one that is not known.
[[nodiscard]] std::string_view meaning_of(std::uint16_t status) noexcept;

//! The errno nearest to it; never 0, and never EAGAIN or EINTR, which would be tried again.
[[nodiscard]] int errno_of(std::uint16_t status) noexcept;

}  // namespace vmcache::nvme

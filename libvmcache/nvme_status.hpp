// SPDX-License-Identifier: MIT
//
// What an NVMe status means (NVM Express Base Specification 2.0, 3.3.3.2.1; NVM Command Set,
// 3.1.4).
#pragma once

#include <cstdint>
#include <string_view>

namespace vmcache::nvme {

//! Status code type (3 bits) and status code (8 bits) of what a completion says; "more", retry
//! delay and "do not retry" are left out.
inline constexpr std::uint16_t kStatusMask = 0x7ff;

//! What a passthrough call gave (0, a status with all its bits, or -errno) is a failure that may
//! pass: the "do not retry" bit is clear. The driver tries such commands again for the block layer,
//! but not on passthrough.
[[nodiscard]] constexpr bool may_pass(int result) noexcept {
  constexpr int kDoNotRetry = 0x4000;
  return result > 0 && (result & kDoNotRetry) == 0;
}
//! How often, at most; as many as the driver's (nvme_core.max_retries).
inline constexpr unsigned kMaxRetries = 5;

//! The device says that it did nothing of the command: the namespace is not ready yet.
[[nodiscard]] constexpr bool was_not_begun(int result) noexcept {
  constexpr int kNamespaceNotReady = 0x082;
  return result > 0 && (result & kStatusMask) == kNamespaceNotReady;
}

//! In words; says at least the status code type of one that is not known.
[[nodiscard]] std::string_view meaning_of(std::uint16_t status) noexcept;

//! The errno nearest to it; never 0, and never EAGAIN or EINTR, which would be tried again.
[[nodiscard]] int errno_of(std::uint16_t status) noexcept;

}  // namespace vmcache::nvme

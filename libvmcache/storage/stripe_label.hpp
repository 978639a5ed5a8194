// SPDX-License-Identifier: MIT
//
// The first page of each device of a striped database: which devices belong together, and how.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "storage/device.hpp"
#include "storage/layout.hpp"

namespace vmcache {

using Uuid = std::array<std::uint8_t, 16>;

//! As it lies in storage; little-endian.
struct StripeLabel {
  static constexpr std::array<char, 8> kMagic{'v', 'm', 'c', 's', 't', 'r', 'i', 'p'};
  static constexpr std::uint32_t kVersion = 1;
  static constexpr unsigned kMaxDevices = 64;

  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t count = 0;  //!< devices
  std::uint32_t index = 0;  //!< of this one, from 0
  std::uint32_t reserved = 0;
  std::uint64_t stripe_bytes = 0;
  Uuid database{};                             //!< the same on all devices, and nowhere else
  std::array<Uuid, kMaxDevices> device_ids{};  //!< of all, so that each knows the others
  std::uint32_t checksum = 0;                  //!< CRC32C of all before
};
static_assert(sizeof(StripeLabel) <= kPageSize);

using Devices = std::vector<std::unique_ptr<Device>>;

//! Labels of several devices that are to be one database.
class StripeSet {
 public:
  //! Reads and checks them; writes nothing. `stripe_bytes` 0: what the labels say, or the default. Throws Error:
  //! kInvalidOption (not these devices, not this order, not this stripe size), kNotADatabase, kCorrupt, kIo.
  StripeSet(const Devices& devices, std::uint64_t stripe_bytes);

  [[nodiscard]] const Layout& layout() const noexcept { return _layout; }
  //! False if the labels are still to be written.
  [[nodiscard]] bool labelled() const noexcept { return _labelled; }
  //! Writes and flushes them. Returns 0 or an errno.
  [[nodiscard]] int write(const Devices& devices);

 private:
  void check(const Devices& devices, const std::vector<StripeLabel>& labels,
             std::uint64_t stripe_bytes) const;
  void make(const Devices& devices, std::uint64_t stripe_bytes);

  StripeLabel _label;  // of device 0
  Layout _layout;
  bool _labelled = false;
};

//! Throws Error kInvalidOption if `device`, which was named alone, is one of a stripe.
void refuse_part_of_stripe(Device& device);

}  // namespace vmcache

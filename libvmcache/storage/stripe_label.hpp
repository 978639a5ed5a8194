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

//! The label as it lies in storage; little-endian.
//! A label is longer than a sector, so a write of it may be torn. Whoever creates the database
//! therefore first writes the label's front, up to and including `database`, which lies within one
//! sector, and then the whole label. The devices get their labels in order. Each label is durable
//! before the next one is written, and the database's header is written after all labels.
//! A creation that was cut thus leaves, in this order: whole labels, at most one label with only a
//! valid front, and empty devices. It leaves no header. The next open completes such a creation.
struct StripeLabel {
  static constexpr std::array<char, 8> kMagic{'v', 'm', 'c', 's', 't', 'r', 'i', 'p'};
  //! 2: front_checksum.
  static constexpr std::uint32_t kVersion = 2;
  static constexpr unsigned kMaxDevices = 64;

  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t count = 0;           //!< devices
  std::uint32_t index = 0;           //!< of this one, from 0
  std::uint32_t front_checksum = 0;  //!< CRC32C of the front with this field 0
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
  //! Reads and checks the labels; writes nothing. With `stripe_bytes` 0 the labels decide, or the
  //! default if there are none. Throws Error: kInvalidOption (not these devices, not this order,
  //! not this stripe size), kNotADatabase, kCorrupt, kIo.
  StripeSet(const Devices& devices, std::uint64_t stripe_bytes);

  [[nodiscard]] const Layout& layout() const noexcept { return _layout; }
  //! False if the labels are still to be written.
  [[nodiscard]] bool labelled() const noexcept { return _labelled; }
  //! Writes and flushes the labels that are missing. Returns 0 or an errno.
  [[nodiscard]] int write(const Devices& devices);

 private:
  //! What lies at a device's beginning.
  enum class Found : std::uint8_t { kBlank, kFront, kLabel, kOther };
  static Found look(Device& device, const StripeLabel& label);
  bool resume(const Devices& devices, const std::vector<StripeLabel>& labels,
              const std::vector<Found>& found);
  [[nodiscard]] int write_label(Device& device, unsigned index) const;
  void check(const Devices& devices, const std::vector<StripeLabel>& labels) const;
  void make(const Devices& devices, std::uint64_t stripe_bytes);

  StripeLabel _label;  // of device 0
  Layout _layout;
  bool _labelled = false;
  unsigned _whole = 0;  // devices that have their label already
};

//! Throws Error kInvalidOption if `device`, which was named alone, is part of a stripe.
void refuse_part_of_stripe(Device& device);

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include "storage/stripe_label.hpp"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "crc32c.hpp"
#include "storage/aligned_buffer.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

constexpr std::uint64_t kDefaultStripeBytes = 512 << 10;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(Errc::kInvalidOption, what + "; nothing was written");
}

std::uint32_t checksum_of(const StripeLabel& label) {
  return crc32c(&label, offsetof(StripeLabel, checksum));
}

Uuid random_uuid() {
  Uuid uuid{};
  if (::getrandom(uuid.data(), uuid.size(), 0) != static_cast<ssize_t>(uuid.size()))
    throw Error(Status{Errc::kUnsupported, errno, kNoPage}, "getrandom");
  uuid[6] = static_cast<std::uint8_t>((uuid[6] & 0x0f) | 0x40);  // RFC 4122: version 4
  uuid[8] = static_cast<std::uint8_t>((uuid[8] & 0x3f) | 0x80);
  return uuid;
}

//! What lies at the device's beginning, whatever it is.
StripeLabel read_label(Device& device) {
  const AlignedBuffer page(kPageSize);
  StripeLabel label;
  label.magic = {};
  if (device.size_bytes() < kPageSize) return label;
  if (const int error = device.read(0, page.bytes()); error != 0)
    throw Error(Status{Errc::kIo, error, kNoPage}, "reading the label of " + device.path());
  std::memcpy(&label, page.bytes().data(), sizeof label);
  return label;
}

bool is_label(const StripeLabel& label) {
  return label.magic == StripeLabel::kMagic;
}

//! Whether it would check if magic and version were ours: damage there must not look like somebody else's device.
bool was_label(StripeLabel label) {
  label.magic = StripeLabel::kMagic;
  label.version = StripeLabel::kVersion;
  return label.checksum == checksum_of(label);
}

//! A label that can be believed; else throws.
void check_label(const Device& device, const StripeLabel& label) {
  if (label.checksum != checksum_of(label) && was_label(label)) {
    throw Error(Errc::kCorrupt, device.path() + ": its stripe label is damaged");
  }
  if (!is_label(label)) {
    throw Error(Errc::kNotADatabase,
                device.path() + ": is neither empty nor a device of a striped database; not touched");
  }
  if (label.version != StripeLabel::kVersion) {
    throw Error(Errc::kNotADatabase,
                fmt::format("{}: stripe label of version {}; this library reads version {}", device.path(),
                            label.version, StripeLabel::kVersion));
  }
  if (label.checksum != checksum_of(label) || label.count < 2 || label.count > StripeLabel::kMaxDevices ||
      label.index >= label.count || !std::has_single_bit(label.stripe_bytes) ||
      label.stripe_bytes < kPageSize) {
    throw Error(Errc::kCorrupt, device.path() + ": its stripe label is damaged");
  }
}

}  // namespace

StripeSet::StripeSet(const Devices& devices, std::uint64_t stripe_bytes) {
  std::vector<StripeLabel> labels;
  std::vector<bool> blank;
  for (const auto& device : devices) {
    labels.push_back(read_label(*device));
    blank.push_back(!is_label(labels.back()) && device->blank());
  }
  if (std::ranges::all_of(blank, [](bool is_blank) { return is_blank; })) {
    make(devices, stripe_bytes != 0 ? stripe_bytes : kDefaultStripeBytes);
  } else {
    for (std::size_t i = 0; i < devices.size(); ++i) {
      if (!blank[i]) check_label(*devices[i], labels[i]);
    }
    for (std::size_t i = 0; i < devices.size(); ++i) {
      if (blank[i])
        refuse(devices[i]->path() + ": is empty, but others of `paths` belong to a striped database");
    }
    check(devices, labels, stripe_bytes);
    _label = labels[0];
    _labelled = true;
  }
  // The label takes a whole stripe, so that what follows is aligned as stripes are.
  _layout =
      Layout(_label.count, static_cast<unsigned>(std::countr_zero(_label.stripe_bytes)), _label.stripe_bytes);
}

void StripeSet::check(const Devices& devices, const std::vector<StripeLabel>& labels,
                      std::uint64_t stripe_bytes) const {
  const StripeLabel& first = labels[0];
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const std::string& path = devices[i]->path();
    const StripeLabel& label = labels[i];
    if (label.count != devices.size())
      refuse(
          fmt::format("{}: is one of {} devices, but `paths` names {}", path, label.count, devices.size()));
    if (label.database != first.database)
      refuse(fmt::format("{}: belongs to another database than {}", path, devices[0]->path()));
    if (label.index != i)
      refuse(fmt::format("{}: is device {} of its database, but number {} of `paths`: the order counts", path,
                         label.index, i));
    // A copy of a device that was made anew in between has the right number, but does not know the others.
    if (label.device_ids != first.device_ids || label.stripe_bytes != first.stripe_bytes)
      refuse(fmt::format("{}: its label contradicts that of {}", path, devices[0]->path()));
  }
  if (stripe_bytes != 0 && stripe_bytes != first.stripe_bytes)
    refuse(fmt::format("stripe_bytes = {}: the database was made with {}", stripe_bytes, first.stripe_bytes));
}

void StripeSet::make(const Devices& devices, std::uint64_t stripe_bytes) {
  _label.count = static_cast<std::uint32_t>(devices.size());
  _label.stripe_bytes = stripe_bytes;
  _label.database = random_uuid();
  for (std::size_t i = 0; i < devices.size(); ++i) {
    _label.device_ids[i] = random_uuid();
    if (devices[i]->kind() != Device::Kind::kFile && devices[i]->size_bytes() < 2 * stripe_bytes) {
      refuse(fmt::format("{}: {} bytes; stripe_bytes = {} needs at least two stripes", devices[i]->path(),
                         devices[i]->size_bytes(), stripe_bytes));
    }
  }
}

int StripeSet::write(const Devices& devices) {
  for (std::size_t i = 0; i < devices.size(); ++i) {
    StripeLabel label = _label;
    label.index = static_cast<std::uint32_t>(i);
    label.checksum = checksum_of(label);
    const AlignedBuffer page(kPageSize);
    std::ranges::fill(page.bytes(), std::byte{0});
    std::memcpy(page.bytes().data(), &label, sizeof label);
    int error = 0;
    if (devices[i]->size_bytes() < _layout.share(static_cast<unsigned>(i), 0))
      error = devices[i]->resize(_layout.share(static_cast<unsigned>(i), 0));
    if (error == 0) error = devices[i]->write(0, page.bytes());
    if (error == 0) error = devices[i]->flush();
    if (error != 0) return error;
  }
  _labelled = true;
  return 0;
}

void refuse_part_of_stripe(Device& device) {
  const StripeLabel label = read_label(device);
  if (is_label(label)) {
    refuse(fmt::format("{}: is device {} of the {} of a striped database: name all of them in `paths`",
                       device.path(), label.index, label.count));
  }
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include "storage/stripe_label.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "crc32c.hpp"
#include "random_id.hpp"
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

constexpr std::size_t kFrontBytes = offsetof(StripeLabel, device_ids);

std::uint32_t front_checksum_of(StripeLabel label) {
  label.front_checksum = 0;
  return crc32c(&label, kFrontBytes);
}

bool has_front(const StripeLabel& label) {
  return label.magic == StripeLabel::kMagic && label.version == StripeLabel::kVersion &&
         label.front_checksum == front_checksum_of(label);
}

//! Whether nothing was ever written where the database's header belongs: the first page behind the
//! first device's label.
bool has_no_header(Device& first, std::uint64_t stripe_bytes) {
  if (first.size_bytes() < stripe_bytes + kPageSize) return true;
  const AlignedBuffer page(kPageSize);
  return first.read(stripe_bytes, page.bytes()) == 0 &&
         std::ranges::all_of(page.bytes(), [](std::byte byte) { return byte == std::byte{0}; });
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

//! True if the checksum would be right with our magic and version, so that damage to these two does
//! not look like somebody else's device.
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
    throw Error(
        Errc::kNotADatabase,
        device.path() + ": is neither empty nor a device of a striped database; not touched");
  }
  if (label.version != StripeLabel::kVersion) {
    throw Error(Errc::kNotADatabase,
                fmt::format("{}: stripe label of version {}; this library reads version {}",
                            device.path(), label.version, StripeLabel::kVersion));
  }
  if (label.checksum != checksum_of(label) || label.count < 2 ||
      label.count > StripeLabel::kMaxDevices || label.index >= label.count ||
      !std::has_single_bit(label.stripe_bytes) || label.stripe_bytes < kPageSize) {
    throw Error(Errc::kCorrupt, device.path() + ": its stripe label is damaged");
  }
}

void check_stripe_bytes(std::uint64_t given, const StripeLabel& label) {
  if (given != 0 && given != label.stripe_bytes)
    refuse(
        fmt::format("stripe_bytes = {}: the database was made with {}", given, label.stripe_bytes));
}

}  // namespace

StripeSet::StripeSet(const Devices& devices, std::uint64_t stripe_bytes) {
  std::vector<StripeLabel> labels;
  std::vector<Found> found;
  for (const auto& device : devices) {
    labels.push_back(read_label(*device));
    found.push_back(look(*device, labels.back()));
  }
  if (std::ranges::all_of(found, [](Found one) { return one == Found::kBlank; })) {
    make(devices, stripe_bytes != 0 ? stripe_bytes : kDefaultStripeBytes);
  } else if (resume(devices, labels, found)) {
    check_stripe_bytes(stripe_bytes, _label);
  } else {
    for (std::size_t i = 0; i < devices.size(); ++i) {
      if (found[i] != Found::kBlank) check_label(*devices[i], labels[i]);
    }
    for (std::size_t i = 0; i < devices.size(); ++i) {
      if (found[i] == Found::kBlank)
        refuse(devices[i]->path() +
               ": is empty, but others of `paths` belong to a striped database");
    }
    check(devices, labels);
    check_stripe_bytes(stripe_bytes, labels[0]);
    _label = labels[0];
    _labelled = true;
  }
  // The label takes a whole stripe, so that what follows is aligned as stripes are.
  _layout = Layout(_label.count, static_cast<unsigned>(std::countr_zero(_label.stripe_bytes)),
                   _label.stripe_bytes);
}

StripeSet::Found StripeSet::look(Device& device, const StripeLabel& label) {
  if (is_label(label) && label.checksum == checksum_of(label)) return Found::kLabel;
  if (has_front(label)) return Found::kFront;
  return !is_label(label) && device.blank() ? Found::kBlank : Found::kOther;
}

//! True if this is what a creation leaves that was cut between its labels (see StripeLabel). The
//! creation is then continued.
bool StripeSet::resume(const Devices& devices, const std::vector<StripeLabel>& labels,
                       const std::vector<Found>& found) {
  const StripeLabel& first = labels[0];
  if (found[0] != Found::kLabel && found[0] != Found::kFront) return false;
  if (first.count != devices.size() || !std::has_single_bit(first.stripe_bytes) ||
      first.stripe_bytes < kPageSize || !has_no_header(*devices[0], first.stripe_bytes))
    return false;
  unsigned whole = 0;
  while (whole < found.size() && found[whole] == Found::kLabel) ++whole;
  if (whole == found.size()) return false;  // all there: they are checked as ever
  for (std::size_t i = 0; i < found.size(); ++i) {
    const bool of_this = labels[i].database == first.database && labels[i].index == i &&
                         labels[i].count == first.count &&
                         labels[i].stripe_bytes == first.stripe_bytes;
    if (i < whole && !of_this) return false;
    if (i == whole && found[i] != Found::kBlank && !(found[i] == Found::kFront && of_this))
      return false;
    if (i > whole && found[i] != Found::kBlank) return false;
  }
  _label = first;
  _whole = whole;
  if (whole == 0) {
    for (std::size_t i = 0; i < devices.size(); ++i) _label.device_ids[i] = random_id();
  }
  return true;
}

void StripeSet::check(const Devices& devices, const std::vector<StripeLabel>& labels) const {
  const StripeLabel& first = labels[0];
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const std::string& path = devices[i]->path();
    const StripeLabel& label = labels[i];
    if (label.count != devices.size())
      refuse(fmt::format("{}: is one of {} devices, but `paths` names {}", path, label.count,
                         devices.size()));
    if (label.database != first.database)
      refuse(fmt::format("{}: belongs to another database than {}", path, devices[0]->path()));
    if (label.index != i)
      refuse(fmt::format(
          "{}: is device {} of its database, but number {} of `paths`: the order counts", path,
          label.index, i));
    // A copy of a device that was made anew in between has the right number, but does not know the
    // others.
    if (label.device_ids != first.device_ids || label.stripe_bytes != first.stripe_bytes)
      refuse(fmt::format("{}: its label contradicts that of {}", path, devices[0]->path()));
  }
}

void StripeSet::make(const Devices& devices, std::uint64_t stripe_bytes) {
  _label.count = static_cast<std::uint32_t>(devices.size());
  _label.stripe_bytes = stripe_bytes;
  _label.database = random_id();
  for (std::size_t i = 0; i < devices.size(); ++i) {
    _label.device_ids[i] = random_id();
    if (devices[i]->kind() != Device::Kind::kFile && devices[i]->size_bytes() < 2 * stripe_bytes) {
      refuse(fmt::format("{}: {} bytes; stripe_bytes = {} needs at least two stripes",
                         devices[i]->path(), devices[i]->size_bytes(), stripe_bytes));
    }
  }
}

int StripeSet::write(const Devices& devices) {
  // The files' names become durable first, because a missing device must not look like an empty
  // one.
  for (const auto& device : devices) {
    if (const int error = device->flush(); error != 0) return error;
  }
  for (unsigned i = 0; i < devices.size(); ++i) {
    if (const int error = i < _whole ? 0 : write_label(*devices[i], i); error != 0) return error;
    const std::uint64_t bytes = _layout.share(i, 0);
    if (const int error = devices[i]->size_bytes() < bytes ? devices[i]->resize(bytes) : 0;
        error != 0)
      return error;
  }
  _whole = static_cast<unsigned>(devices.size());
  _labelled = true;
  return 0;
}

//! First its front, then all of it; see StripeLabel.
int StripeSet::write_label(Device& device, unsigned index) const {
  StripeLabel label = _label;
  label.index = index;
  label.front_checksum = front_checksum_of(label);
  label.checksum = checksum_of(label);
  if (device.size_bytes() < kPageSize) {  // so that a torn write leaves a page, not less
    int error = device.resize(kPageSize);
    if (error == 0) error = device.flush();
    if (error != 0) return error;
  }
  for (const std::size_t bytes : {kFrontBytes, sizeof label}) {
    const AlignedBuffer page(kPageSize);
    std::ranges::fill(page.bytes(), std::byte{0});
    std::memcpy(page.bytes().data(), &label, bytes);
    int error = device.write(0, page.bytes());
    if (error == 0) error = device.flush();
    if (error != 0) return error;
  }
  return 0;
}

void refuse_part_of_stripe(Device& device) {
  const StripeLabel label = read_label(device);
  if (is_label(label)) {
    refuse(
        fmt::format("{}: is device {} of the {} of a striped database: name all of them in `paths`",
                    device.path(), label.index, label.count));
  }
}

}  // namespace vmcache

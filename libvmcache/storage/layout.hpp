// SPDX-License-Identifier: MIT
//
// Where the bytes of a database lie: on one device as they are, or striped over several, each of
// which then begins with its label (stripe_label.hpp). Stripe s is on device s mod n.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <limits>
#include <span>

namespace vmcache {

//! A run of bytes on one device.
struct Piece {
  unsigned device = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

class Layout {
 public:
  //! One device, from its beginning.
  Layout() = default;
  //! `devices` (2 or more) in stripes of 2^stripe_shift bytes after `label_bytes` on each.
  Layout(unsigned devices, unsigned stripe_shift, std::uint64_t label_bytes) noexcept
      : _devices(devices), _shift(stripe_shift), _label_bytes(label_bytes) {
    assert(devices > 1);
  }

  [[nodiscard]] unsigned devices() const noexcept { return _devices; }
  [[nodiscard]] bool striped() const noexcept { return _devices > 1; }
  [[nodiscard]] std::uint64_t stripe_bytes() const noexcept { return std::uint64_t{1} << _shift; }

  //! The first piece of [offset, offset + bytes). It ends at the next border between stripes.
  [[nodiscard]] Piece piece(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    if (!striped()) return {0, offset, bytes};
    const std::uint64_t stripe = offset >> _shift;
    const std::uint64_t within = offset & (stripe_bytes() - 1);
    return {static_cast<unsigned>(stripe % _devices),
            _label_bytes + ((stripe / _devices) << _shift) + within,
            std::min(bytes, stripe_bytes() - within)};
  }

  //! Calls use(const Piece&) for each piece of [offset, offset + bytes).
  template <typename Use>
  void for_each_piece(std::uint64_t offset, std::uint64_t bytes, Use use) const {
    while (bytes > 0) {
      const Piece one = piece(offset, bytes);
      use(one);
      offset += one.bytes;
      bytes -= one.bytes;
    }
  }

  //! Bytes device `device` must have for a database of `total` bytes.
  [[nodiscard]] std::uint64_t share(unsigned device, std::uint64_t total) const noexcept {
    if (!striped()) return total;
    const std::uint64_t round = stripe_bytes() * _devices;
    const std::uint64_t rest = total % round;
    const std::uint64_t before = stripe_bytes() * device;
    return _label_bytes + (total / round << _shift) +
           (rest > before ? std::min(rest - before, stripe_bytes()) : 0);
  }

  //! Bytes of database that fit on devices of these sizes: the inverse of share().
  [[nodiscard]] std::uint64_t total(std::span<const std::uint64_t> sizes) const noexcept {
    assert(sizes.size() == _devices);
    if (!striped()) return sizes[0];
    std::uint64_t min = std::numeric_limits<std::uint64_t>::max();
    for (unsigned device = 0; device < _devices; ++device) {
      const std::uint64_t bytes = sizes[device] > _label_bytes ? sizes[device] - _label_bytes : 0;
      // The first byte of the database that has no place on this device.
      const std::uint64_t stripe = (bytes >> _shift) * _devices + device;
      min = std::min(min, (stripe << _shift) + (bytes & (stripe_bytes() - 1)));
    }
    return min;
  }

 private:
  unsigned _devices = 1;
  unsigned _shift = 63;
  std::uint64_t _label_bytes = 0;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "recovery/counted_reservation.hpp"
#include "recovery/thread_slot.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

class LogSpace;
//! Bytes of the log. Kept until what they were reserved for has been appended.
using LogReservation = CountedReservation<LogSpace>;

//! Reserves bytes of the log before records are appended (R10). Thread-safe.
//!
//! The last eighth of the log is for snapshots. Of the rest, a sixteenth of the log is the *quick*
//! share. It is cut into parts, one for each slot. A thread reserves a small number of bytes in the
//! part of its slot, and so writes to a cache line that few other threads use. All other
//! reservations are counted in one counter.
//!
//! Invariant: used + counted + quick <= max(). Each slot bounds its part, so quick is at most a
//! sixteenth of the log at any time. A new reservation of either kind needs used + counted to leave
//! the whole quick share free. `used` is read after the counters. A record is appended before its
//! reservation is given back, so its bytes are counted at least once.
class LogSpace {
 public:
  explicit LogSpace(const WriteAheadLog& log) noexcept : _log(log) {}

  //! The most bytes that anything but snapshots may use.
  [[nodiscard]] std::uint64_t max() const noexcept { return _log.capacity_bytes() / 8 * 7; }
  //! The longest possible reservation. It fits after a checkpoint.
  [[nodiscard]] std::uint64_t max_reserved() const noexcept { return max() / 16 * 9; }

  //! Returns an empty reservation if the bytes are not free before the next checkpoint.
  [[nodiscard]] LogReservation try_reserve(std::uint64_t bytes) noexcept {
    std::atomic<std::uint64_t>& quick = _slots[thread_slot() % kSlots].quick;
    const std::uint64_t part = quick_share() / kSlots;
    if (bytes <= part) {
      if (quick.fetch_add(bytes, std::memory_order_acq_rel) + bytes <= part &&
          leaves_quick_share(_counted.load(std::memory_order_acquire)))
        return {quick, bytes};
      quick.fetch_sub(bytes, std::memory_order_release);
    }
    if (leaves_quick_share(_counted.fetch_add(bytes, std::memory_order_acq_rel) + bytes))
      return {_counted, bytes};
    _counted.fetch_sub(bytes, std::memory_order_release);
    return {};
  }

 private:
  static constexpr std::size_t kSlots = 64;
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> quick{0};
  };

  [[nodiscard]] std::uint64_t quick_share() const noexcept { return _log.capacity_bytes() / 16; }
  [[nodiscard]] bool leaves_quick_share(std::uint64_t counted) const noexcept {
    return _log.used_bytes() + counted <= max() - quick_share();
  }

  const WriteAheadLog& _log;
  std::array<Slot, kSlots> _slots;
  alignas(64) std::atomic<std::uint64_t> _counted{0};
};

}  // namespace vmcache

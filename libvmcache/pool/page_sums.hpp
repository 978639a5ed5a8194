// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "crc32c.hpp"
#include "memory/reservation.hpp"
#include "vmcache/error.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

//! The checksum of every page as it should be in storage: as it was written or, before that, loaded
//! last. Thread-safe; of one page there is one write or load at a time (W1, and the claim of a
//! fault).
class PageSums {
 public:
  //! Throws Error kOutOfMemory.
  explicit PageSums(std::uint64_t capacity_pages)
      : _memory(capacity_pages * sizeof(Sum), "the pages' checksums"),
        _sums(reinterpret_cast<Sum*>(_memory.data())) {}

  //! These pages were written. To be called before anybody may evict, and so load, them.
  void set(PageId first, std::span<const std::byte> bytes) noexcept {
    for (std::size_t at = 0; at < bytes.size(); at += kPageSize)
      _sums[first + at / kPageSize].store(sum_of(&bytes[at]), std::memory_order_relaxed);
  }
  //! Whether these pages, just loaded, are those that were written last; kLostWrite. What was not
  //! known is believed.
  [[nodiscard]] Status check(PageId first, std::span<const std::byte> bytes) noexcept {
    for (std::size_t at = 0; at < bytes.size(); at += kPageSize) {
      const PageId page_id = first + at / kPageSize;
      const std::uint32_t found = sum_of(&bytes[at]);
      const std::uint32_t expected = of(page_id);
      if (expected == kUnknown) {
        _sums[page_id].store(found, std::memory_order_relaxed);
      } else if (expected != found) {
        return {.code = Errc::kLostWrite, .page_id = page_id, .expected = expected, .found = found};
      }
    }
    return {};
  }
  [[nodiscard]] bool knows(PageId page_id) const noexcept { return of(page_id) != kUnknown; }
  //! The page's share of BufferPool::digest(), which is their sum: so its place counts, and the
  //! order in which pages are asked does not.
  [[nodiscard]] std::uint64_t share_of(PageId page_id) const noexcept {
    // The finalizer of SplitMix64.
    std::uint64_t bits = page_id << 32 ^ page_id >> 32 ^ of(page_id);
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
    return bits ^ bits >> 31;
  }

 private:
  using Sum = std::atomic<std::uint32_t>;
  static constexpr std::uint32_t kUnknown = 0;

  [[nodiscard]] static std::uint32_t sum_of(const std::byte* page) noexcept {
    const std::uint32_t sum = crc32c(page, kPageSize);
    return sum != kUnknown ? sum : 1;
  }
  [[nodiscard]] std::uint32_t of(PageId page_id) const noexcept {
    return _sums[page_id].load(std::memory_order_relaxed);
  }

  const Reservation _memory;
  Sum* const _sums;
};

}  // namespace vmcache::detail

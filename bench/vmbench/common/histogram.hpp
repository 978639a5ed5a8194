// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace vmbench {

//! Counts of durations in logarithmic buckets of 32 a power of two, so at most 3 % wide, from 1 ns
//! to 18 minutes. One thread adds; any thread may copy meanwhile.
class Histogram {
 public:
  Histogram() = default;
  Histogram(const Histogram& other) { *this = other; }
  Histogram& operator=(const Histogram& other) {
    for (std::size_t i = 0; i < kBuckets; i++) store(i, other.load(i));
    return *this;
  }

  void add(std::uint64_t ns, std::uint64_t times = 1) {
    const std::size_t bucket = bucket_of(ns);
    store(bucket, load(bucket) + times);
  }
  Histogram& operator+=(const Histogram& other) {
    for (std::size_t i = 0; i < kBuckets; i++) store(i, load(i) + other.load(i));
    return *this;
  }
  Histogram& operator-=(const Histogram& earlier) {
    for (std::size_t i = 0; i < kBuckets; i++) store(i, load(i) - earlier.load(i));
    return *this;
  }
  [[nodiscard]] std::uint64_t total() const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kBuckets; i++) sum += load(i);
    return sum;
  }
  //! The middle of the bucket in which the `fraction` (0..1) quantile lies, in ns; 0 without
  //! samples.
  [[nodiscard]] double quantile_ns(double fraction) const {
    const double rank = fraction * static_cast<double>(total());
    double seen = 0;
    for (std::size_t i = 0; i < kBuckets; i++) {
      seen += static_cast<double>(load(i));
      if (seen > 0 && seen >= rank) return (lower_ns(i) + lower_ns(i + 1)) / 2;
    }
    return 0;
  }

 private:
  static constexpr unsigned kSubBits = 5;
  static constexpr std::size_t kSub = std::size_t{1} << kSubBits;
  static constexpr std::size_t kBuckets = kSub * 36;

  static std::size_t bucket_of(std::uint64_t ns) {
    if (ns < kSub) return ns;
    const unsigned power = static_cast<unsigned>(std::bit_width(ns)) - kSubBits - 1;
    const std::size_t bucket = (power + 1) * kSub + ((ns >> power) - kSub);
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }
  static double lower_ns(std::size_t bucket) {
    if (bucket < kSub) return static_cast<double>(bucket);
    const std::size_t power = bucket / kSub - 1;
    return static_cast<double>((bucket % kSub + kSub) << power);
  }
  [[nodiscard]] std::uint64_t load(std::size_t i) const {
    return _counts[i].load(std::memory_order_relaxed);
  }
  void store(std::size_t i, std::uint64_t count) {
    _counts[i].store(count, std::memory_order_relaxed);
  }

  std::array<std::atomic<std::uint64_t>, kBuckets> _counts{};
};

}  // namespace vmbench

// SPDX-License-Identifier: MIT
#include "vmcache/stats.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

namespace vmcache {

std::size_t LatencyHistogram::bucket_of(std::uint64_t ns) noexcept {
  if (ns < kSubBuckets) return static_cast<std::size_t>(ns);
  constexpr unsigned kSubBits = std::bit_width(kSubBuckets) - 1;
  const unsigned exponent = static_cast<unsigned>(std::bit_width(ns)) - 1 - kSubBits;
  const std::uint64_t sub = (ns >> exponent) - kSubBuckets;
  return std::min<std::size_t>((exponent + std::size_t{1}) * kSubBuckets + sub, kBuckets - 1);
}

std::uint64_t LatencyHistogram::lower_bound_ns(std::size_t bucket) noexcept {
  if (bucket < kSubBuckets) return bucket;
  const std::size_t exponent = bucket / kSubBuckets - 1;
  return (kSubBuckets + bucket % kSubBuckets) << exponent;
}

std::uint64_t LatencyHistogram::total() const noexcept {
  return std::accumulate(_counts.begin(), _counts.end(), std::uint64_t{0});
}

std::uint64_t LatencyHistogram::quantile_ns(double fraction) const noexcept {
  const auto all = static_cast<double>(total());
  double below = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    below += static_cast<double>(_counts[i]);
    if (below > 0 && below >= fraction * all) return lower_bound_ns(i);
  }
  return 0;
}

}  // namespace vmcache

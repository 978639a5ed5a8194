// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "vmcache/stats.hpp"

namespace vmcache {

//! A counter with one writer and any readers: no locked instruction.
class Counter {
 public:
  void add(std::uint64_t n) noexcept { _value.store(value() + n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t value() const noexcept {
    return _value.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> _value{0};
};

//! LatencyHistogram's buckets as counters.
class LatencyCounters {
 public:
  void add(std::uint64_t ns) noexcept { _counts[LatencyHistogram::bucket_of(ns)].add(1); }
  void add_to(LatencyHistogram& histogram) const noexcept {
    for (std::size_t i = 0; i < _counts.size(); ++i) histogram.add_bucket(i, _counts[i].value());
  }

 private:
  std::array<Counter, LatencyHistogram::kBuckets> _counts;
};

//! What one engine counts.
struct EngineCounters {
  Counter misses, reads, read_pages, writes, written_pages, read_errors, write_errors, retries,
      submissions;
  Counter evictions, evicted_pages, frame_waits, latch_waits, empty_poll_ns;
  LatencyCounters read_latency, write_latency;
};

}  // namespace vmcache

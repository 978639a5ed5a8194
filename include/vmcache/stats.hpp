// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

//! Counts durations in buckets whose width grows with the value. There are 8 for each power of two,
//! so a bucket is about 9 % wide.
class LatencyHistogram {
 public:
  static constexpr unsigned kSubBuckets = 8;
  static constexpr std::size_t kBuckets = std::size_t{40} * kSubBuckets;

  [[nodiscard]] static std::size_t bucket_of(std::uint64_t ns) noexcept;
  //! In ns.
  [[nodiscard]] static std::uint64_t lower_bound_ns(std::size_t bucket) noexcept;

  void add(std::uint64_t ns, std::uint64_t times = 1) noexcept { _counts[bucket_of(ns)] += times; }
  void add_bucket(std::size_t bucket, std::uint64_t times) noexcept { _counts[bucket] += times; }
  [[nodiscard]] std::uint64_t count(std::size_t bucket) const noexcept { return _counts[bucket]; }
  [[nodiscard]] std::uint64_t total() const noexcept;
  //! The value in ns below which `fraction` (0 .. 1) of the samples lie; 0 without samples.
  [[nodiscard]] std::uint64_t quantile_ns(double fraction) const noexcept;

 private:
  std::array<std::uint64_t, kBuckets> _counts{};
};

//! What a pool has done since it was opened, and what it holds. Counters are summed over threads
//! without stopping them, so they may be a few operations apart. Hits are not counted, because a
//! hit writes nothing.
struct PoolStats {
  std::uint64_t misses = 0;         //!< fixes that had to read or create a page
  std::uint64_t reads = 0;          //!< read I/Os completed
  std::uint64_t read_pages = 0;     //!< pages in them
  std::uint64_t writes = 0;         //!< write I/Os completed
  std::uint64_t written_pages = 0;  //!< pages in them
  std::uint64_t read_errors = 0;    //!< reads reported to a caller as failed
  std::uint64_t write_errors = 0;   //!< writes that failed; their pages stayed dirty
  //! Commands on NVMe passthrough that failed and were tried again because their status allows it.
  //! The counters above count only their last result. For block devices and files the kernel
  //! retries.
  std::uint64_t retries = 0;
  std::uint64_t submissions = 0;    //!< calls that handed I/O to storage
  std::uint64_t flushes = 0;        //!< storage flushes
  std::uint64_t evictions = 0;      //!< extents evicted
  std::uint64_t evicted_pages = 0;  //!< pages in them
  std::uint64_t page_table_calls =
      0;  //!< calls that changed the page table (madvise, UFFDIO_MOVE, exmap action)
  std::uint64_t page_table_pages = 0;  //!< pages in them
  std::uint64_t frame_waits = 0;       //!< faults that found no frame at first
  std::uint64_t latch_waits = 0;       //!< fixes that found the latch taken and waited
  //! For Workers that wait by polling: the time they spent asking the device without finding a
  //! completion. Their threads seem busy all the time; this much of it was idle.
  std::uint64_t empty_poll_ns = 0;
  std::uint64_t restarts = 0;         //!< operations started again after a wait or a lost race
  std::uint64_t promotions = 0;       //!< extents the replacement moved from cold to hot
  std::uint64_t allocated_pages = 0;  //!< page ids handed out (pages)
  std::uint64_t freed_pages = 0;      //!< page ids taken back (pages)

  std::uint64_t pool_pages = 0;      //!< frames that the pool may use now
  std::uint64_t free_frames = 0;     //!< of these, not in use
  std::uint64_t database_pages = 0;  //!< pages up to the highest id ever handed out
  std::uint64_t capacity_pages = 0;  //!< page ids that the database can have
  std::uint64_t pins = 0;            //!< pages of the pins that are held (BufferPool::pin())
  std::uint64_t open_files = 0;      //!< files that are open (BufferPool::open_file())

  //! From the preparation of the read until its completion is seen.
  LatencyHistogram read_latency;
  LatencyHistogram write_latency;  //!< the same for writes
};

}  // namespace vmcache

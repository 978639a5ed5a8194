// SPDX-License-Identifier: MIT
//
// The inside of a BufferPool: what its engines share.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "log.hpp"
#include "memory/memory.hpp"
#include "memory/reservation.hpp"
#include "pool/engine_set.hpp"
#include "pool/header.hpp"
#include "pool/page_allocator.hpp"
#include "pool/page_sums.hpp"
#include "pool/residency.hpp"
#include "pool/write_claims.hpp"
#include "vmcache/error.hpp"
#include "vmcache/options.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::detail {

//! Frames are counted, not named: which frame backs a page is the memory's business. free_frames + frames of
//! residents + frames in engines' hands = pool_frames. While the pool shrinks, free_frames is negative:
//! frames owed.
class PoolCore {
 public:
  explicit PoolCore(const PoolOptions& options);

  [[nodiscard]] AtomicPageState* states() const noexcept { return _states; }

  //! Takes up to `wanted` frames and returns how many.
  [[nodiscard]] std::uint64_t take_frames(std::uint64_t wanted) noexcept;
  void give_frames(std::uint64_t frames) noexcept {
    _free_frames.fetch_add(static_cast<std::int64_t>(frames), std::memory_order_acq_rel);
  }
  //! Takes frames that are not there yet: until they are given, nobody gets any.
  void owe_frames(std::uint64_t frames) noexcept {
    _free_frames.fetch_sub(static_cast<std::int64_t>(frames), std::memory_order_acq_rel);
  }
  [[nodiscard]] std::int64_t free_frames() const noexcept {
    return _free_frames.load(std::memory_order_acquire);
  }

  //! Says that a page could not be written; the log hears of the 1st, 2nd, 4th, 8th ... failure.
  void report_write_error(const Status& status) noexcept;
  //! errno of the last write that failed, 0 if the last one succeeded.
  [[nodiscard]] int last_write_error() const noexcept {
    return _last_write_error.load(std::memory_order_relaxed);
  }
  void clear_write_error() noexcept {
    if (last_write_error() != 0) _last_write_error.store(0, std::memory_order_relaxed);
  }

  //! Brings the header up to date and writes it. Throws Error kIo.
  void write_header(bool clean, PageId free_list);

  const PoolOptions options;  // first: what follows is made by the checked ones
  Log log;

 private:
  Reservation _state_memory;
  AtomicPageState* _states;

 public:
  const std::uint64_t capacity_pages;
  //! options.write_ahead; replaced only by tests that plant a bug.
  WriteAhead* write_ahead;
  const std::unique_ptr<Storage> storage;
  Header header;  //!< next_page and free_list are brought up to date when it is written
  std::mutex header_mutex;
  std::mutex deallocate_mutex;  //!< around PageAllocator::hold_freed() .. release_held()
  const std::unique_ptr<Memory> memory;
  Residency residency;
  PageAllocator allocator;
  WriteClaims writes;
  std::optional<PageSums> sums;  //!< options.lost_write_check
  std::atomic<std::uint64_t> pool_frames;
  EngineSet engines;
  std::string description;
  std::atomic<std::uint64_t> flushes{0};
  std::atomic<std::uint64_t> restarts{0};
  bool open = false;

 private:
  //! If the options say so. Throws Error kUnsupported.
  void register_frames();

  std::atomic<std::int64_t> _free_frames;
  std::atomic<int> _last_write_error{0};
  std::atomic<std::uint64_t> _write_errors{0};
};

}  // namespace vmcache::detail

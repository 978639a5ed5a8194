// SPDX-License-Identifier: MIT
//
// The inside of a BufferPool: what its engines share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "logger.hpp"
#include "memory/memory.hpp"
#include "memory/reservation.hpp"
#include "pool/engine_set.hpp"
#include "pool/file_set.hpp"
#include "pool/paged_store.hpp"
#include "pool/residency.hpp"
#include "pool/storage_flush.hpp"
#include "pool/write_claims.hpp"
#include "pool/write_errors.hpp"
#include "vmcache/detail/own_process.hpp"
#include "vmcache/error.hpp"
#include "vmcache/options.hpp"
#include "vmcache/page_format.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::detail {

//! Frames are counted, not named: the memory decides which frame backs a page. free_frames + frames
//! of residents + frames in engines' hands = pool_frames. While the pool shrinks free_frames may be
//! negative: frames that are owed.
class PoolCore {
 public:
  explicit PoolCore(const PoolOptions& options);

  [[nodiscard]] AtomicPageState* states() const noexcept { return _states; }

  //! Takes up to `wanted` frames and returns how many.
  [[nodiscard]] std::uint64_t take_frames(std::uint64_t wanted) noexcept;
  void give_frames(std::uint64_t frames) noexcept {
    _free_frames.fetch_add(static_cast<std::int64_t>(frames), std::memory_order_acq_rel);
  }
  //! Takes frames that may not be free yet. Nobody gets frames until as many have been given back.
  void owe_frames(std::uint64_t frames) noexcept {
    _free_frames.fetch_sub(static_cast<std::int64_t>(frames), std::memory_order_acq_rel);
  }
  [[nodiscard]] std::int64_t free_frames() const noexcept {
    return _free_frames.load(std::memory_order_acquire);
  }

  //! Records that a page could not be written, at `now_ns`. Logs the 1st, 2nd, 4th, 8th ...
  //! failure.
  void report_write_error(const Status& status, std::uint64_t now_ns) noexcept;
  //! Logs that changes of a read_only() page are lost.
  void report_dropped(PageId page_id) noexcept;
  //! Logs what no caller can be told.
  void report(const char* what) noexcept;

  //! options.frame_wait in nanoseconds.
  [[nodiscard]] std::uint64_t patience_ns() const noexcept {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(options.frame_wait).count());
  }

  //! Every call that leaves the hit path begins with this (F1 of own_process.hpp). Throws Error
  //! kWrongProcess, kClosed.
  void require_usable() const {
    process.require("the pool");
    if (!open.load(std::memory_order_relaxed)) [[unlikely]]
      refuse_closed();
  }

  //! \name Pages of the database or of a file
  //! @{
  //! Where the page is in the database or in its file. The caller holds the page.
  [[nodiscard]] std::uint64_t offset_of(PageId page_id) const noexcept;
  //! Sets where the transfer of a page begins, and of which file. The caller holds the page.
  void set_place(IoRequest& request, PageId page_id) const noexcept;
  //! Most pages of whole ranges of a file will be used.
  void expect_many_pages(PageId first, std::uint64_t pages) const noexcept;
  //! What a page of it looks like in storage, or null; and what log is asked before it is written,
  //! or null. The caller holds the page.
  [[nodiscard]] const PageFormat* format_of(PageId page_id) const noexcept;
  [[nodiscard]] WriteAhead* log_of(PageId page_id) const noexcept;
  //! What knows which pages there are, or null for a page of a raw file. The caller holds the page,
  //! or is the file's user (T2).
  [[nodiscard]] PagedStore* paged_of(PageId page_id) noexcept;
  //! 0, or the errno of the flush that has failed. The caller holds the page.
  [[nodiscard]] int flush_error(PageId page_id) const noexcept;
  //! Nothing that is changed in it is ever written. The caller holds the page.
  [[nodiscard]] bool read_only(PageId page_id) const noexcept;
  //! A queue for pages of the database and of files. Throws Error.
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer);
  //! @}

  const OwnProcess process;
  const PoolOptions options;  // first, because the rest is made from the checked options
  Logger logger;

 private:
  Reservation _state_memory;
  AtomicPageState* _states;

 public:
  FileSet files;
  const std::unique_ptr<Storage> storage;
  StorageFlush storage_flush;  //!< the only way in which the storage is flushed
  PagedStore database;         //!< what the pool was opened with, or an empty one
  const std::unique_ptr<Memory> memory;
  Residency residency;
  WriteClaims writes;
  std::atomic<std::uint64_t> pool_frames;
  EngineSet engines;
  //! The memory's context for free() of extents. Used under its mutex, which is held for a
  //! page-table call and never across I/O.
  struct {
    std::mutex mutex;
    const unsigned context;
  } freeing;
  std::string description;
  std::atomic<std::uint64_t> eviction_writes{0};  //!< of victims, in flight, in all engines
  WriteErrors write_errors;
  std::atomic<std::uint64_t> restarts{0};
  std::atomic<bool> open{false};
  //! BufferPool objects that use it: the pool, and its paged files.
  std::atomic<unsigned> users{1};

 private:
  //! Does so if the options ask for it. Throws Error kUnsupported.
  void register_frames();
  [[noreturn]] static void refuse_closed();

  std::atomic<std::int64_t> _free_frames;
};

}  // namespace vmcache::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "vmcache/error.hpp"
#include "vmcache/fault.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/operation.hpp"
#include "vmcache/options.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/stats.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

namespace detail {
class PoolCore;
}

//! A database file whose pages appear at base + page_id * kPageSize while they are cached (virtual-memory
//! assisted buffer management: Leis et al., SIGMOD 2023). The pool alone decides about faults, eviction and
//! write-back.
//!
//! All calls may be made by any thread at any time, except open, close and destruction. Calls that may wait
//! for I/O say so. A Worker's task may make them, but then its worker's other tasks stand still, and where one of
//! those has the latch that is wanted, the call ends with Error kBusy after `frame_wait`: use the Worker's awaitable
//! forms there.
class BufferPool {
 public:
  //! Page ids an embedder can keep in the header: page 0 of the file. They survive a close.
  static constexpr unsigned kRoots = 64;

  //! Opens or creates the database. Throws Error: kInvalidOption, kNotADatabase, kUncleanShutdown, kInUse,
  //! kIo, kOutOfMemory, kUnsupported. A file that is not ours is not touched.
  explicit BufferPool(const PoolOptions& options);
  //! Closes if close() was not called; what fails then goes to the log callback.
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  //! Writes back every dirty page, flushes and marks the database as cleanly closed. No guard and no Worker
  //! may be alive (kBusy). Throws Error; the pool then stays open and nothing is lost: close() may be tried
  //! again. Waits for I/O.
  void close();

  //! \name Fixing pages
  //! `order` is the extent's, as it was allocated; it matters only when the page is not resident.
  //! @{

  //! Never waits, never faults. kMiss for ids outside the database's capacity, too.
  [[nodiscard]] TryFix try_fix(PageId page_id, OptimisticGuard& guard) noexcept {
    if (page_id >= _capacity_pages) [[unlikely]]
      return TryFix::kMiss;
    AtomicPageState& state = _states[page_id];
    const PageState seen = state.load();
    if (!seen.readable()) [[unlikely]]
      return seen.exclusive() ? TryFix::kBusy : TryFix::kMiss;
    if (seen.marked()) [[unlikely]]
      latch::clear_mark(state, seen);
    guard = OptimisticGuard{{&state, address(page_id), page_id}, seen};
    return TryFix::kFixed;
  }
  [[nodiscard]] TryFix try_fix(PageId page_id, SharedGuard& guard) noexcept {
    return try_latch(page_id, guard, latch::try_shared);
  }
  [[nodiscard]] TryFix try_fix(PageId page_id, ExclusiveGuard& guard) noexcept {
    return try_latch(page_id, guard, latch::try_exclusive);
  }

  //! Wait for latches and I/O until the page is fixed. Throw Error: kInvalidPage, kIo, kPoolExhausted.
  [[nodiscard]] OptimisticGuard fix_optimistic(PageId page_id, unsigned order = 0) {
    return fix_blocking<OptimisticGuard>(page_id, order);
  }
  [[nodiscard]] SharedGuard fix_shared(PageId page_id, unsigned order = 0) {
    return fix_blocking<SharedGuard>(page_id, order);
  }
  [[nodiscard]] ExclusiveGuard fix_exclusive(PageId page_id, unsigned order = 0) {
    return fix_blocking<ExclusiveGuard>(page_id, order);
  }

  //! Brings a set of extents into memory with as few submissions as it takes, and waits for all. They are not
  //! latched and may be evicted again. Throws the first Error after all have ended.
  void prefetch(std::span<const Extent> extents);
  //! @}

  //! \name Page ids
  //! @{

  //! A new extent of 2^order pages, zeroed, exclusively latched; ids that were freed are used again. Waits
  //! for a frame. Throws Error: kInvalidPage (order > kMaxOrder), kDatabaseFull (capacity, or the device is
  //! full: os_error()), kPoolExhausted.
  [[nodiscard]] ExclusiveGuard allocate(unsigned order = 0);
  //! Gives the extent's page ids back. Its bytes are lost; optimistic readers notice. Does not wait for I/O.
  void free(ExclusiveGuard&& guard);
  //! The same for an extent that nothing leads to any more, latched or not, in memory or not, without reading it. False
  //! if somebody's latch or fault is in the way: try again a little later. Throws Error kInvalidPage: there is no such extent.
  [[nodiscard]] bool try_free(Extent extent);

  //! Calls use(lowest page id never handed out, extents below it that nobody owns) with both as of one moment. `use` must
  //! not allocate or free.
  void free_extents(const std::function<void(std::uint64_t, std::span<const Extent>)>& use);

  //! Page id kept under `index` (0 .. kRoots-1) in the header, kNoPage if none.
  [[nodiscard]] PageId root(unsigned index) const;
  //! Durable with the next checkpoint() or close().
  void set_root(unsigned index, PageId page_id);
  //! @}

  //! Writes back all pages that were dirty when it was called and flushes. Work may go on. Throws Error kIo
  //! with the first page that failed; pages that failed stay dirty. Waits for I/O.
  void checkpoint();

  //! Makes a checkpoint, and returns a checksum of all pages in use as they must now be in storage. Kept where that storage cannot reach it, and
  //! compared after the next open, it tells whether any page is another, or an older version of itself. Reads the pages that this
  //! pool has neither read nor written, so all of them after an open. Needs PoolOptions::lost_write_check, and that nothing is changed
  //! meanwhile. Throws Error: kInvalidOption, kIo, and what checkpoint() throws.
  [[nodiscard]] std::uint64_t digest();

  //! Gives the pool more or less memory while work goes on: 64 KiB .. capacity. Shrinking evicts and waits
  //! for write-back; if it cannot reach the size within frame_wait, it throws kPoolExhausted and the pool
  //! keeps its old size.
  void resize(std::uint64_t pool_bytes);

  [[nodiscard]] PoolStats stats() const;
  //! For messages: what memory and storage the pool settled on.
  [[nodiscard]] const std::string& description() const noexcept;

  //! Runs an operation to completion on the calling thread. Waits for I/O. Throws what step() throws, and
  //! Error.
  template <Operation Op>
  void perform(Op& op) {
    unsigned stale = 0;
    for (unsigned restarts = 0;; ++restarts) {
      const Need need = op.step(*this);
      if (need.done()) [[likely]]
        return;
      if (need.kind == Need::Kind::kNewExtent) {
        op.supply(allocate(need.extent.order));
        continue;
      }
      const Status status = satisfy(need, restarts);
      if (!need.tolerates(status, stale)) throw Error(status);
    }
  }

  [[nodiscard]] std::byte* address(PageId page_id) const noexcept { return _base + page_id * kPageSize; }
  //! The page's address and state word, without any right to them; for code that holds a latch by other
  //! means.
  [[nodiscard]] PageRef page_ref(PageId page_id) const noexcept {
    return {&_states[page_id], address(page_id), page_id};
  }
  //! Pages of memory the pool has now.
  [[nodiscard]] std::uint64_t pool_pages() const noexcept;
  [[nodiscard]] std::uint64_t capacity_pages() const noexcept { return _capacity_pages; }
  //! True if `page_id` lies below the highest id ever handed out: what a stored page id can be checked with.
  [[nodiscard]] bool contains(PageId page_id) const noexcept;

  //! Whether extents begin with a PageHeader.
  [[nodiscard]] bool page_headers() const noexcept { return _page_headers; }
  //! Who is told of the changes of structures; null if nobody (PoolOptions::change_log).
  [[nodiscard]] ChangeLog* change_log() const noexcept { return _change_log; }

  //! The inside, for Worker and the library's own tests.
  [[nodiscard]] detail::PoolCore& core() const noexcept { return *_core; }

 private:
  template <typename Guard, typename TryLatch>
  TryFix try_latch(PageId page_id, Guard& guard, TryLatch try_latch_word) noexcept {
    if (page_id >= _capacity_pages) [[unlikely]]
      return TryFix::kMiss;
    AtomicPageState& state = _states[page_id];
    const TryFix result = try_latch_word(state, state.load(std::memory_order_relaxed));
    if (result == TryFix::kFixed) [[likely]]
      guard = Guard{{&state, address(page_id), page_id}};
    return result;
  }
  template <typename Guard>
  Guard fix_blocking(PageId page_id, unsigned order) {
    Guard guard;
    for (unsigned restarts = 0;; ++restarts) {
      const TryFix result = try_fix(page_id, guard);
      if (result == TryFix::kFixed) [[likely]]
        return guard;
      const Status status = satisfy(Need::after(result, page_id, order), restarts);
      if (!status.ok()) throw Error(status);
    }
  }
  //! Gets what a need of kind kPage or kLatch asks for; `restarts` is how often the caller has asked in a
  //! row.
  [[nodiscard]] Status satisfy(const Need& need, unsigned restarts);

  // First, and never written again: what the hit path reads.
  std::byte* _base = nullptr;
  AtomicPageState* _states = nullptr;
  std::uint64_t _capacity_pages = 0;
  ChangeLog* _change_log = nullptr;
  bool _page_headers = false;
  std::unique_ptr<detail::PoolCore> _core;
};

}  // namespace vmcache

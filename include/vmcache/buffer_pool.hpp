// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vmcache/detail/fault.hpp"
#include "vmcache/error.hpp"
#include "vmcache/export.hpp"
#include "vmcache/file.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/operation.hpp"
#include "vmcache/options.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/pin.hpp"
#include "vmcache/stats.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

struct PagedFileOptions;

namespace detail {
class PagedStore;
class PoolCore;
class RawFile;
struct PoolAccess;

//! Releases a guard that turned out to be of no use.
inline void let_go(OptimisticGuard& guard) noexcept {
  guard = {};
}
inline void let_go(SharedGuard& guard) noexcept {
  guard.release();
}
inline void let_go(ExclusiveGuard& guard) noexcept {
  guard.release_unmodified();
}
}  // namespace detail

//! A database file whose pages appear at base + page_id * kPageSize while they are cached
//! (virtual-memory assisted buffer management: Leis et al., SIGMOD 2023). Only the pool decides
//! about faults, eviction and write-back.
//!
//! Process. A pool belongs to the process that opened it. In a child of fork() every call that can
//! throw throws Error kWrongProcess, except those that only tell what is known without the pool's
//! state: contains(), description() and the like. The destructors of guards and pool do nothing
//! there (own_process.hpp). The child shares the descriptors, and so the lock on the database,
//! until it ends or calls exec.
//!
//! Threads. Any thread may make any call at any time, except open, close and destruction. Calls
//! that may wait for I/O say so. A Worker's task may make them, but its Worker's other tasks then
//! stand still. If one of those holds the latch that is wanted, the call throws Error kBusy after
//! `frame_wait`; use the Worker's awaitable forms there. A call also throws kBusy if it waits for a
//! page that a Worker loads and that Worker's thread has done something else for `frame_wait`: its
//! task may wait for a mutex that the caller holds.
//!
//! Failed flush. A flush of the storage that fails is final. The kernel or the device may have
//! dropped what it was to write, so no later flush makes anything durable, and reading a page again
//! may give an old version. From then on every call that fixes, allocates or writes back throws
//! Error kIo with the reason. At that moment all pages that are not latched leave memory, so that
//! fixing them fails, too. Latched pages stay and are correct, so guards that are alive stay valid.
//! close() ends without marking the database as closed cleanly.
class BufferPool {
 public:
  //! Number of page ids that an embedder can keep in the header (page 0 of the file). They survive
  //! a close.
  static constexpr unsigned kRoots = 64;

  //! Opens or creates the database. Throws Error: kInvalidOption, kNotADatabase, kUncleanShutdown,
  //! kInUse, kIo, kOutOfMemory, kUnsupported. Does not touch a file that is not a database of this
  //! library.
  explicit BufferPool(const PoolOptions& options);
  //! Closes if close() was not called. What then fails goes to the log callback.
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  //! Writes back every dirty page, flushes, and marks the database as cleanly closed. No
  //! SharedGuard, ExclusiveGuard or Worker may be alive (kBusy). Throws Error; the pool then stays
  //! open, nothing is lost, and close() may be tried again. If the flush failed, now or earlier,
  //! the next close() writes nothing more and succeeds, and the next open is
  //! Errc::kUncleanShutdown. After a close, fixes, allocations and similar calls throw kClosed.
  //! The files stay locked until the pool is destroyed. Waits for I/O.
  void close();

  //! \name Fixing pages
  //! `order` is that of the extent, as it was allocated. Another order is Error kInvalidPage if the
  //! pool knows better. It knows the order from the allocation, or from the first fix since the
  //! open, whose order it believes. (With order 0 the first page of a resident extent can be fixed,
  //! too; that fixes the extent.) No guard may outlive the pool.
  //!
  //! A single page that was freed can still be fixed while it is in memory and its id is not handed
  //! out again: it holds its last bytes, or old ones. An extent of several pages cannot, nor can a
  //! page that has left memory (kInvalidPage).
  //! @{

  //! Never waits and never faults. kMiss also for ids outside the database's capacity.
  [[nodiscard]] TryFix try_fix(PageId page_id, OptimisticGuard& guard) noexcept {
    if (page_id >= _fixable_pages) [[unlikely]]
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

  //! Wait for latches and I/O until the page is fixed. Who holds a latch on the page already, and
  //! wants one that goes against it, waits for himself: for ever. Throw Error: kInvalidPage, kIo,
  //! kPoolExhausted.
  [[nodiscard]] OptimisticGuard fix_optimistic(PageId page_id, unsigned order = 0) {
    return fix_blocking<OptimisticGuard>(page_id, order);
  }
  [[nodiscard]] SharedGuard fix_shared(PageId page_id, unsigned order = 0) {
    return fix_blocking<SharedGuard>(page_id, order);
  }
  [[nodiscard]] ExclusiveGuard fix_exclusive(PageId page_id, unsigned order = 0) {
    ExclusiveGuard guard;
    if (try_fix(page_id, guard) != TryFix::kFixed || !covers(order, guard)) [[unlikely]]
      await_exclusive(page_id, order, guard);
    return guard;
  }

  //! Keeps the page where it is and in memory until the pin goes, without a latch (pin.hpp). Waits
  //! for latches and I/O. Throws what fix_shared() throws, kPoolExhausted (of kMaxPinnedShare pages
  //! one is pinned already; an extent counts with all its pages, once for each pin), and
  //! kInvalidPage (the page is free).
  [[nodiscard]] Pin pin(PageId page_id, unsigned order = 0);
  //! Whether the page is pinned. The answer stays true only while the caller holds the page's
  //! exclusive latch, because pin() takes a shared one.
  [[nodiscard]] bool pinned(PageId page_id) const noexcept;
  //! Of a pool's pages at most one in this many can be pinned: evictions must find others.
  static constexpr std::uint64_t kMaxPinnedShare = 2;

  //! Brings a set of extents into memory with as few submissions as possible, and waits for all. It
  //! does not latch them, so they may be evicted again. Throws the first Error after all have
  //! ended.
  void prefetch(std::span<const Extent> extents);
  //! @}

  //! \name Page ids
  //! @{

  //! Makes an extent of 2^order pages, zeroed and exclusively latched. Freed ids are used again.
  //! Waits for a frame. Throws Error: kInvalidPage (order > kMaxOrder), kDatabaseFull (the capacity
  //! is reached, or the device is full: os_error()), kPoolExhausted, kBusy (somebody has kept a
  //! page that was freed latched for `frame_wait`).
  [[nodiscard]] ExclusiveGuard allocate(unsigned order = 0);
  enum class Placement : std::uint8_t {
    kAnywhere,  //!< freed ids are used again
    kInARow,    //!< ids that follow one another, behind all that were ever handed out
  };
  //! Makes `count` single pages (1 .. half of the pool) at once, zeroed and exclusively latched, in
  //! the order of their ids if they are kInARow. Frames are mapped in batches. All of them, or none
  //! and an Error: kInvalidOption (count), or as allocate(). After kPoolExhausted or kBusy the ids
  //! are free, but are not taken for another row.
  [[nodiscard]] std::vector<ExclusiveGuard> allocate_pages(
      std::size_t count, Placement placement = Placement::kAnywhere);
  //! Gives the extent's page ids back. Its bytes are lost, and optimistic readers notice. Does not
  //! wait for I/O, a checkpoint or a resize. An extent of several pages costs a page-table call.
  //! Throws Error kInvalidPage if the guard holds no page, one that is already free, or one of a
  //! file, and kBusy if the page is pinned; the guard and all else are then unchanged. Cannot fail
  //! otherwise.
  void free(ExclusiveGuard&& guard);
  //! Does the same for an extent that nothing leads to any more, whether or not it is in memory,
  //! and without reading it. False if another thread's latch or fault, or a pin, is in the way; try
  //! again a little later. Throws Error kInvalidPage if there is no such extent, or some of its
  //! pages are already free; nothing has then changed.
  [[nodiscard]] bool try_free(Extent extent);

  //! Records an extent whose try_free() failed, so that free_extents() and the next open count it
  //! as free. The caller may still try again.
  void leave(Extent extent) noexcept;

  //! Takes the extent of the database that begins there out of memory. Changes are written back
  //! first, once the log allows that. Nothing happens if it is not in memory. Waits for I/O. Throws
  //! Error: kInvalidPage (no page of the database, or inside an extent), kBusy (it is pinned, stays
  //! latched for frame_wait, or the log does not become durable), kIo; it then stays in memory.
  //! Pages of files: File::drop().
  void drop(PageId page_id);

  //! Calls use(lowest page id never handed out, extents below it that nobody owns), both as of one
  //! moment. `use` must not allocate or free.
  void free_extents(const std::function<void(std::uint64_t, std::span<const Extent>)>& use);

  //! The page id kept under `index` (0 .. kRoots-1) in the header, or kNoPage.
  [[nodiscard]] PageId root(unsigned index) const;
  //! Becomes durable with the next checkpoint() or close().
  void set_root(unsigned index, PageId page_id);
  //! @}

  //! Opens a file of the embedder's own format into the pool (file.hpp). Waits for I/O. Throws
  //! Error: kInvalidOption, kInUse, kIo, kUnsupported (no regular file), kDatabaseFull (larger than
  //! its capacity_bytes, or no range of PoolOptions::files_bytes is left).
  [[nodiscard]] File open_file(const FileOptions& options);
  //! Makes an empty file that has no name and is gone when it is closed: for what a sort or a hash
  //! join cannot keep in memory (File, "Temporary"). Needs PoolOptions::files_bytes. Throws Error:
  //! kInvalidOption, kDatabaseFull (no range left), kIo, kUnsupported.
  [[nodiscard]] File open_temporary(const TemporaryOptions& options = {});

  //! Writes back all pages of the database that were dirty when it was called, and flushes. Other
  //! threads may go on working. Throws Error kIo with the first page that failed; pages that failed
  //! stay dirty. A failed flush is final: see above. Waits for I/O.
  void checkpoint();

  //! Makes a checkpoint and returns a checksum of all pages in use, as they must now be in storage.
  //! Keep it where that storage cannot reach it and compare it after the next open. A difference
  //! means that a page has other bytes, or is an older version of itself. Reads the pages that this
  //! pool has neither read nor written, which are all of them after an open. Needs
  //! PoolOptions::lost_write_check, and nothing may change meanwhile. Throws Error: kInvalidOption,
  //! kIo, and what checkpoint() throws.
  [[nodiscard]] std::uint64_t digest();

  //! Gives the pool more or less memory while it is in use: 64 KiB .. capacity. Shrinking evicts
  //! and waits for write-back. If it cannot reach the size within frame_wait it throws
  //! kPoolExhausted, and the pool keeps its old size.
  //!
  //! Anonymous memory goes back to the system. exmap memory does not, because a virtual machine or
  //! a device could still map it (docs/exmap-abi.md). Its frames are parked, and charged as before,
  //! until the pool grows again (they are used first) or is closed. The module's parameter
  //! shrink_returns changes that. description() says which of the two it is.
  void resize(std::uint64_t pool_bytes);

  [[nodiscard]] PoolStats stats() const;
  //! For messages: which memory and storage the pool uses.
  [[nodiscard]] const std::string& description() const noexcept;

  //! Runs an operation to completion on the calling thread. Waits for I/O. Throws what step()
  //! throws, and Error.
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

  [[nodiscard]] std::byte* address(PageId page_id) const noexcept {
    return _base + page_id * kPageSize;
  }
  //! The page's address and state word, without any right to use them; for code that holds a latch
  //! by other means.
  [[nodiscard]] PageRef page_ref(PageId page_id) const noexcept {
    return {&_states[page_id], address(page_id), page_id};
  }
  //! The extent as the pool names it whose memory this is: the same for a pool itself, another one
  //! for a PagedFile. For FaultRequest. An extent that cannot be in the file gets page id kNoPage.
  [[nodiscard]] Extent pool_extent(Extent extent) const noexcept {
    const bool inside =
        extent.page_id < _fixable_pages && extent.pages() <= _fixable_pages - extent.page_id;
    return {inside && extent.page_id != kNoPage ? _first_page + extent.page_id : kNoPage,
            extent.order};
  }
  //! The status of such a request with the page id that it has here.
  [[nodiscard]] Status told(Status status) const noexcept {
    if (status.page_id > _first_page) status.page_id -= _first_page;
    return status;
  }
  //! Where its page 0 is in the pool whose memory this is: 0, but for a PagedFile.
  [[nodiscard]] PageId pool_begin() const noexcept { return _first_page; }
  //! One past the last page id that can ever be fixed; 0 after close().
  [[nodiscard]] std::uint64_t fixable_pages() const noexcept { return _fixable_pages; }
  //! Pages of memory that the pool has now.
  [[nodiscard]] std::uint64_t pool_pages() const noexcept;
  [[nodiscard]] std::uint64_t capacity_pages() const noexcept;
  //! True if `page_id` is below the lowest id that was never handed out. Check stored page ids with
  //! it.
  [[nodiscard]] bool contains(PageId page_id) const noexcept;

  //! PoolOptions::read_only.
  [[nodiscard]] bool read_only() const noexcept { return _read_only; }
  //! Whether extents begin with a PageHeader.
  [[nodiscard]] bool page_headers() const noexcept { return _page_headers; }
  //! The log that is told about changes of structures (PoolOptions::change_log), or null.
  [[nodiscard]] ChangeLog* change_log() const noexcept { return _change_log; }

 protected:
  //! PagedFile.
  BufferPool(BufferPool& pool, const PagedFileOptions& options);

 private:
  friend struct detail::PoolAccess;
  friend class Pin;

  template <typename Guard, typename TryLatch>
  TryFix try_latch(PageId page_id, Guard& guard, TryLatch try_latch_word) noexcept {
    if (page_id >= _fixable_pages) [[unlikely]]
      return TryFix::kMiss;
    AtomicPageState& state = _states[page_id];
    const TryFix result = try_latch_word(state, state.load(std::memory_order_relaxed));
    if (result == TryFix::kFixed) [[likely]] {
      guard = Guard{{&state, address(page_id), page_id}};
    } else if (result == TryFix::kBusy) {
      end_writes();
    }
    return result;
  }
  //! Whether the guard is for an extent of that order. If not, it is let go. This costs nothing if
  //! `order` is a constant 0, as by default: the latch covers all of one page.
  template <typename Guard>
  [[nodiscard]] static bool covers(unsigned order, Guard& guard) noexcept {
    if (order == 0 || guard.state().load(std::memory_order_relaxed).order() == order) return true;
    detail::let_go(guard);
    return false;
  }
  template <typename Guard>
  Guard fix_blocking(PageId page_id, unsigned order) {
    Guard guard;
    for (unsigned restarts = 0;; ++restarts) {
      TryFix result = try_fix(page_id, guard);
      if (result == TryFix::kFixed) [[likely]] {
        if (covers(order, guard)) return guard;
        result = TryFix::kMiss;  // the slow path says that the order is wrong
      }
      const Status status = satisfy(Need::after(result, page_id, order), restarts);
      if (!status.ok()) throw Error(status);
    }
  }
  //! Waits fairly: readers that come and go do not keep it out for ever.
  void await_exclusive(PageId page_id, unsigned order, ExclusiveGuard& guard);
  void unpin(PageId page_id) noexcept;
  //! Processes the completions of write-backs that no thread is waiting for; one of them may be in
  //! the way. For callers that only try. Does not wait.
  void end_writes() noexcept;
  //! Throws Error kWrongProcess, kClosed.
  void require_usable() const;
  //! For what is the pool's and not a paged file's. Throws Error kInvalidOption.
  void require_pool(const char* doing) const;
  void close_file();
  void leave_file() noexcept;
  void let_go() noexcept;
  //! Gets what a need of kind kPage or kLatch asks for. `restarts` is how often the caller has
  //! asked in a row.
  [[nodiscard]] Status satisfy(const Need& need, unsigned restarts);

  // What the hit path reads comes first. Open and close write it, when no other thread may use the
  // pool.
  std::byte* _base = nullptr;
  AtomicPageState* _states = nullptr;
  //! The capacity, or 0 after close(): then no fix is a hit, and the slow path says why.
  std::uint64_t _fixable_pages = 0;
  ChangeLog* _change_log = nullptr;
  bool _page_headers = false;
  bool _read_only = false;
  // Not for hits.
  PageId _first_page = 0;  // of a PagedFile: where its page 0 is in the pool
  //! Shared with the pool's paged files; whoever goes last deletes it.
  detail::PoolCore* _core = nullptr;
  detail::PagedStore* _store = nullptr;
  std::shared_ptr<detail::RawFile> _file;  // of a PagedFile
};

inline void Pin::release() noexcept {
  if (_pool != nullptr) _pool->unpin(_page_id);
  _pool = nullptr;
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/export.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/task.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

class Worker;

//! A run whose extents are latched, with one range of addresses. Made by Run. As its guards are, it
//! can be moved and belongs to one thread or task at a time.
template <typename Guard>
class RunGuard {
 public:
  RunGuard() noexcept = default;
  RunGuard(std::vector<Guard> guards, std::size_t bytes) noexcept
      : _guards(std::move(guards)), _bytes(bytes) {}

  //! True while it holds pages.
  [[nodiscard]] explicit operator bool() const noexcept { return !_guards.empty(); }
  //! All bytes of the run, one after the other. May be changed if the guards are exclusive.
  [[nodiscard]] auto data() const noexcept { return _guards.front().data(); }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return _bytes; }
  //! Releases the latches; data() must not be used afterwards. With exclusive guards all extents
  //! then count as changed.
  void release() noexcept {
    for (Guard& guard : _guards) guard.release();
    _guards.clear();
  }
  //! The same where no byte was changed (ExclusiveGuard::release_unmodified()).
  void release_unmodified() noexcept requires requires(Guard& guard) { guard.release_unmodified(); }
  {
    for (Guard& guard : _guards) guard.release_unmodified();
    _guards.clear();
  }

 private:
  std::vector<Guard> _guards;
  std::size_t _bytes = 0;
};

using SharedRun = RunGuard<SharedGuard>;
using ExclusiveRun = RunGuard<ExclusiveGuard>;

//! Neighbouring pages of a raw file that are used as one: a blob of any length, where an extent
//! ends at 1 MiB. The pages are cut into the fewest extents that there can be, by their place and
//! number alone: the same run always has the same ones. For each of them the rules of extents hold
//! (File, "Extents"): before these pages are used in another way, as another run say, drop or
//! discard them.
//!
//!     Run blob(pool, file.page_id(300), 1000);
//!     const SharedRun pages = blob.fix_shared();
//!     use(pages.data(), pages.size_bytes());
//!
//! Thread-safe, as it does not change. It must not outlive the pool, and must not be used once the
//! file is closed: its page ids may then be those of another file.
class Run {
 public:
  //! Of a run at most one page in this many of the pool's: it is in memory as a whole.
  static constexpr std::uint64_t kMaxShare = 2;

  //! `pages` is 1 or more. Throws Error: kInvalidOption (no page, or more than half of the pool),
  //! kInvalidPage (not all in the range of one open File: the extents of a database are those that
  //! it has allocated); std::bad_alloc.
  Run(BufferPool& pool, PageId first, std::uint64_t pages);

  [[nodiscard]] PageId first() const noexcept { return _extents.front().page_id; }
  [[nodiscard]] std::uint64_t pages() const noexcept { return _pages; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return _pages * kPageSize; }
  //! In ascending order, without gaps.
  [[nodiscard]] std::span<const Extent> extents() const noexcept { return _extents; }

  //! Bring all of it into memory together, then latch it from the first extent to the last. Runs
  //! that overlap therefore do not wait for each other in a circle. Wait for latches and I/O. Throw
  //! what the fixes of BufferPool throw; nothing is latched then.
  [[nodiscard]] SharedRun fix_shared() const;
  [[nodiscard]] ExclusiveRun fix_exclusive() const;
  //! Brings all of it into memory together, without latches. Throws as BufferPool::prefetch().
  void prefetch() const;
  //! Writes back what was changed before the call (File::write_back(), with its errors). The caller
  //! has no exclusive latch on it.
  void write_back() const;

  //! The same in a task of `worker`; kInvalidOption if that is of another pool. The run must
  //! outlive the co_await.
  [[nodiscard]] Task<SharedRun> fix_shared(Worker& worker) const;
  [[nodiscard]] Task<ExclusiveRun> fix_exclusive(Worker& worker) const;

 private:
  void require_pool_of(const Worker& worker) const;

  BufferPool& _pool;
  std::uint64_t _pages;
  std::vector<Extent> _extents;
};

}  // namespace vmcache

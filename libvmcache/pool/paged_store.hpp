// SPDX-License-Identifier: MIT
//
// One database inside a pool: a header, free pages, roots, in storage of its own. A pool has one
// that it was opened with (its page ids begin at 0), and one for each PagedFile.
//
// Page ids. What is stored (header, free list, a tree's child pages, a PageHeader) counts from the
// begin of the file, because a file gets another range at the next open. So does all that its user
// sees: the BufferPool object of a paged file has the addresses of its own page 0 and of that
// page's state word, and a hit is the same code with other numbers. Everything that runs in an
// engine counts from the begin of the pool. The seam is where BufferPool, Worker's awaitables and
// Scan leave the hit path: they add `first` to what goes down, and take it from what comes up.
//
// Invariants
//  T1  No id of one range ever becomes an id of another: who translates checks it against `pages`
//      first, and who takes a guard checks that its state word is the one that the id has here.
//  T2  An engine asks for a page's PagedStore only while it holds the page (D2 of file_set.hpp), or
//      for a call of the file's user, beside which nobody closes the file.
//  T3  A paged file's range ends where the file ends (D1). Which of the pages before that exist is
//      known to its allocator, and is asked once the page is claimed.
//  T4  When a range is given back, all its words say again that nothing is known of their pages
//      (use kUnknown): the next file has its extents in other places (I6, I10 of page_state.hpp).
//  T5  The header says "closed cleanly" only from when no page of the file is in memory, and until
//      before the next page is. The flush of everything else comes before it.
//
// Interleavings that these rule out (tests in tests/pool/paged_file_test.cpp)
//  T1  A guard of page 5 of one file is given to another file's free(): that one's page 5 is free,
//      and its owner's bytes are lost.
//  T3  A file is closed and its range goes to a shorter one. A late prefetch of page 900 finds the
//      old allocator's answer, and loads what lies behind the end of the new one.
//  T4  A file with an extent of 8 pages at page 16 is closed. The next file in the range has single
//      pages there: all but the first are refused.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "pool/header.hpp"
#include "pool/page_allocator.hpp"
#include "pool/page_sums.hpp"
#include "pool/storage_flush.hpp"
#include "vmcache/error.hpp"
#include "vmcache/identity.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

class PoolCore;

//! Thread-safe, but for begin().
class PagedStore {
 public:
  //! The pages [first, first + pages) of the pool. Reads the header, if there is one. Writes
  //! nothing. `options` has been checked; it and the others outlive this object. Throws Error:
  //! kNotADatabase, kCorrupt, kUncleanShutdown, kMismatch, kInvalidOption, kIo.
  PagedStore(PoolCore& core, const PoolOptions& options, PageId first, std::uint64_t pages,
             Storage& storage, StorageFlush& flush);
  //! Reads the list of free pages. Throws Error.
  void load_free();
  //! From now on it is not closed cleanly, unless it is read only. Throws Error.
  void begin();
  //! Writes the list of free pages, cuts off what was never handed out, and marks it as closed
  //! cleanly (T5). All pages are written. Throws Error; it is then as before, unless a flush has
  //! failed.
  void end();

  //! Brings the header up to date, with the identity of the checkpoint that was just taken if there
  //! was one. Writes and flushes it. Throws Error kIo.
  void write_header(bool clean, PageId free_list, const Identity* checkpoint = nullptr);
  //! For calls that change it. Throws Error kReadOnly.
  void refuse_read_only(const char* doing) const;

  //! \name Between its page ids and the pool's
  //! @{
  //! The page that both 0 stand for is none.
  [[nodiscard]] PageId in_pool(PageId page_id) const noexcept {
    return page_id != kNoPage ? first + page_id : kNoPage;
  }
  [[nodiscard]] bool owns(PageId in_pool) const noexcept {
    return in_pool >= first && in_pool - first < pages;
  }
  //! The status as its user is told it.
  [[nodiscard]] Status told(Status status) const noexcept {
    if (status.page_id != kNoPage && owns(status.page_id)) status.page_id -= first;
    return status;
  }
  //! @}

  PoolCore& core;
  const PoolOptions& options;
  const PageId first;
  const std::uint64_t pages;
  Storage& storage;
  StorageFlush& storage_flush;  //!< the only way in which the storage is flushed
  struct {
    std::mutex mutex;
    //! next_page and free_list are brought up to date when it is written.
    Header now;
  } header;
  std::mutex deallocate_mutex;  //!< around PageAllocator::hold_freed() .. release_held()
  PageAllocator allocator;
  std::optional<PageSums> sums;  //!< options.lost_write_check
  //! Workers that were made for it.
  std::atomic<unsigned> workers{0};
};

}  // namespace vmcache::detail

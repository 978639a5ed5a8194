// SPDX-License-Identifier: MIT
//
// The page ids of a pool: first those of its database, then ranges for the files that are opened
// into it. A range is a multiple of kFileRangeBytes, so page id -> file is a subtraction, a shift
// and a load, all off the hit path.
//
// Invariants. "Holds a page" means holding its state word at 0xfe or 0xff, a latch on it, or its
// write claim.
//  D1  A page at or after its range's end is not brought in. Whoever claims a page for a fault
//      looks at the end again afterwards, and gives the claim back if the page is now beyond it.
//      Whoever lowers the end looks at the words of all pages that fall out, after that. So either
//      the claim sees the lower end, or the one who lowers it sees the claim and waits for it.
//      (Both sides have a full barrier between their write and their read.) An extent's claim is
//      its first word and the marks of its inner pages, and its end is looked at: so an extent
//      across the new end is seen, and the cut refused.
//  D2  A file's object stays until no page of it is held and its end is 0. So whoever holds a page
//      may use file_of().
//  D3  A range is handed out again only after D2. All its pages are then evicted, each with another
//      version than any guard has seen (I3 of page_state.hpp), so nothing can still be read through
//      it.
//
// Interleavings that these rule out (tests in tests/pool/file_test.cpp)
//  D1  A fault finds page 9 below the end and stops. The file is cut to 5 pages, and its range
//      goes to another file. The fault goes on and reads page 9 of the other file under the old id.
//  D2  A write of a copied page is under way. The file is closed and its descriptor used again: the
//      bytes go to another file.
//  D3  A reader has copied half of page 3. The file is closed, another one gets the range, and its
//      page 3 comes in. validate() says that the two halves belong together.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "storage/file_queues.hpp"
#include "vmcache/options.hpp"
#include "vmcache/types.hpp"

namespace vmcache {
class Logger;
}

namespace vmcache::detail {

class RawFile;

//! Thread-safe.
class FileSet {
 public:
  explicit FileSet(const PoolOptions& options);
  //! Files that are still open are of no use any more.
  ~FileSet();
  FileSet(const FileSet&) = delete;
  FileSet& operator=(const FileSet&) = delete;

  static constexpr std::uint64_t kRangePages = PoolOptions::kFileRangeBytes / kPageSize;
  //! The first page id of files.
  [[nodiscard]] static PageId first_page(const PoolOptions& options) noexcept;
  //! One past the last page id.
  [[nodiscard]] static std::uint64_t capacity_pages(const PoolOptions& options) noexcept;

  [[nodiscard]] std::uint64_t database_pages() const noexcept { return _database_pages; }
  [[nodiscard]] std::uint64_t capacity_pages() const noexcept {
    return _first + _ranges.size() * kRangePages;
  }
  [[nodiscard]] PageId first_file_page() const noexcept {
    return _ranges.empty() ? _database_pages : _first;
  }
  [[nodiscard]] bool of_database(PageId page_id) const noexcept {
    return page_id < _database_pages;
  }
  //! One past the last page of its file, or 0 if there is none (D1). Not for a page of_database().
  [[nodiscard]] PageId end_of(PageId page_id) const noexcept {
    if (page_id < _first || page_id >= capacity_pages()) return 0;
    return range_of(page_id).end.load(std::memory_order_seq_cst);
  }
  //! The file that a page is of, or null for one of the database. The caller holds the page (D2).
  [[nodiscard]] RawFile* file_of(PageId page_id) const noexcept {
    return of_database(page_id) ? nullptr : range_of(page_id).file.load(std::memory_order_acquire);
  }

  //! Finds a range for `pages` pages and returns its first. Its end is 0. Throws Error
  //! kDatabaseFull.
  [[nodiscard]] PageId take(const std::shared_ptr<RawFile>& file, std::uint64_t pages);
  //! D3.
  void give_back(PageId first, std::uint64_t pages) noexcept;
  void set_end(PageId first, std::uint64_t pages, PageId end) noexcept;

  //! A queue for files only, beside one that does not serve them. Throws Error.
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(const PoolOptions& options, Logger& logger,
                                                    unsigned depth, bool single_issuer);

  //! The open files.
  [[nodiscard]] std::vector<std::shared_ptr<RawFile>> all() const;

 private:
  struct Range {
    std::atomic<PageId> end{0};
    std::atomic<RawFile*> file{nullptr};
  };
  //! How many ranges so many pages take.
  [[nodiscard]] static constexpr std::uint64_t in_ranges(std::uint64_t pages) noexcept {
    return (pages + kRangePages - 1) / kRangePages;
  }
  [[nodiscard]] std::span<Range> ranges_of(PageId first, std::uint64_t pages) noexcept {
    return std::span(_ranges).subspan((first - _first) / kRangePages, in_ranges(pages));
  }
  [[nodiscard]] const Range& range_of(PageId page_id) const noexcept {
    return _ranges[(page_id - _first) / kRangePages];
  }

  const std::uint64_t _database_pages;
  const PageId _first;
  std::vector<Range> _ranges;
  mutable std::mutex _mutex;
  std::vector<std::shared_ptr<RawFile>> _files;
  std::unique_ptr<FileQueues> _queues;  // made when first asked for
};

}  // namespace vmcache::detail

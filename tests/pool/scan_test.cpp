// SPDX-License-Identifier: MIT
//
// Scans (include/vmcache/scan.hpp), and pages that are allocated together.
#include "vmcache/scan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "pool/raw_files.hpp"
#include "support/code_of.hpp"
#include "support/database.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::files_only;
using test::pattern;
using test::put;
using test::TempFile;
using test::write_all;

std::string scanned(BufferPool& pool, const File& file, std::uint64_t first, std::uint64_t pages,
                    unsigned read_ahead) {
  std::string bytes;
  for (Scan scan(pool, file.page_id(first), pages, read_ahead); scan.next();)
    bytes.append(reinterpret_cast<const char*>(scan.page().data()), kPageSize);
  return bytes;
}

TEST(Scan, ReadsEveryPageOnceInItsOrder) {
  const TempFile temp;
  const std::string bytes = pattern(300 * kPageSize, 1);
  write_all(temp.path(), bytes);
  for (const unsigned read_ahead : {1U, 2U, 7U, 64U, 256U}) {
    BufferPool pool(files_only(64));
    const File file = pool.open_file({.path = temp.path()});
    EXPECT_EQ(scanned(pool, file, 0, 300, read_ahead), bytes) << read_ahead;
    EXPECT_EQ(scanned(pool, file, 17, 5, read_ahead), bytes.substr(17 * kPageSize, 5 * kPageSize));
    EXPECT_EQ(scanned(pool, file, 17, 0, read_ahead), "");
  }
}

TEST(Scan, BringsPagesInTogether) {
  const TempFile temp;
  write_all(temp.path(), pattern(640 * kPageSize, 2));
  BufferPool pool(files_only(1024));
  const File file = pool.open_file({.path = temp.path()});
  (void)scanned(pool, file, 0, 640, 64);
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.read_pages, 640U);
  EXPECT_LE(stats.submissions, 40U);
}

// Others use 180 of 256 pages all the time. A loop over fix_shared() costs them some of these now
// and then; a scan does not.
TEST(Scan, LeavesAloneWhatOthersUse) {
  const TempFile used;
  const TempFile table;
  write_all(used.path(), pattern(180 * kPageSize, 3));
  write_all(table.path(), pattern(3000 * kPageSize, 4));
  const auto misses_of_others = [&](bool as_scan) {
    BufferPool pool(files_only(256));
    const File mine = pool.open_file({.path = used.path()});
    const File theirs = pool.open_file({.path = table.path()});
    std::uint64_t misses = 0;
    const auto use = [&] {
      const std::uint64_t before = pool.stats().misses;
      for (std::uint64_t page = 0; page < 180; ++page) (void)pool.fix_shared(mine.page_id(page));
      misses += pool.stats().misses - before;
    };
    use();
    misses = 0;
    constexpr std::uint64_t kPart = 60;
    for (std::uint64_t at = 0; at < 3000; at += kPart) {
      if (as_scan) {
        for (Scan scan(pool, theirs.page_id(at), kPart, 16); scan.next();) {
        }
      } else {
        for (std::uint64_t page = at; page < at + kPart; ++page)
          (void)pool.fix_shared(theirs.page_id(page));
      }
      use();
    }
    return misses;
  };
  EXPECT_EQ(misses_of_others(true), 0U);
  EXPECT_GT(misses_of_others(false), 0U);
}

class OddPagesAreBad final : public PageFormat {
 public:
  void before_write(std::uint64_t, std::span<std::byte>) const noexcept override {}
  [[nodiscard]] Status after_read(std::uint64_t offset,
                                  std::span<std::byte>) const noexcept override {
    return {.code = offset / kPageSize % 2 == 1 ? Errc::kChecksum : Errc::kOk};
  }
};

TEST(Scan, GoesOnBehindAPageThatCannotBeRead) {
  const TempFile temp;
  write_all(temp.path(), pattern(20 * kPageSize, 5));
  const OddPagesAreBad format;
  BufferPool pool(files_only(64));
  const File file = pool.open_file({.path = temp.path(), .format = &format});
  Scan scan(pool, file.page_id(0), 20);
  std::vector<std::uint64_t> good;
  std::vector<std::uint64_t> bad;
  for (bool more = true; more;) {
    try {
      more = scan.next();
      if (more) good.push_back(scan.page().page_id() - file.page_id(0));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kChecksum);
      bad.push_back(error.page_id() - file.page_id(0));
    }
  }
  EXPECT_EQ(good, (std::vector<std::uint64_t>{0, 2, 4, 6, 8, 10, 12, 14, 16, 18}));
  EXPECT_EQ(bad, (std::vector<std::uint64_t>{1, 3, 5, 7, 9, 11, 13, 15, 17, 19}));
}

TEST(Scan, RefusesWhatMakesNoSense) {
  BufferPool pool(files_only(64, 1));
  EXPECT_EQ(code_of([&] { Scan(pool, 1, 1, 0); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { Scan(pool, 1, 1, Scan::kMaxReadAhead + 1); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { Scan(pool, PageId{1} << 50, 1); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { Scan(pool, 1, PageId{1} << 50); }), Errc::kInvalidOption);
  const File file = pool.open_temporary();
  Scan beyond(pool, file.page_id(0), 1);
  EXPECT_EQ(code_of([&] { (void)beyond.next(); }), Errc::kInvalidPage);
}

PoolOptions with_database(const TempFile& temp, std::uint64_t capacity_pages) {
  PoolOptions options = files_only(64, 0);
  options.path = temp.path();
  options.capacity_bytes = capacity_pages * kPageSize;
  return options;
}

TEST(AllocatePages, AreZeroedAndTheCallersAlone) {
  const TempFile temp;
  BufferPool pool(with_database(temp, 1024));
  std::vector<ExclusiveGuard> pages = pool.allocate_pages(32);
  ASSERT_EQ(pages.size(), 32U);
  for (const ExclusiveGuard& page : pages) {
    EXPECT_TRUE(std::all_of(page.data(), page.data() + kPageSize,
                            [](std::byte b) { return b == std::byte{0}; }));
    SharedGuard shared;
    EXPECT_EQ(pool.try_fix(page.page_id(), shared), TryFix::kBusy);
  }
  EXPECT_EQ(pool.stats().reads, 0U);
}

TEST(AllocatePages, InARowEvenWhereIdsWereFreed) {
  const TempFile temp;
  BufferPool pool(with_database(temp, 1024));
  {
    std::vector<ExclusiveGuard> pages = pool.allocate_pages(20);
    for (std::size_t i = 0; i < pages.size(); i += 2) pool.free(std::move(pages[i]));
  }
  const std::vector<ExclusiveGuard> row = pool.allocate_pages(30, BufferPool::Placement::kInARow);
  for (std::size_t i = 1; i < row.size(); ++i)
    EXPECT_EQ(row[i].page_id(), row[i - 1].page_id() + 1);
  const std::uint64_t next = pool.stats().database_pages;
  (void)pool.allocate_pages(10);  // those that were freed
  EXPECT_EQ(pool.stats().database_pages, next);
}

TEST(AllocatePages, AllOrNone) {
  const TempFile temp;
  BufferPool pool(with_database(temp, 64));
  EXPECT_EQ(code_of([&] { (void)pool.allocate_pages(0); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { (void)pool.allocate_pages(33); }), Errc::kInvalidOption);
  std::vector<PageId> taken;
  for (const ExclusiveGuard& page : pool.allocate_pages(32)) taken.push_back(page.page_id());
  for (const auto placement : {BufferPool::Placement::kAnywhere, BufferPool::Placement::kInARow}) {
    EXPECT_EQ(code_of([&] { (void)pool.allocate_pages(32, placement); }), Errc::kDatabaseFull);
    // Nothing is lost by that: what is left can be had one by one.
  }
  // A row that does not fit leaves the room for one that does.
  EXPECT_EQ(pool.allocate_pages(5, BufferPool::Placement::kInARow).size(), 5U);
  std::vector<ExclusiveGuard> rest;
  while (code_of([&] { rest.push_back(pool.allocate()); }) == Errc::kOk) {
  }
  EXPECT_EQ(rest.size() + taken.size() + 5 + 1, 64U);  // and the header
}

}  // namespace
}  // namespace vmcache

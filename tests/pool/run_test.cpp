// SPDX-License-Identifier: MIT
//
// Runs of extents: include/vmcache/run.hpp.
#include "vmcache/run.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <tuple>

#include "pool/raw_files.hpp"
#include "support/code_of.hpp"
#include "vmcache/paged_file.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using Pages = Run;  // a test has a Run() of its own
using test::code_of;
using test::files_only;
using test::pattern;
using test::put;
using test::read_all;
using test::TempFile;
using test::write_all;

std::string bytes_of(const SharedRun& run) {
  return {reinterpret_cast<const char*>(run.data()), run.size_bytes()};
}

TEST(Runs, IsCutIntoTheFewestExtents) {
  BufferPool pool(files_only(2048, 1));
  File file = pool.open_temporary();
  file.resize(3000 * kPageSize);
  for (const auto& [first, pages, extents] :
       {std::tuple<std::uint64_t, std::uint64_t, std::size_t>{0, 1, 1},
        {0, 1024, 4},
        {1, 1, 1},
        {1, 510, 16},
        {3, 1000, 15},
        {8, 8, 1},
        {8, 9, 2}}) {
    const Pages run(pool, file.page_id(first), pages);
    PageId next = file.page_id(first);
    for (const Extent& extent : run.extents()) {
      EXPECT_EQ(extent.page_id, next);
      EXPECT_EQ(extent.page_id % extent.pages(), 0U);
      EXPECT_LE(extent.order, kMaxOrder);
      next += extent.pages();
    }
    EXPECT_EQ(next, file.page_id(first) + pages);
    EXPECT_EQ(run.extents().size(), extents) << first << " " << pages;
  }
}

TEST(Runs, IsOneRangeOfBytes) {
  const TempFile temp;
  const std::string before = pattern(1000 * kPageSize, 1);
  write_all(temp.path(), before);
  BufferPool pool(files_only(1024));
  File file = pool.open_file({.path = temp.path()});
  const Pages run(pool, file.page_id(100), 500);
  EXPECT_EQ(bytes_of(run.fix_shared()), before.substr(100 * kPageSize, 500 * kPageSize));
  EXPECT_LE(pool.stats().submissions, 2U) << "read together";
  EXPECT_EQ(pool.stats().reads, run.extents().size());
  const std::string after = pattern(500 * kPageSize, 2);
  {
    const ExclusiveRun bytes = run.fix_exclusive();
    std::memcpy(bytes.data(), after.data(), after.size());
  }
  run.write_back();
  EXPECT_EQ(read_all(temp.path()),
            before.substr(0, 100 * kPageSize) + after + before.substr(600 * kPageSize));
  const std::uint64_t written = pool.stats().written_pages;
  run.fix_exclusive().release_unmodified();
  run.write_back();
  EXPECT_EQ(pool.stats().written_pages, written) << "nothing was changed";
  const Pages another(pool, file.page_id(101), 200);
  EXPECT_EQ(code_of([&] { (void)another.fix_shared(); }), Errc::kInvalidPage);
  file.drop(100, 500);
  EXPECT_EQ(bytes_of(another.fix_shared()), after.substr(kPageSize, 200 * kPageSize));
  another.prefetch();
}

TEST(Runs, ThatCannotBeFixedLeavesNothingLatched) {
  const TempFile temp;
  BufferPool pool(files_only(2048));
  File file = pool.open_file({.path = temp.path()});
  file.resize(600 * kPageSize);
  put(pool, file, 599 * kPageSize, "single");
  const Pages clashes(pool, file.page_id(0), 600);
  EXPECT_EQ(code_of([&] { (void)clashes.fix_exclusive(); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] { (void)clashes.fix_shared(); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] { clashes.prefetch(); }), Errc::kInvalidPage);
  file.discard(0, 600);
  const ExclusiveRun all = clashes.fix_exclusive();
  EXPECT_EQ(all.size_bytes(), 600 * kPageSize);
}

// A run that overlaps pages which are in memory singly must not get them.
TEST(Runs, TakesNoPageThatIsInMemoryInAnotherWay) {
  BufferPool pool(files_only(64, 2));
  File file = pool.open_temporary();
  file.resize(32 * kPageSize);
  const Pages run(pool, file.page_id(16), 16);
  { (void)pool.fix_exclusive(file.page_id(16)); }
  const ExclusiveGuard held = pool.fix_exclusive(file.page_id(18));
  EXPECT_EQ(code_of([&] { (void)run.fix_exclusive(); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] { (void)run.fix_shared(); }), Errc::kInvalidPage);
}

TEST(Runs, IsNotOfADatabasesPages) {
  const TempFile temp;
  BufferPool pool(files_only(64, 2));
  PagedFile database(pool, {.path = temp.path()});
  const PageId page_id = database.allocate().page_id();
  const PageId in_pool = database.pool_extent({page_id, 0}).page_id;
  EXPECT_EQ(code_of([&] { Pages(pool, in_pool, 1); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] { Pages(database, page_id, 1); }), Errc::kInvalidOption);
}

TEST(Runs, RefusesWhatIsNoRun) {
  BufferPool pool(files_only(64, 2));
  BufferPool other(files_only(64, 2));
  File file = pool.open_temporary();
  file.resize(100 * kPageSize);
  const PageId first = file.page_id(0);
  EXPECT_EQ(code_of([&] { Pages(pool, first, 0); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { Pages(pool, first, 33); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { Pages(pool, first, ~0ULL); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { Pages(pool, first + 90, 11); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] { Pages(pool, first + 100, 1); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] { Pages(pool, 1, 1); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] { Pages(pool, PageId{1} << 50, 1); }), Errc::kInvalidPage);
  const Pages run(pool, first, 32);
  Worker worker(other);
  Errc code = Errc::kOk;
  const auto fix = [](Worker& w, const Pages& of, Errc& found) -> Task<> {
    try {
      (void)co_await of.fix_shared(w);
    } catch (const Error& error) {
      found = error.code();
    }
  };
  worker.spawn(fix(worker, run, code));
  worker.run();
  EXPECT_EQ(code, Errc::kInvalidOption);
}

TEST(Runs, IsFixedByTasksThatRunOnMeanwhile) {
  const TempFile temp;
  const std::string bytes = pattern(4 * 300 * kPageSize, 1);
  write_all(temp.path(), bytes);
  BufferPool pool(files_only(1024));
  File file = pool.open_file({.path = temp.path()});
  Worker worker(pool);
  unsigned done = 0;
  const auto check = [&](std::uint64_t n) -> Task<> {
    const Pages run(pool, file.page_id(n * 300), 300);
    {
      const SharedRun read = co_await run.fix_shared(worker);
      EXPECT_EQ(bytes_of(read), bytes.substr(n * 300 * kPageSize, 300 * kPageSize));
    }
    const ExclusiveRun written = co_await run.fix_exclusive(worker);
    written.data()[0] = std::byte{'!'};
    ++done;
  };
  for (std::uint64_t n = 0; n < 4; ++n) worker.spawn(check(n));
  worker.run();
  EXPECT_EQ(done, 4U);
  file.sync();
  for (std::uint64_t n = 0; n < 4; ++n) EXPECT_EQ(read_all(temp.path())[n * 300 * kPageSize], '!');
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Pages that their owner takes out of memory: File::drop(), File::discard(), BufferPool::drop().
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

#include "pool/raw_files.hpp"
#include "support/code_of.hpp"
#include "support/database.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::files_only;
using test::get;
using test::kRange;
using test::pattern;
using test::put;
using test::read_all;
using test::TempFile;
using test::write_all;

bool in_memory(BufferPool& pool, PageId page_id) {
  OptimisticGuard guard;
  return pool.try_fix(page_id, guard) == TryFix::kFixed;
}

TEST(Drop, WritesChangesBackAndGivesTheFramesBack) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  const std::string bytes = pattern(10 * kPageSize, 1);
  file.resize(bytes.size());
  put(pool, file, 0, bytes);
  const std::uint64_t free_frames = pool.stats().free_frames;
  file.drop(2, 5);
  EXPECT_EQ(read_all(temp.path()).substr(2 * kPageSize, 5 * kPageSize),
            bytes.substr(2 * kPageSize, 5 * kPageSize));
  EXPECT_EQ(pool.stats().free_frames, free_frames + 5);
  EXPECT_LE(pool.stats().writes, 1U) << "neighbours are one write";
  for (unsigned n = 0; n < 10; ++n)
    EXPECT_EQ(in_memory(pool, file.page_id(n)), n < 2 || n >= 7) << n;
  file.drop(2, 5);  // what is not there is no error
  file.drop(3);
  EXPECT_EQ(get(pool, file, 0, bytes.size()), bytes);
}

TEST(Drop, LetsNoReaderTakeThePageForUnchanged) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  file.resize(kPageSize);
  put(pool, file, 0, "x");
  const OptimisticGuard guard = pool.fix_optimistic(file.page_id(0));
  file.drop(0);
  EXPECT_FALSE(guard.validate());
  (void)pool.fix_shared(file.page_id(0));
  EXPECT_FALSE(guard.validate()) << "it is a load later";
}

TEST(Discard, WritesNothingAndStorageHasTheLastWord) {
  const TempFile temp;
  const std::string before = pattern(4 * kPageSize, 2);
  write_all(temp.path(), before);
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  put(pool, file, 0, pattern(4 * kPageSize, 3));
  file.discard(1, 2);
  EXPECT_EQ(get(pool, file, kPageSize, 2 * kPageSize), before.substr(kPageSize, 2 * kPageSize));
  file.sync();
  EXPECT_EQ(pool.stats().written_pages, 2U);
  EXPECT_EQ(read_all(temp.path()).substr(kPageSize, 2 * kPageSize),
            before.substr(kPageSize, 2 * kPageSize));
}

TEST(Drop, OfATemporaryFileKeepsTheBytesAndDiscardMakesZeros) {
  BufferPool pool(files_only(64));
  File file = pool.open_temporary();
  const std::string bytes = pattern(4 * kPageSize, 4);
  file.resize(bytes.size());
  put(pool, file, 0, bytes);
  file.drop(0, 4);
  EXPECT_EQ(pool.stats().written_pages, 4U);
  EXPECT_EQ(get(pool, file, 0, bytes.size()), bytes);
  file.discard(1, 2);  // in storage by now
  put(pool, file, 0, pattern(kPageSize, 5));
  file.discard(0);
  EXPECT_EQ(get(pool, file, 0, 3 * kPageSize), std::string(3 * kPageSize, '\0'));
  EXPECT_EQ(get(pool, file, 3 * kPageSize, kPageSize), bytes.substr(3 * kPageSize));
}

TEST(Drop, RefusesWhatIsInUseAndWhatIsNoPage) {
  const TempFile temp;
  PoolOptions options = files_only(64);
  options.frame_wait = std::chrono::milliseconds(30);
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path(), .capacity_bytes = 8 * kPageSize});
  file.resize(4 * kPageSize);
  const std::string bytes = pattern(4 * kPageSize, 6);
  put(pool, file, 0, bytes);
  const auto refused = [&] {
    EXPECT_EQ(code_of([&] { file.drop(0, 4); }), Errc::kBusy);
    EXPECT_EQ(code_of([&] { file.discard(2); }), Errc::kBusy);
    EXPECT_TRUE(in_memory(pool, file.page_id(2)));
    EXPECT_EQ(get(pool, file, 2 * kPageSize, kPageSize), bytes.substr(2 * kPageSize, kPageSize));
    EXPECT_FALSE(in_memory(pool, file.page_id(1))) << "the ones before it are gone";
  };
  {
    const SharedGuard guard = pool.fix_shared(file.page_id(2));
    refused();
  }
  {
    const Pin pin = pool.pin(file.page_id(2));
    refused();
  }
  {
    const ExclusiveGuard guard = pool.fix_exclusive(file.page_id(2));
    EXPECT_EQ(code_of([&] { file.drop(2); }), Errc::kBusy);
  }
  for (const auto& [first, count] :
       {std::pair<std::uint64_t, std::uint64_t>{9, 0}, {8, 1}, {0, 9}, {1, ~0ULL}}) {
    EXPECT_EQ(code_of([&] { file.drop(first, count); }), Errc::kInvalidPage);
    EXPECT_EQ(code_of([&] { file.discard(first, count); }), Errc::kInvalidPage);
  }
  file.drop(7);  // after the end: no page is there
  file.drop(8, 0);
  EXPECT_EQ(get(pool, file, 0, bytes.size()), bytes);
  file.close();
  EXPECT_EQ(code_of([&] { file.drop(0); }), Errc::kClosed);
}

TEST(Discard, OfATemporaryPageThatIsInUseLosesNothing) {
  PoolOptions options = files_only(16);
  options.frame_wait = std::chrono::milliseconds(30);
  BufferPool pool(options);
  File file = pool.open_temporary();
  const std::string bytes = pattern(3 * kPageSize, 7);
  file.resize(100 * kPageSize);
  put(pool, file, 0, bytes);
  file.drop(0, 3);
  {
    const SharedGuard guard = pool.fix_shared(file.page_id(1));
    EXPECT_EQ(code_of([&] { file.discard(0, 3); }), Errc::kBusy);
  }
  for (unsigned n = 3; n < 100; ++n) put(pool, file, n * kPageSize, "x");  // it leaves, clean
  EXPECT_EQ(get(pool, file, 0, kPageSize), std::string(kPageSize, '\0'));
  EXPECT_EQ(get(pool, file, kPageSize, 2 * kPageSize), bytes.substr(kPageSize));
}

TEST(Drop, LeavesAPageThatCannotBeWrittenDirty) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  const std::string bytes = pattern(4 * kPageSize, 8);
  file.resize(bytes.size());
  put(pool, file, 0, bytes);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{kPageSize, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_EQ(code_of([&] { file.drop(2, 2); }), Errc::kIo);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_TRUE(in_memory(pool, file.page_id(2)));
  file.sync();
  EXPECT_EQ(read_all(temp.path()), bytes);
}

TEST(Drop, IsRefusedAfterAFailedFlush) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  file.resize(kPageSize);
  test::fail_next_sync(temp.path());
  EXPECT_EQ(code_of([&] { file.sync(); }), Errc::kIo);
  EXPECT_EQ(code_of([&] { file.drop(0); }), Errc::kIo);
  EXPECT_EQ(code_of([&] { file.discard(0); }), Errc::kIo);
}

TEST(Drop, OfTheDatabaseTakesTheWholeExtent) {
  const TempFile database;
  PoolOptions options = test::small_pool(database, 64);
  options.files_bytes = kRange;
  options.frame_wait = std::chrono::milliseconds(30);
  BufferPool pool(options);
  PageId extent = kNoPage;
  {
    const ExclusiveGuard guard = pool.allocate(3);
    extent = guard.page_id();
    std::memset(guard.data(), 'e', kPageSize << 3);
  }
  const PageId freed = pool.allocate().page_id();
  pool.free(pool.fix_exclusive(freed));
  const std::uint64_t free_frames = pool.stats().free_frames;
  EXPECT_EQ(code_of([&] { pool.drop(extent + 1); }), Errc::kInvalidPage);
  pool.drop(extent);
  EXPECT_EQ(pool.stats().free_frames, free_frames + 8);
  EXPECT_FALSE(in_memory(pool, extent));
  EXPECT_EQ(code_of([&] { (void)pool.fix_shared(extent); }), Errc::kInvalidPage) << "order 3";
  {
    const SharedGuard guard = pool.fix_shared(extent, 3);
    EXPECT_EQ(guard.data()[(kPageSize << 3) - 1], std::byte{'e'});
    EXPECT_EQ(code_of([&] { pool.drop(extent); }), Errc::kBusy);
  }
  pool.drop(freed);
  EXPECT_EQ(code_of([&] { pool.free(pool.fix_exclusive(freed)); }), Errc::kInvalidPage);
  for (const PageId none : {kNoPage, PageId{1} << 40, pool.stats().database_pages})
    EXPECT_EQ(code_of([&] { pool.drop(none); }), Errc::kInvalidPage);
  const File file = pool.open_temporary();
  EXPECT_EQ(code_of([&] { pool.drop(file.page_id(0)); }), Errc::kInvalidPage);
}

TEST(Drop, OfADatabasesPageWaitsForItsLog) {
  const TempFile pages;
  const TempFile log;
  Database database(test::on_files(pages, log));
  for (int n = 0; n < 50; ++n) {
    Transaction transaction(database);
    transaction.put(0, "key" + std::to_string(n), std::string(100, 'v'));
    transaction.commit_no_wait();
  }
  BufferPool& pool = database.pool();
  for (PageId page_id = 1; pool.contains(page_id); ++page_id) pool.drop(page_id);
  Transaction transaction(database);
  EXPECT_EQ(transaction.get(0, "key49"), std::string(100, 'v'));
}

// Whoever changes a page meanwhile loses nothing.
TEST(Drop, LosesNoChangeOfOtherThreads) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  constexpr unsigned kPages = 4;
  file.resize(kPages * kPageSize);
  std::atomic<bool> stop{false};
  std::atomic<unsigned> drops{0};
  std::thread dropper([&] {
    for (; !stop; ++drops) file.drop(0, kPages);
  });
  std::array<std::uint64_t, kPages> changes{};
  for (unsigned round = 0; round < 2000 || drops < 100; ++round) {
    ExclusiveGuard guard = pool.fix_exclusive(file.page_id(round % kPages));
    ++*guard.as<std::uint64_t>();
    ++changes[round % kPages];
  }
  stop = true;
  dropper.join();
  for (unsigned page = 0; page < kPages; ++page)
    EXPECT_EQ(*pool.fix_shared(file.page_id(page)).as<std::uint64_t>(), changes[page]);
}

}  // namespace
}  // namespace vmcache

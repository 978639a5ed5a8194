// SPDX-License-Identifier: MIT
//
// Extents in raw files: File, "Extents".
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "pool/raw_files.hpp"
#include "support/code_of.hpp"
#include "vmcache/scan.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::files_only;
using test::get;
using test::pattern;
using test::put;
using test::read_all;
using test::TempFile;
using test::write_all;

void put_extent(BufferPool& pool, PageId page_id, unsigned order, const std::string& bytes) {
  const ExclusiveGuard guard = pool.fix_exclusive(page_id, order);
  std::memcpy(guard.data(), bytes.data(), bytes.size());
}

std::string get_extent(BufferPool& pool, PageId page_id, unsigned order) {
  const SharedGuard guard = pool.fix_shared(page_id, order);
  return {reinterpret_cast<const char*>(guard.data()), kPageSize << order};
}

//! Has the pool evict the extent that begins there.
void push_out(BufferPool& pool, const File& file, std::uint64_t page) {
  const std::uint64_t frames = pool.pool_pages();
  File other = pool.open_temporary();
  other.resize(2 * frames * kPageSize);
  OptimisticGuard guard;
  for (std::uint64_t n = 0; pool.try_fix(file.page_id(page), guard) == TryFix::kFixed; ++n)
    (void)pool.fix_exclusive(other.page_id(n % (2 * frames)));
}

PoolOptions impatient(std::uint64_t pages = 64) {
  PoolOptions options = files_only(pages);
  options.frame_wait = std::chrono::milliseconds(30);
  return options;
}

TEST(FileExtent, IsItsPagesOfTheFile) {
  const TempFile temp;
  const std::string before = pattern(64 * kPageSize, 1);
  write_all(temp.path(), before);
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  EXPECT_EQ(get_extent(pool, file.page_id(8), 3), before.substr(8 * kPageSize, 8 * kPageSize));
  EXPECT_EQ(pool.stats().reads, 1U) << "one transfer";
  const std::string after = pattern(8 * kPageSize, 2);
  put_extent(pool, file.page_id(8), 3, after);
  // More than the pool has: it leaves, and comes back as a whole.
  for (std::uint64_t page = 16; page < 64; ++page) put(pool, file, page * kPageSize, "x");
  for (std::uint64_t page = 16; page < 64; ++page) put(pool, file, page * kPageSize, "y");
  EXPECT_EQ(get_extent(pool, file.page_id(8), 3), after);
  file.sync();
  EXPECT_EQ(read_all(temp.path()).substr(8 * kPageSize, 8 * kPageSize), after);
  EXPECT_EQ(read_all(temp.path()).substr(0, 8 * kPageSize), before.substr(0, 8 * kPageSize));
}

TEST(FileExtent, AFixThatContradictsTheFirstOneIsRefused) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  file.resize(40 * kPageSize);
  Worker worker(pool);
  // Every way to fix it says the same.
  const auto fix = [&](std::uint64_t page, unsigned order) {
    const PageId page_id = file.page_id(page);
    const Errc code = code_of([&] { (void)pool.fix_shared(page_id, order); });
    EXPECT_EQ(code_of([&] { (void)pool.fix_optimistic(page_id, order); }), code);
    EXPECT_EQ(code_of([&] { pool.fix_exclusive(page_id, order).release_unmodified(); }), code);
    EXPECT_EQ(code_of([&] { (void)pool.pin(page_id, order); }), code);
    const auto in_task = [&]() -> Task<> {
      ExclusiveGuard guard = co_await worker.fix_exclusive(page_id, order);
      guard.release_unmodified();
    };
    worker.spawn(in_task());
    EXPECT_EQ(code_of([&] { worker.run(); }), code);
    return code;
  };
  put_extent(pool, file.page_id(8), 3, pattern(8 * kPageSize, 1));
  put(pool, file, 20 * kPageSize, "single");
  const auto all_refused = [&] {
    for (const auto& [page, order] : {std::pair<std::uint64_t, unsigned>{8, 2},
                                      {8, 1},
                                      {0, 4},
                                      {12, 0},
                                      {12, 2},
                                      {15, 0},
                                      {20, 1},
                                      {20, 2},
                                      {16, 3}})
      EXPECT_EQ(fix(page, order), Errc::kInvalidPage) << page << " " << order;
  };
  all_refused();
  push_out(pool, file, 8);
  all_refused();
  EXPECT_EQ(fix(8, 0), Errc::kInvalidPage);
  for (const auto& [page, order] :
       {std::pair<std::uint64_t, unsigned>{4, 3}, {1, 1}, {0, 9}, {40, 0}, {32, 4}, {36, 3}})
    EXPECT_EQ(fix(page, order), Errc::kInvalidPage) << "unaligned, too large, or beyond the end";
  EXPECT_EQ(fix(8, 3), Errc::kOk);
  EXPECT_EQ(fix(20, 0), Errc::kOk);
  EXPECT_EQ(fix(32, 3), Errc::kOk) << "up to the end";
}

TEST(FileExtent, DroppedOrDiscardedPagesMayBeFixedInAnotherWay) {
  const TempFile temp;
  BufferPool pool(impatient());
  File file = pool.open_file({.path = temp.path()});
  file.resize(32 * kPageSize);
  const std::string bytes = pattern(8 * kPageSize, 1);
  put_extent(pool, file.page_id(8), 3, bytes);
  EXPECT_EQ(code_of([&] { file.drop(9); }), Errc::kInvalidPage) << "inside";
  {
    const SharedGuard guard = pool.fix_shared(file.page_id(8), 3);
    EXPECT_EQ(code_of([&] { file.drop(8); }), Errc::kBusy);
  }
  EXPECT_EQ(code_of([&] { (void)pool.fix_shared(file.page_id(9)); }), Errc::kInvalidPage);
  file.drop(8);
  EXPECT_EQ(get(pool, file, 8 * kPageSize, 8 * kPageSize), bytes);
  EXPECT_EQ(code_of([&] { (void)pool.fix_shared(file.page_id(8), 3); }), Errc::kInvalidPage);
  file.drop(8, 8);
  file.drop(8, 8);  // what is not there
  EXPECT_EQ(get_extent(pool, file.page_id(8), 2), bytes.substr(0, 4 * kPageSize));
  EXPECT_EQ(get_extent(pool, file.page_id(12), 2), bytes.substr(4 * kPageSize));
  put_extent(pool, file.page_id(12), 2, pattern(4 * kPageSize, 2));
  file.discard(0, 32);
  EXPECT_EQ(get_extent(pool, file.page_id(0), 4), std::string(8 * kPageSize, '\0') + bytes);
  EXPECT_EQ(pool.stats().free_frames, 64U - 16U);
}

TEST(FileExtent, IsForgottenWhenItsFileIsCutOrClosed) {
  const TempFile temp;
  const TempFile other;
  write_all(other.path(), pattern(32 * kPageSize, 3));
  BufferPool pool(files_only(64, 2));
  File file = pool.open_file({.path = temp.path()});
  file.resize(32 * kPageSize);
  put_extent(pool, file.page_id(16), 4, pattern(16 * kPageSize, 1));
  put_extent(pool, file.page_id(8), 3, pattern(8 * kPageSize, 2));
  for (int round = 0; round < 2; ++round) {  // in memory, and not
    for (const std::uint64_t inside : {17U, 24U, 31U}) {
      EXPECT_EQ(code_of([&] { file.resize(inside * kPageSize); }), Errc::kInvalidPage);
      EXPECT_EQ(code_of([&] { file.resize((inside - 1) * kPageSize + 1); }), Errc::kInvalidPage);
      EXPECT_EQ(file.size_bytes(), 32 * kPageSize);
    }
    EXPECT_EQ(get_extent(pool, file.page_id(16), 4), pattern(16 * kPageSize, 1));
    push_out(pool, file, 16);
  }
  pool.resize(64 * kPageSize);
  file.resize(16 * kPageSize);
  file.resize(32 * kPageSize);
  EXPECT_EQ(get_extent(pool, file.page_id(16), 3), std::string(8 * kPageSize, '\0'));
  EXPECT_EQ(get_extent(pool, file.page_id(8), 3), pattern(8 * kPageSize, 2));
  const PageId first = file.page_id(0);
  file.close();
  File next = pool.open_file({.path = other.path()});
  EXPECT_EQ(next.page_id(0), first) << "the same range";
  EXPECT_EQ(get(pool, next, 8 * kPageSize, 24 * kPageSize),
            pattern(32 * kPageSize, 3).substr(8 * kPageSize));
}

TEST(FileExtent, AtTheEndIsWrittenToTheEnd) {
  const TempFile temp;
  const std::string bytes = pattern(15 * kPageSize + 100, 1);
  write_all(temp.path(), bytes);
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  EXPECT_EQ(get_extent(pool, file.page_id(8), 3),
            bytes.substr(8 * kPageSize) + std::string(kPageSize - 100, '\0'));
  put_extent(pool, file.page_id(8), 3, std::string(8 * kPageSize, 'z'));
  file.sync();
  EXPECT_EQ(read_all(temp.path()),
            bytes.substr(0, 8 * kPageSize) + std::string(7 * kPageSize + 100, 'z'));
  file.resize(16 * kPageSize);  // what lay behind the end is zeros, not what was put there
  EXPECT_EQ(get_extent(pool, file.page_id(8), 3),
            std::string(7 * kPageSize + 100, 'z') + std::string(kPageSize - 100, '\0'));
}

TEST(FileExtent, WriteBackTakesItByAnyOfItsPages) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  file.resize(32 * kPageSize);
  const std::string bytes = pattern(8 * kPageSize, 1);
  put_extent(pool, file.page_id(8), 3, bytes);
  put(pool, file, 3 * kPageSize, "single");
  file.write_back(std::array<std::uint64_t, 3>{3, 10, 11});
  EXPECT_EQ(read_all(temp.path()).substr(8 * kPageSize, 8 * kPageSize), bytes);
  EXPECT_EQ(read_all(temp.path()).substr(3 * kPageSize, 6), "single");
  EXPECT_EQ(pool.stats().written_pages, 9U);
}

TEST(FileExtent, OfATemporaryFileIsZerosWhereNothingWasWritten) {
  BufferPool pool(files_only(64));
  File file = pool.open_temporary();
  file.resize(32 * kPageSize);
  EXPECT_EQ(get_extent(pool, file.page_id(8), 3), std::string(8 * kPageSize, '\0'));
  EXPECT_EQ(pool.stats().reads, 0U);
  const std::string bytes = pattern(8 * kPageSize, 1);
  put_extent(pool, file.page_id(8), 3, bytes);
  file.drop(8);
  EXPECT_EQ(get_extent(pool, file.page_id(8), 3), bytes);
  file.drop(8);
  (void)pool.fix_shared(file.page_id(9));
  (void)pool.fix_shared(file.page_id(15));
  file.discard(9);  // its bytes are in the scratch file still
  file.discard(15);
  file.drop(8, 8);
  std::string expected = bytes;
  for (const std::size_t page : {1U, 7U})
    std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(page * kPageSize), kPageSize, '\0');
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(get_extent(pool, file.page_id(8), 3), expected);
    file.drop(8);
  }
  (void)pool.fix_shared(file.page_id(8), 3);
  file.discard(8);  // all of it
  EXPECT_EQ(get(pool, file, 8 * kPageSize, 8 * kPageSize), std::string(8 * kPageSize, '\0'));
}

TEST(FileExtent, PinsAndScansKnowIt) {
  const TempFile temp;
  write_all(temp.path(), pattern(64 * kPageSize, 1));
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  {
    const Pin pin = pool.pin(file.page_id(8), 3);
    EXPECT_EQ(pool.stats().pins, 8U);
    EXPECT_EQ(code_of([&] { file.drop(8); }), Errc::kBusy);
  }
  // A scan is of single pages: it says so at those inside, and takes no frame of the extent.
  Scan scan(pool, file.page_id(0), 64, 8);
  unsigned refused = 0;
  for (bool more = true; more;) {
    const Errc code = code_of([&] { more = scan.next(); });
    if (code == Errc::kOk) continue;
    EXPECT_EQ(code, Errc::kInvalidPage);
    ++refused;
  }
  EXPECT_EQ(refused, 7U);
}

// Two threads lay extents of all orders over their part of a file, drop and discard them, and lay
// others, in a pool that holds a third of it. Each knows what its pages must be.
TEST(FileExtent, StressAgainstAModel) {
  constexpr std::uint64_t kPart = 128;
  const TempFile temp;
  BufferPool pool(files_only(96));
  File file = pool.open_file({.path = temp.path()});
  file.resize(2 * kPart * kPageSize);
  const auto work = [&](std::uint64_t begin, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::uint64_t> model(kPart, 0);
    std::map<std::uint64_t, unsigned> laid;  // extents, by page
    const auto covers = [&](std::uint64_t page, unsigned order) {
      return std::any_of(laid.begin(), laid.end(), [&](const auto& one) {
        return one.first < page + (1U << order) && page < one.first + (1U << one.second);
      });
    };
    for (std::uint64_t round = 1; round <= 3000; ++round) {
      const auto order = static_cast<unsigned>(random() % 5);
      const std::uint64_t page = random() % (kPart >> order) << order;
      const auto at = laid.find(page);
      const bool same = at != laid.end() && at->second == order;
      const PageId page_id = file.page_id(begin + page);
      switch (random() % 8) {
        case 0:
        case 1:
          if (at == laid.end()) break;
          file.drop(begin + page);
          laid.erase(at);
          break;
        case 2:
          file.write_back(std::array<std::uint64_t, 1>{begin + page});
          break;
        default:
          if (!same && covers(page, order)) {
            if (order != 0 || at == laid.end()) {
              EXPECT_EQ(code_of([&] { (void)pool.fix_shared(page_id, order); }),
                        Errc::kInvalidPage);
            }
            break;
          }
          laid[page] = order;
          ExclusiveGuard guard = pool.fix_exclusive(page_id, order);
          for (std::uint64_t n = 0; n < std::uint64_t{1} << order; ++n) {
            std::uint64_t* const word = guard.as<std::uint64_t>() + n * kPageSize / sizeof(*word);
            ASSERT_EQ(*word, model[page + n]) << "seed " << seed << ", page " << page + n;
            *word = model[page + n] = round * kPart + n;
          }
      }
    }
    file.drop(begin, kPart);
    for (std::uint64_t page = 0; page < kPart; ++page) {
      const SharedGuard guard = pool.fix_shared(file.page_id(begin + page));
      EXPECT_EQ(*guard.as<std::uint64_t>(), model[page]) << "seed " << seed << ", page " << page;
    }
  };
  const auto seed = static_cast<unsigned>(testing::UnitTest::GetInstance()->random_seed());
  std::thread other(work, kPart, seed + 1);
  work(0, seed);
  other.join();
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Pins: include/vmcache/pin.hpp, S6 of pool/residency.hpp.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "pool/raw_files.hpp"
#include "support/code_of.hpp"
#include "vmcache/btree.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::files_only;
using test::get;
using test::kRange;
using test::put;
using test::read_all;
using test::TempFile;

TEST(Pin, KeepsThePageInMemoryAndWriters) {
  const TempFile temp;
  BufferPool pool(files_only(32));
  File file = pool.open_file({.path = temp.path()});
  file.resize(300 * kPageSize);
  put(pool, file, 0, "old");
  const Pin pin = pool.pin(file.page_id(0));
  EXPECT_EQ(pool.stats().pins, 1U);
  for (unsigned round = 0; round < 3; ++round) {
    for (unsigned n = 1; n < 300; ++n) put(pool, file, n * kPageSize, "x");
    OptimisticGuard guard;
    EXPECT_EQ(pool.try_fix(file.page_id(0), guard), TryFix::kFixed) << "in memory";
  }
  EXPECT_EQ(std::memcmp(pin.data(), "old", 3), 0);
  put(pool, file, 0, "new");  // a pin is no latch
  EXPECT_EQ(std::memcmp(pin.data(), "new", 3), 0);
  file.sync();
  EXPECT_EQ(read_all(temp.path()).substr(0, 3), "new") << "written back as any other";
}

TEST(Pin, IsBoundedAndCounted) {
  const TempFile temp;
  BufferPool pool(files_only(32));
  File file = pool.open_file({.path = temp.path()});
  file.resize(100 * kPageSize);
  std::vector<Pin> pins;
  for (unsigned n = 0; n < 32 / BufferPool::kMaxPinnedShare; ++n)
    pins.push_back(pool.pin(file.page_id(n)));
  EXPECT_EQ(code_of([&] { (void)pool.pin(file.page_id(50)); }), Errc::kPoolExhausted);
  for (unsigned n = 0; n < 100; ++n) (void)pool.fix_shared(file.page_id(n));
  pins.pop_back();
  pins.push_back(pool.pin(file.page_id(50)));
  EXPECT_EQ(pool.stats().pins, pins.size());
  pins.clear();
  EXPECT_EQ(pool.stats().pins, 0U);
  for (unsigned n = 0; n < 100; ++n) (void)pool.fix_shared(file.page_id(n));
}

TEST(Pin, IsInTheWayOfWhatWouldTakeThePage) {
  const TempFile temp;
  const TempFile database;
  PoolOptions options = test::small_pool(database, 32);
  options.files_bytes = kRange;
  options.frame_wait = std::chrono::milliseconds(50);
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path()});
  file.resize(10 * kPageSize);
  put(pool, file, 9 * kPageSize, "gone");
  put(pool, file, 4 * kPageSize, "kept");
  Pin pin = pool.pin(file.page_id(4));
  EXPECT_EQ(code_of([&] { file.close(); }), Errc::kBusy);
  EXPECT_TRUE(file);
  EXPECT_EQ(code_of([&] { file.remove(); }), Errc::kBusy);
  EXPECT_EQ(code_of([&] { file.resize(kPageSize); }), Errc::kBusy);
  EXPECT_EQ(file.size_bytes(), 5 * kPageSize) << "it ends behind the page that is in use";
  EXPECT_EQ(std::memcmp(pin.data(), "kept", 4), 0);
  const PageId page_id = pool.allocate().page_id();
  pin = pool.pin(page_id);
  ExclusiveGuard guard = pool.fix_exclusive(page_id);
  EXPECT_EQ(code_of([&] { pool.free(std::move(guard)); }), Errc::kBusy);
  guard.release_unmodified();  // NOLINT: free() has refused it
  pin.release();
  pool.free(pool.fix_exclusive(page_id));
  EXPECT_EQ(code_of([&] { (void)pool.pin(page_id); }), Errc::kInvalidPage) << "it is free";
  file.resize(kPageSize);
  file.close();
  const PageId kept = pool.allocate().page_id();
  pin = pool.pin(kept);
  EXPECT_FALSE(pool.try_free({kept, 0}));
  EXPECT_EQ(code_of([&] { pool.close(); }), Errc::kBusy);
  pin.release();
  pool.close();
}

TEST(Pin, IsNotOfAPageThatWasFreeWhenTheDatabaseWasOpened) {
  const TempFile database;
  PageId page_id = kNoPage;
  {
    BufferPool pool(test::small_pool(database, 32));
    page_id = pool.allocate().page_id();
    (void)pool.allocate();
    pool.free(pool.fix_exclusive(page_id));
  }
  BufferPool pool(test::small_pool(database, 32));
  EXPECT_EQ(code_of([&] { (void)pool.pin(page_id); }), Errc::kInvalidPage);
}

TEST(Pin, OfAnExtentCountsWithAllItsPages) {
  const TempFile database;
  BufferPool pool(test::small_pool(database, 64));
  std::vector<Pin> pins;
  for (int i = 0; i < 4; ++i) {
    const PageId extent = pool.allocate(3).page_id();  // the guard has gone by now
    pins.push_back(pool.pin(extent));
  }
  EXPECT_EQ(pool.stats().pins, 32U);
  const PageId single = pool.allocate().page_id();
  EXPECT_EQ(code_of([&] { (void)pool.pin(single); }), Errc::kPoolExhausted);
  EXPECT_EQ(code_of([&] { pool.resize(63 * kPageSize); }), Errc::kPoolExhausted);
  pins.pop_back();
  EXPECT_EQ(pool.stats().pins, 24U);
  pool.resize(48 * kPageSize);
  EXPECT_EQ(code_of([&] { pool.resize(47 * kPageSize); }), Errc::kPoolExhausted);
  pins.clear();
  EXPECT_EQ(pool.stats().pins, 0U);
}

TEST(Pin, OfANodeKeepsTheTreeFromMergingIt) {
  const TempFile database;
  BufferPool pool(test::small_pool(database, 64));
  BTree tree(pool, BTree::create(pool));
  const auto key = [](int n) { return std::to_string(100'000 + n); };
  for (int n = 0; n < 2000; ++n) tree.insert(key(n), std::string(20, 'v'));
  std::vector<Pin> pins;
  for (PageId page_id = 1; pool.contains(page_id) && pins.size() < 20; ++page_id)
    pins.push_back(pool.pin(page_id));
  for (int n = 0; n < 2000; ++n) EXPECT_TRUE(tree.erase(key(n)));
  EXPECT_FALSE(tree.get(key(7)));
  pins.clear();
  pool.close();
}

}  // namespace
}  // namespace vmcache

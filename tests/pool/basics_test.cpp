// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

std::uint64_t& number_at(ExclusiveGuard& guard, std::size_t offset = 0) {
  return *reinterpret_cast<std::uint64_t*>(guard.data() + offset);
}

TEST(Pool, KeepsPagesThatDoNotFitIntoMemory) {
  const TempFile file;
  BufferPool pool(small_pool(file, 32));
  std::vector<PageId> ids;
  for (std::uint64_t i = 0; i < 500; ++i) {
    ExclusiveGuard guard = pool.allocate();
    number_at(guard) = i;
    number_at(guard, kPageSize - 8) = ~i;
    ids.push_back(guard.page_id());
  }
  for (std::uint64_t i = 0; i < 500; ++i) {
    const SharedGuard guard = pool.fix_shared(ids[i]);
    EXPECT_EQ(*guard.as<std::uint64_t>(), i);
    EXPECT_EQ(*reinterpret_cast<const std::uint64_t*>(guard.data() + kPageSize - 8), ~i);
  }
  EXPECT_GT(pool.stats().evictions, 400u);
}

TEST(Pool, HoldsTheSamePagesAfterAReopen) {
  const TempFile file;
  PageId id = kNoPage;
  {
    BufferPool pool(small_pool(file, 32));
    ExclusiveGuard guard = pool.allocate();
    id = guard.page_id();
    number_at(guard) = 42;
    guard.release();
    pool.set_root(0, id);
    pool.close();
  }
  BufferPool pool(small_pool(file, 32));
  EXPECT_EQ(pool.root(0), id);
  EXPECT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), 42u);
}

TEST(Pool, ReadsWritesAndEvictsExtentsAsOne) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  std::vector<Extent> extents;
  for (unsigned i = 0; i < 60; ++i) {
    const unsigned order = i % 5;
    ExclusiveGuard guard = pool.allocate(order);
    EXPECT_EQ(guard.page_id() % (1u << order), 0u);
    std::memset(guard.data(), static_cast<int>(i + 1), kPageSize << order);
    extents.push_back({guard.page_id(), order});
  }
  for (unsigned i = 0; i < extents.size(); ++i) {
    const SharedGuard guard = pool.fix_shared(extents[i].page_id, extents[i].order);
    for (std::size_t byte = 0; byte < extents[i].bytes(); byte += 512) {
      ASSERT_EQ(guard.data()[byte], std::byte(i + 1)) << "extent " << i << " byte " << byte;
    }
  }
  const PoolStats stats = pool.stats();
  EXPECT_LT(stats.reads, stats.read_pages);
  EXPECT_LT(stats.writes, stats.written_pages);
}

TEST(Pool, ReusesFreedPageIdsAcrossAReopen) {
  const TempFile file;
  std::uint64_t pages = 0;
  {
    BufferPool pool(small_pool(file, 64));
    std::vector<PageId> ids;
    for (int i = 0; i < 100; ++i) ids.push_back(pool.allocate().page_id());
    for (const PageId id : ids) pool.free(pool.fix_exclusive(id));
    pool.free(pool.allocate(4));
    pages = pool.stats().database_pages;
    pool.close();
  }
  BufferPool pool(small_pool(file, 64));
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(*pool.allocate(2).as<std::uint64_t>(), 0u) << "a new extent is zeroed";
  for (int i = 0; i < 15; ++i) EXPECT_EQ(*pool.allocate().as<std::uint64_t>(), 0u);
  EXPECT_EQ(pool.stats().database_pages, pages);
}

TEST(Pool, FreesWhatIsNotInMemoryWithoutReadingIt) {
  const TempFile file;
  std::vector<Extent> extents;
  {
    BufferPool pool(small_pool(file, 64));
    for (unsigned i = 0; i < 40; ++i) extents.push_back({pool.allocate(i % 3).page_id(), i % 3});
    pool.close();
  }
  BufferPool pool(small_pool(file, 64));
  for (const Extent& extent : extents) EXPECT_TRUE(pool.try_free(extent));
  EXPECT_EQ(pool.stats().reads, 0U);
  EXPECT_EQ(pool.stats().freed_pages, 40U / 3 * 7 + 1);
  EXPECT_THROW((void)pool.try_free(extents[0]), Error) << "twice";
  EXPECT_THROW((void)pool.fix_shared(extents[1].page_id, 1), Error);

  const Extent latched{pool.allocate(1).page_id(), 1};
  {
    const SharedGuard guard = pool.fix_shared(latched.page_id, 1);
    EXPECT_FALSE(pool.try_free(latched));
  }
  EXPECT_THROW((void)pool.try_free({latched.page_id, 0}), Error) << "another order";
  EXPECT_TRUE(pool.try_free(latched));
}

TEST(Pool, AnOptimisticReaderNoticesAChangeAndAnEviction) {
  const TempFile file;
  BufferPool pool(small_pool(file, 16));
  const PageId id = pool.allocate().page_id();
  OptimisticGuard reader = pool.fix_optimistic(id);
  EXPECT_TRUE(reader.validate());
  { const SharedGuard shared = pool.fix_shared(id); }
  EXPECT_TRUE(reader.validate()) << "another reader changes nothing";
  pool.fix_exclusive(id).release_unmodified();
  EXPECT_TRUE(reader.validate()) << "an exclusive latch that changed nothing changes nothing";
  {
    ExclusiveGuard writer = pool.fix_exclusive(id);
    EXPECT_FALSE(reader.validate());
  }
  EXPECT_FALSE(reader.validate());

  reader = pool.fix_optimistic(id);
  for (int i = 0; i < 64; ++i) (void)pool.allocate();
  ASSERT_TRUE(pool.page_ref(id).state().load().evicted());
  (void)*reader.as<volatile std::uint64_t>();  // harmless
  EXPECT_FALSE(reader.validate());
  (void)pool.fix_shared(id);
  EXPECT_FALSE(reader.validate()) << "back in memory, it is another version";
}

TEST(Pool, UpgradesOnlyTheVersionThatWasSeen) {
  const TempFile file;
  BufferPool pool(small_pool(file, 16));
  const PageId id = pool.allocate().page_id();
  OptimisticGuard reader = pool.fix_optimistic(id);
  ExclusiveGuard exclusive;
  SharedGuard shared;
  ASSERT_TRUE(reader.try_upgrade(shared));
  EXPECT_FALSE(reader.try_upgrade(exclusive)) << "a shared latch is in the way";
  shared.release();
  ASSERT_TRUE(reader.try_upgrade(exclusive));
  exclusive.release();
  EXPECT_FALSE(reader.try_upgrade(exclusive)) << "the page has changed";
  EXPECT_FALSE(reader.try_upgrade(shared));
}

TEST(Pool, GivesATypedErrorWhenEverythingIsLatched) {
  const TempFile file;
  PoolOptions options = small_pool(file, 16);
  options.frame_wait = std::chrono::milliseconds(200);
  BufferPool pool(options);
  std::vector<ExclusiveGuard> held;
  for (int i = 0; i < 16; ++i) held.push_back(pool.allocate());
  try {
    (void)pool.allocate();
    FAIL() << "the pool has no frame to give";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kPoolExhausted);
  }
  held.pop_back();
  EXPECT_NO_THROW((void)pool.allocate());
}

TEST(Pool, GrowsAndShrinks) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  for (int i = 0; i < 200; ++i) (void)pool.allocate();
  pool.resize(256 * kPageSize);
  for (PageId id = 1; id <= 200; ++id) (void)pool.fix_shared(id);
  const std::uint64_t reads = pool.stats().reads;
  for (PageId id = 1; id <= 200; ++id) (void)pool.fix_shared(id);
  EXPECT_EQ(pool.stats().reads, reads) << "everything fits now";
  pool.resize(16 * kPageSize);
  EXPECT_EQ(pool.stats().pool_pages, 16u);
  for (PageId id = 1; id <= 200; ++id) (void)pool.fix_shared(id);
  EXPECT_GT(pool.stats().reads, reads + 150);
}

TEST(Pool, RefusesAFaultForAPageIdThatIsAPartOfSomethingElseByNow) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const auto refused = [&](PageId id, unsigned order) {
    try {
      (void)pool.fix_shared(id, order);
      return false;
    } catch (const Error& error) {
      return error.code() == Errc::kInvalidPage;
    }
  };
  const auto evict = [&](PageId id) {
    while (!pool.page_ref(id).state().load().evicted()) (void)pool.allocate();
  };
  // Single pages become the inside of an extent.
  std::vector<PageId> singles;
  for (int i = 0; i < 15; ++i) singles.push_back(pool.allocate().page_id());
  evict(singles.front());
  for (const PageId id : singles) pool.free(pool.fix_exclusive(id));
  ExclusiveGuard extent = pool.allocate(3);
  const PageId first = extent.page_id();
  ASSERT_EQ(first, 8u);
  std::memset(extent.data(), 0x5a, kPageSize << 3);
  for (PageId id = first + 1; id < first + 8; ++id) EXPECT_TRUE(refused(id, 0)) << id;
  extent.release();
  evict(first);
  for (PageId id = first + 1; id < first + 8; ++id) EXPECT_TRUE(refused(id, 0)) << id;
  EXPECT_TRUE(refused(first, 0)) << "another order";
  {
    const SharedGuard again = pool.fix_shared(first, 3);
    for (std::size_t byte = 0; byte < kPageSize << 3; byte += 64)
      ASSERT_EQ(again.data()[byte], std::byte{0x5a});
  }
  // And the extent becomes single pages.
  pool.free(pool.fix_exclusive(first, 3));
  EXPECT_TRUE(refused(first, 3)) << "free";
  std::vector<PageId> again;
  while (again.empty() || again.back() != first) {
    ExclusiveGuard guard = pool.allocate();
    number_at(guard) = guard.page_id();
    again.push_back(guard.page_id());
  }
  evict(first);
  EXPECT_TRUE(refused(first, 3));
  for (const PageId id : again) EXPECT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), id);
}

TEST(Pool, RefusesPageIdsOutsideTheDatabase) {
  const TempFile file;
  BufferPool pool(small_pool(file, 16));
  (void)pool.allocate(2);
  for (const PageId id : {PageId{0}, PageId{9}, PageId{1} << 15, PageId{1} << 60, ~PageId{0}}) {
    try {
      (void)pool.fix_shared(id);
      FAIL() << "page " << id;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kInvalidPage) << id;
    }
  }
}

}  // namespace
}  // namespace vmcache

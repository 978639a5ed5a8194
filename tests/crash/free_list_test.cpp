// SPDX-License-Identifier: MIT
//
// The free list is in the page file, of any length, and is there for every recovery (R19 in
// docs/recovery.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "crash/recording_storage.hpp"
#include "crash/workload.hpp"
#include "pool/free_list.hpp"
#include "pool/page_allocator.hpp"
#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"
#include "recovery/log_format.hpp"
#include "recovery/master.hpp"
#include "recovery/redo.hpp"
#include "support/database.hpp"
#include "support/volatile_database.hpp"
#include "support/volatile_device.hpp"
#include "vmcache/database.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::Recorder;
using test::VolatileDevice;
using test::VolatileStorage;

using Images = std::array<test::DiskImage, Recorder::kDevices>;

std::uint64_t free_pages_of(BufferPool& pool) {
  std::uint64_t pages = 0;
  pool.free_extents([&](std::uint64_t, std::span<const Extent> free) {
    for (const Extent& extent : free) pages += extent.pages();
  });
  return pages;
}

std::size_t free_extents_of(BufferPool& pool) {
  std::size_t extents = 0;
  pool.free_extents([&](std::uint64_t, std::span<const Extent> free) { extents = free.size(); });
  return extents;
}

void put(Database& database, const std::string& key, std::size_t bytes) {
  Transaction transaction(database);
  transaction.put(0, key, std::string(bytes, 'v'));
  transaction.commit_no_wait();
}

//! Makes the database larger by so many pages, of which about every other one is free.
void fragment(Database& database, std::uint64_t pages, std::mt19937_64& random) {
  PageAllocator& allocator = detail::store_of(database.pool()).allocator;
  std::vector<Extent> taken;
  for (std::uint64_t n = 0; n < pages; ++n) taken.push_back(allocator.allocate(0));
  for (std::size_t n = 0; n + 1 < taken.size(); n += 2)
    EXPECT_TRUE(allocator.free(taken[n + random() % 2]));
}

//! A database of which the pages can be counted but are nobody's, as fragment() leaves it.
DatabaseOptions large_database(Recorder& recorder) {
  DatabaseOptions options = test::recorded_database(recorder, 256);
  options.pool.capacity_bytes = std::uint64_t{2} << 30;
  options.log.capacity_bytes = std::uint64_t{1} << 20;
  options.checkpoint_thread = false;
  return options;
}

TEST(FreeList, MayBeLargerThanTheLog) {
  constexpr std::uint64_t kPages = 300'000;
  std::mt19937_64 random(5);
  Images left;
  std::uint64_t free = 0;
  test::StateHash state = 0;
  {
    Recorder recorder;
    Database database(large_database(recorder));
    put(database, "first", 100);
    fragment(database, kPages, random);
    ASSERT_GT(free_extents_of(database.pool()) * sizeof(std::uint64_t),
              database.log().capacity_bytes());
    database.checkpoint();
    left = recorder.content();
  }
  for (int life = 0; life < 3; ++life) {
    Recorder recorder(left);
    Database database(large_database(recorder));
    if (life > 0) {
      EXPECT_EQ(test::read_entries(database), state);
      EXPECT_EQ(free_pages_of(database.pool()), free);
    }
    for (int n = 0; n < 2000; ++n) put(database, std::to_string(random() % 400), random() % 1500);
    EXPECT_GT(database.checkpoints(), 2U) << "of them at least one because the log was full";
    database.checkpoint();
    constexpr std::uint64_t kSnapshot = 1024;
    EXPECT_LE(database.log().used_bytes(), kSnapshot);
    for (int n = 0; n < 100; ++n) put(database, std::to_string(random() % 400), random() % 1500);
    database.log().flush();
    state = test::read_entries(database);
    free = free_pages_of(database.pool());
    left = recorder.content();
  }
}

DatabaseOptions database_on(VolatileDevice& pages, VolatileDevice& log) {
  DatabaseOptions options =
      test::on_devices(pages, log, std::uint64_t{4} << 20, std::uint64_t{16} << 20);
  options.checkpoint_thread = false;
  return options;
}

//! Values of a page each. Every other one of them leaves a free page.
void erase_every_other(Database& database, int values) {
  for (int n = 0; n < values; ++n) put(database, std::to_string(n), 1500);
  for (int n = 0; n < values; n += 2) {
    Transaction transaction(database);
    transaction.erase(0, std::to_string(n));
    transaction.commit_no_wait();
  }
}

//! The checkpoint after the list's has begun a list of its own, and failed. Then work takes all
//! pages that are free, and writes them.
TEST(FreeList, IsThereForTheNextRecoveryWhateverWorkTakes) {
  for (const bool fails : {true, false}) {
    VolatileDevice pages;
    VolatileDevice log;
    VolatileDevice pages_left;
    VolatileDevice log_left;
    test::StateHash state = 0;
    {
      Database database(database_on(pages, log));
      erase_every_other(database, 200);
      database.checkpoint();
      ASSERT_GT(free_extents_of(database.pool()), 20U);
      if (fails) {
        pages.write_error = EIO;
        EXPECT_EQ(code_of([&] { database.checkpoint(); }), Errc::kIo);
        pages.write_error = 0;
      }
      for (int n = 1000; n < 1400; ++n) put(database, std::to_string(n), 1500);
      database.pool().checkpoint();
      database.log().flush();
      state = test::read_state(database);
      pages_left.copy(pages, false);
      log_left.copy(log, false);
    }
    Database database(database_on(pages_left, log_left));
    EXPECT_EQ(test::read_state(database), state);
  }
}

//! Nothing of a failed checkpoint is left once one succeeds.
TEST(FreeList, KeepsNoPageOfCheckpointsThatFailed) {
  VolatileDevice pages;
  VolatileDevice log;
  Database database(database_on(pages, log));
  erase_every_other(database, 200);
  database.checkpoint();
  database.checkpoint();
  const std::uint64_t free = free_pages_of(database.pool());
  const std::uint64_t available = detail::store_of(database.pool()).allocator.available();
  for (int round = 0; round < 5; ++round) {
    pages.write_error = EIO;
    for (int n = 0; n < 3; ++n) EXPECT_EQ(code_of([&] { database.checkpoint(); }), Errc::kIo);
    EXPECT_EQ(free_pages_of(database.pool()), free);
    pages.write_error = 0;
    database.checkpoint();
    EXPECT_EQ(free_pages_of(database.pool()), free);
    EXPECT_EQ(detail::store_of(database.pool()).allocator.available(), available);
  }
  (void)test::read_state(database);  // throws where a page has leaked
}

//! The newer master is lost, and what the older one says is not there any more.
TEST(FreeList, ThatWasGivenUpIsNeverTakenForTheOneThatIsWanted) {
  VolatileDevice pages;
  VolatileDevice log;
  VolatileDevice pages_left;
  VolatileDevice log_left;
  {
    Database database(database_on(pages, log));
    erase_every_other(database, 200);
    database.checkpoint();
    database.checkpoint();
    for (int n = 1000; n < 1400; ++n) put(database, std::to_string(n), 1500);
    database.pool().checkpoint();
    database.log().flush();
    pages_left.copy(pages, false);
    log_left.copy(log, false);
  }
  const auto number_in = [&](unsigned slot) {
    VolatileStorage storage(log_left);
    return read_master_slot(storage, slot).master.number;
  };
  const unsigned newer = number_in(0) > number_in(1) ? 0 : 1;
  const std::array<std::byte, kPageSize> damage{std::byte{1}};
  ASSERT_EQ(log_left.write(newer * kPageSize, damage.data(), damage.size()), 0);
  const Errc code = code_of([&] { const Database database(database_on(pages_left, log_left)); });
  EXPECT_TRUE(code == Errc::kCorrupt || code == Errc::kMismatch) << to_string(code);
}

//! L3, by whoever takes no more than is available.
TEST(FreeList, AlwaysHasPagesForTheNextOne) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    const std::uint64_t capacity = 10 + random() % (seed % 4 == 0 ? 20'000 : 3000);
    VolatileDevice device;
    device.max_bytes = capacity * kPageSize;
    VolatileStorage storage(device);
    PageAllocator allocator(storage, capacity, 1);
    allocator.keep_lists({});
    (void)allocator.make_available(capacity / 2, capacity);
    std::vector<Extent> taken;
    bool begun = false;
    const auto changes_nothing = [&](auto change) {
      const std::uint64_t before = allocator.available();
      change();
      EXPECT_GE(allocator.available(), before) << "seed " << seed;
    };
    for (int step = 0; step < 150 && !testing::Test::HasFailure(); ++step) {
      const bool fill = random() % 2 == 0;
      for (std::uint64_t n = random() % capacity; n > 0; --n) {
        const std::uint64_t before = allocator.available();
        if (fill && before > 0) {
          taken.push_back(allocator.allocate(0));
          ASSERT_GE(allocator.available() + 1, before) << "seed " << seed;
        } else if (!fill && !taken.empty()) {
          std::swap(taken[random() % taken.size()], taken.back());
          ASSERT_TRUE(allocator.free(taken.back()));
          taken.pop_back();
          ASSERT_GE(allocator.available(), before) << "seed " << seed;
        }
      }
      if (begun) {
        const bool ends = random() % 3 != 0;
        changes_nothing([&] { ends ? allocator.end_list() : allocator.cancel_list(); });
      } else {
        changes_nothing([&] {
          const auto list = allocator.begin_list(SnapshotHeader::kExtents);
          const std::uint64_t listed =
              list.extents.size() - std::min(list.extents.size(), SnapshotHeader::kExtents);
          EXPECT_GE(list.pages.size() * kFreeListEntries, listed);
          for (const PageId page_id : list.pages) EXPECT_FALSE(allocator.free({page_id, 0}));
        });
      }
      begun = !begun;
    }
  }
}

}  // namespace
}  // namespace vmcache

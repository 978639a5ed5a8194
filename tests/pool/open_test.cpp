// SPDX-License-Identifier: MIT
//
// What may and may not be opened, and what it costs.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

Errc code_of_open(const PoolOptions& options, std::string* message = nullptr) {
  try {
    BufferPool pool(options);
    return Errc::kOk;
  } catch (const Error& error) {
    if (message) *message = error.what();
    return error.code();
  }
}

std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Open, TakesAsManyWorkersAsItSays) {
  const TempFile file;
  PoolOptions options = small_pool(file, 16);
  options.workers = 1021;
  BufferPool pool(options);
  (void)pool.allocate();
}

TEST(Open, ChecksEveryOptionAndNamesItWithItsValue) {
  const TempFile file;
  const auto refused = [&](const char* name, const std::function<void(PoolOptions&)>& change) {
    PoolOptions options = small_pool(file, 16);
    change(options);
    std::string message;
    EXPECT_EQ(code_of_open(options, &message), Errc::kInvalidOption) << name;
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_EQ(std::filesystem::file_size(file.path()), 0u) << name;
  };
  refused("path", [](PoolOptions& o) { o.path.clear(); });
  refused("pool_bytes", [](PoolOptions& o) { o.pool_bytes = 15 * kPageSize; });
  refused("pool_bytes", [](PoolOptions& o) { o.pool_bytes = o.capacity_bytes + 1; });
  refused("capacity_bytes", [](PoolOptions& o) { o.capacity_bytes = 31 * kPageSize; });
  refused("capacity_bytes", [](PoolOptions& o) { o.capacity_bytes = ~std::uint64_t{0}; });
  refused("frame_wait = -1", [](PoolOptions& o) { o.frame_wait = std::chrono::milliseconds(-1); });
  refused("memory", [](PoolOptions& o) { o.memory = static_cast<MemoryKind>(3); });
  refused("storage", [](PoolOptions& o) { o.storage = static_cast<StorageKind>(4); });
  refused("anonymous_release",
          [](PoolOptions& o) { o.anonymous_release = static_cast<AnonymousRelease>(5); });
  refused("io_uring.polled", [](PoolOptions& o) { o.io_uring.polled = static_cast<Switch>(3); });
  using Free = std::vector<Extent>;
  for (const Free& free : {Free{{3, 0}, {3, 0}}, Free{{2, 1}, {3, 0}}, Free{{3, 1}}, Free{{9, 1}},
                           Free{{0, 0}}, Free{{4, 21}}}) {
    refused("recovered", [&](PoolOptions& o) {
      o.recovered.emplace();
      o.recovered->next_page = 10;
      o.recovered->free = free;
    });
  }
  refused("workers", [](PoolOptions& o) { o.workers = 0; });
  refused("workers", [](PoolOptions& o) { o.workers = 1022; });
  refused("io_depth", [](PoolOptions& o) { o.io_depth = 0; });
  refused("io_depth", [](PoolOptions& o) { o.io_depth = 4097; });
  refused("evict_batch", [](PoolOptions& o) { o.evict_batch = 0; });
  refused("evict_batch", [](PoolOptions& o) { o.evict_batch = 4097; });
  refused("frame_wait", [](PoolOptions& o) { o.frame_wait = std::chrono::milliseconds(0); });
  refused("frame_wait", [](PoolOptions& o) { o.frame_wait = std::chrono::milliseconds(-5); });
  EXPECT_EQ(code_of_open(small_pool(file, 16)), Errc::kOk);
}

TEST(Open, LeavesAFileThatIsNotOursUntouched) {
  const TempFile file;
  for (const std::string& text :
       {std::string("#!/bin/sh\necho not a database\n"), std::string(1 << 20, 'x'),
        std::string("vmcache") + std::string(5000, '\0')}) {
    std::ofstream(file.path(), std::ios::binary | std::ios::trunc) << text;
    const Errc code = code_of_open(small_pool(file, 16));
    EXPECT_TRUE(code == Errc::kNotADatabase || code == Errc::kCorrupt) << to_string(code);
    EXPECT_EQ(contents(file.path()), text);
  }
}

TEST(Open, FindsADamagedHeader) {
  const TempFile file;
  { BufferPool pool(small_pool(file, 16)); }
  const std::string good = contents(file.path());
  for (const std::size_t byte : {20u, 24u, 40u, 300u}) {
    std::string bad = good;
    bad[byte] = static_cast<char>(bad[byte] ^ 1);
    std::ofstream(file.path(), std::ios::binary | std::ios::trunc) << bad;
    EXPECT_EQ(code_of_open(small_pool(file, 16)), Errc::kCorrupt) << "byte " << byte;
    EXPECT_TRUE(contents(file.path()) == bad);
  }
}

TEST(Open, RefusesADatabaseThatIsInUse) {
  const TempFile file;
  const BufferPool pool(small_pool(file, 16));
  EXPECT_EQ(code_of_open(small_pool(file, 16)), Errc::kInUse);
}

TEST(Open, RefusesAMissingFileUnlessToldToCreate) {
  PoolOptions options;
  options.path = "no-such-directory/file";
  EXPECT_EQ(code_of_open(options), Errc::kIo);
  options.path = "no-such-file";
  options.create = false;
  EXPECT_EQ(code_of_open(options), Errc::kInvalidOption);
  EXPECT_FALSE(std::filesystem::exists("no-such-file"));
  const TempFile empty;
  options.path = empty.path();
  EXPECT_EQ(code_of_open(options), Errc::kNotADatabase);
  EXPECT_EQ(std::filesystem::file_size(empty.path()), 0u);
}

TEST(Open, RefusesACapacityBelowTheDatabase) {
  const TempFile file;
  {
    BufferPool pool(small_pool(file, 16));
    for (int i = 0; i < 100; ++i) (void)pool.allocate();
    pool.close();
  }
  EXPECT_EQ(code_of_open(small_pool(file, 16, 64)), Errc::kInvalidOption);
  EXPECT_EQ(code_of_open(small_pool(file, 16, 128)), Errc::kOk);
}

TEST(Open, SeveralPoolsLiveInOneProcess) {
  const TempFile first_file;
  const TempFile second_file;
  BufferPool first(small_pool(first_file, 16));
  BufferPool second(small_pool(second_file, 16));
  for (std::uint64_t i = 0; i < 100; ++i) {
    *first.allocate().as<std::uint64_t>() = i;
    *second.allocate().as<std::uint64_t>() = ~i;
  }
  for (PageId id = 1; id <= 100; ++id) {
    EXPECT_EQ(*first.fix_shared(id).as<std::uint64_t>(), id - 1);
    EXPECT_EQ(*second.fix_shared(id).as<std::uint64_t>(), ~(id - 1));
  }
}

#ifndef __SANITIZE_THREAD__  // ThreadSanitizer's shadow leaves no 16 TiB of address space
TEST(Open, CapacityCostsAddressSpaceOnly) {
  const TempFile file;
  { BufferPool pool(small_pool(file, 16)); }
  // As large a sparse file as the file system takes, up to the capacity.
  constexpr std::uint64_t kCapacity = std::uint64_t{16} << 40;
  for (std::uint64_t bytes = kCapacity;
       ::truncate(file.path().c_str(), static_cast<off_t>(bytes)) != 0; bytes /= 2) {
  }
  const auto resident_bytes = [] {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t total = 0;
    std::uint64_t resident = 0;
    statm >> total >> resident;
    return resident * kPageSize;
  };
  // Small: the pool's own memory may be resident from the start (registered frames).
  PoolOptions options = small_pool(file, 1 << 12);
  options.capacity_bytes = kCapacity;
  const std::uint64_t before = resident_bytes();
  BufferPool pool(options);
  (void)pool.allocate();
  EXPECT_LT(resident_bytes() - before, std::uint64_t{64} << 20);
}
#endif

TEST(Open, WorksWithPreadAloneAndWithEveryWayToGiveFramesBack) {
  for (const StorageKind storage :
       {StorageKind::kPread, StorageKind::kIoUring, StorageKind::kAuto}) {
    for (const AnonymousRelease release :
         {AnonymousRelease::kMove, AnonymousRelease::kProcessMadvise,
          AnonymousRelease::kMadviseRuns, AnonymousRelease::kMadvisePages,
          AnonymousRelease::kAuto}) {
      const TempFile file;
      PoolOptions options = small_pool(file, 32);
      options.memory = MemoryKind::kAnonymous;
      options.storage = storage;
      options.anonymous_release = release;
      try {
        BufferPool pool(options);
        Worker worker(pool);
        const auto fill = [](Worker& w) -> Task<> {
          for (std::uint64_t i = 0; i < 200; ++i) *(co_await w.allocate()).as<std::uint64_t>() = i;
        };
        const auto check = [](Worker& w) -> Task<> {
          for (PageId id = 1; id <= 200; ++id) {
            // Leaves zero pages behind.
            OptimisticGuard any = w.pool().fix_optimistic(1 + (id * 37) % 200);
            (void)*any.as<volatile std::uint64_t>();
            EXPECT_EQ(*(co_await w.fix_shared(id)).as<std::uint64_t>(), id - 1);
          }
        };
        worker.spawn(fill(worker));
        worker.run();
        for (int i = 0; i < 3; ++i) {
          worker.spawn(check(worker));
          worker.run();
        }
      } catch (const Error& error) {
        // What this kernel does not have must be said, and only what was asked for by name may be
        // missing.
        EXPECT_EQ(error.code(), Errc::kUnsupported) << error.what();
        EXPECT_TRUE(storage == StorageKind::kIoUring || release == AnonymousRelease::kMove ||
                    release == AnonymousRelease::kProcessMadvise)
            << error.what();
      }
    }
  }
}

TEST(Open, AClosedPoolRefusesToCloseWhileAWorkerLives) {
  const TempFile file;
  BufferPool pool(small_pool(file, 16));
  {
    const Worker worker(pool);
    try {
      pool.close();
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBusy);
    }
  }
  EXPECT_NO_THROW(pool.close());
}

}  // namespace
}  // namespace vmcache

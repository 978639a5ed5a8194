// SPDX-License-Identifier: MIT
//
// A flush of the page file that fails is final (R14): for a pool, and for a database on it.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/database.hpp"
#include "support/volatile_device.hpp"
#include "vmcache/database.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::VolatileDevice;
using test::VolatileStorage;

PoolOptions pool_on(VolatileDevice& device, std::uint64_t pool_pages = 32) {
  PoolOptions options;
  options.make_storage = [&device] { return std::make_unique<VolatileStorage>(device); };
  options.pool_bytes = pool_pages * kPageSize;
  options.capacity_bytes = std::uint64_t{1} << 28;
  options.memory = test::default_memory;
  options.frame_wait = std::chrono::seconds(20);
  return options;
}

DatabaseOptions database_on(VolatileDevice& pages, VolatileDevice& log) {
  DatabaseOptions options;
  options.pool = pool_on(pages, 64);
  options.log.make_storage = [&log] { return std::make_unique<VolatileStorage>(log); };
  options.log.capacity_bytes = std::uint64_t{1} << 20;
  return options;
}

//! That `call` is refused because a flush has failed, and says so.
void expect_refused(const char* what, const auto& call) {
  try {
    call();
    ADD_FAILURE() << what << " was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kIo) << what;
    EXPECT_EQ(error.os_error(), EIO) << what;
    EXPECT_NE(std::string(error.what()).find("flush"), std::string::npos)
        << what << ": " << error.what();
  }
}

//! Each page of `pages` was written with its id.
std::vector<PageId> write_pages(BufferPool& pool, int count) {
  std::vector<PageId> pages;
  for (int i = 0; i < count; ++i) {
    const ExclusiveGuard guard = pool.allocate();
    *guard.as<std::uint64_t>() = guard.page_id();
    pages.push_back(guard.page_id());
  }
  return pages;
}

TEST(FailedFlush, IsFinalForAPoolWhoseEveryCallButCloseIsRefused) {
  VolatileDevice device;
  {
    BufferPool pool(pool_on(device));
    pool.set_root(0, BTree::create(pool));
    BTree tree(pool, pool.root(0));
    tree.upsert("key", "value");
    const std::vector<PageId> pages = write_pages(pool, 100);  // most of them are evicted
    device.fail_flush = 0;
    expect_refused("the checkpoint", [&] { pool.checkpoint(); });
    const std::uint64_t flushes = device.flushes;

    for (const PageId page_id : {pages.front(), pages.back()}) {
      OptimisticGuard guard;
      EXPECT_EQ(pool.try_fix(page_id, guard), TryFix::kMiss);
      expect_refused("fix_optimistic", [&] { (void)pool.fix_optimistic(page_id); });
      expect_refused("fix_shared", [&] { (void)pool.fix_shared(page_id); });
      expect_refused("fix_exclusive", [&] { (void)pool.fix_exclusive(page_id); });
      const Extent extent{page_id, 0};
      expect_refused("prefetch", [&] { pool.prefetch({&extent, 1}); });
    }
    expect_refused("allocate", [&] { (void)pool.allocate(); });
    expect_refused("set_root", [&] { pool.set_root(1, pages.front()); });
    expect_refused("resize", [&] { pool.resize(64 * kPageSize); });
    expect_refused("a second checkpoint", [&] { pool.checkpoint(); });
    expect_refused("get", [&] { (void)tree.get("key"); });
    expect_refused("upsert", [&] { tree.upsert("key", "other"); });
    expect_refused("erase", [&] { tree.erase("key"); });
    expect_refused("scan", [&] { (void)tree.count(); });
    {
      Worker worker(pool);
      expect_refused("a task", [&] {
        worker.spawn([](Worker& own, PageId page_id) -> Task<> {
          (void)co_await own.fix_shared(page_id);
        }(worker, pages.front()));
        worker.run();
      });
      expect_refused("a task that allocates", [&] {
        worker.spawn([](Worker& own) -> Task<> { (void)co_await own.allocate(); }(worker));
        worker.run();
      });
      expect_refused("a task that changes a tree", [&] {
        worker.spawn([](Worker& own, BTree& changed) -> Task<> {
          (void)co_await changed.upsert(own, "key", "other");
        }(worker, tree));
        worker.run();
      });
    }
    EXPECT_NO_THROW(pool.close());
    EXPECT_EQ(device.flushes, flushes) << "a flush after the one that had failed";
  }
  EXPECT_EQ(code_of([&] { BufferPool again(pool_on(device)); }), Errc::kUncleanShutdown);
}

TEST(FailedFlush, OfACloseIsToldAndTheSecondCloseMarksNothingClean) {
  VolatileDevice device;
  {
    BufferPool pool(pool_on(device));
    (void)write_pages(pool, 100);
    device.fail_flush = 0;
    expect_refused("close", [&] { pool.close(); });
    EXPECT_NO_THROW(pool.close());
  }
  EXPECT_EQ(code_of([&] { BufferPool again(pool_on(device)); }), Errc::kUncleanShutdown);
}

//! A latched page stays and is correct, so its guard does not keep the pool from ending.
TEST(FailedFlush, LetsThePoolCloseWhileAGuardIsAlive) {
  VolatileDevice device;
  BufferPool pool(pool_on(device));
  const PageId page_id = write_pages(pool, 1).front();
  const SharedGuard guard = pool.fix_shared(page_id);
  device.fail_flush = 0;
  expect_refused("checkpoint", [&] { pool.checkpoint(); });
  EXPECT_NO_THROW(pool.close());
  EXPECT_EQ(*guard.as<std::uint64_t>(), page_id);
}

//! F2: a read that was under way when the flush failed may have found what is older than what was
//! lost.
TEST(FailedFlush, RefusesTheReadsThatWereUnderWay) {
  VolatileDevice device;
  BufferPool pool(pool_on(device));
  const std::vector<PageId> pages = write_pages(pool, 100);
  pool.checkpoint();
  OptimisticGuard resident;
  const auto away = std::ranges::find_if(
      pages, [&](PageId page_id) { return pool.try_fix(page_id, resident) != TryFix::kFixed; });
  ASSERT_NE(away, pages.end());
  device.hold_reads = true;
  const std::uint64_t begun = device.reads_begun;
  std::thread reader([&] {
    Worker worker(pool);
    expect_refused("the read", [&] {
      worker.spawn([](Worker& own, PageId page_id) -> Task<> {
        (void)co_await own.fix_shared(page_id);
      }(worker, *away));
      worker.run();
    });
  });
  while (device.reads_begun == begun) std::this_thread::yield();
  device.fail_flush = 0;
  expect_refused("the checkpoint", [&] { pool.checkpoint(); });
  device.hold_reads = false;
  reader.join();
  pool.close();
}

//! Fails its first flush late and tells nobody else: whoever flushes meanwhile hears that all is
//! well.
class OneIsToldStorage final : public VolatileStorage {
 public:
  OneIsToldStorage(VolatileDevice& device, std::atomic<int>& armed)
      : VolatileStorage(device), _armed(armed) {}
  [[nodiscard]] int flush() override {
    const int turn = _armed.load() > 0 ? _armed.fetch_add(1) : 0;
    if (turn != 1) return VolatileStorage::flush();
    for (int i = 0; i < 100 && _armed == 2; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return EIO;
  }

 private:
  std::atomic<int>& _armed;
};

//! F1.
TEST(FailedFlush, FailsTheCheckpointsBesideItToo) {
  VolatileDevice device;
  std::atomic<int> armed{0};
  PoolOptions options = pool_on(device);
  options.make_storage = [&] { return std::make_unique<OneIsToldStorage>(device, armed); };
  BufferPool pool(options);
  (void)write_pages(pool, 20);
  armed = 1;
  std::vector<std::thread> threads;
  for (int n = 0; n < 3; ++n)
    threads.emplace_back([&] { expect_refused("a checkpoint", [&] { pool.checkpoint(); }); });
  for (std::thread& thread : threads) thread.join();
  pool.close();
}

std::string key_of(std::uint64_t n) {
  return std::string("k").append(std::to_string(n));
}

void expect_database_refuses(Database& database) {
  expect_refused("tree", [&] { (void)database.tree(0); });
  expect_refused("checkpoint", [&] { database.checkpoint(); });
  Transaction transaction(database);
  expect_refused("get", [&] { (void)transaction.get(0, "k1"); });
  expect_refused("get_for_update", [&] { (void)transaction.get_for_update(0, "k1"); });
  expect_refused("put", [&] { transaction.put(0, "k1", "v"); });
  expect_refused("erase", [&] { transaction.erase(0, "k1"); });
}

//! The n-th flush of the page file fails for every n, and loses what was not flushed: through open,
//! work, checkpoints and close. After a power cut nothing that was acknowledged is gone or old.
TEST(FailedFlush, LosesNoCommitForEveryN) {
  int refused = 0;
  bool reached = true;
  for (std::uint64_t nth = 0; reached; ++nth) {
    SCOPED_TRACE(testing::Message() << "flush " << nth);
    VolatileDevice pages;
    VolatileDevice log;
    std::mt19937_64 random(nth);
    std::map<std::string, std::string> acknowledged;
    pages.fail_flush = nth;
    try {
      Database database(database_on(pages, log));
      const BTree& tree = database.tree(0);
      try {
        for (int i = 0; i < 300; ++i) {
          const std::string key = key_of(random() % 100);
          const std::string value = std::to_string(i).append(random() % 600, 'v');
          Transaction transaction(database);
          transaction.put(0, key, value);
          transaction.commit();
          acknowledged[key] = value;
          if (i % 50 == 49) database.checkpoint();
        }
      } catch (const Error& error) {
        ++refused;
        EXPECT_NE(std::string(error.what()).find("flush"), std::string::npos) << error.what();
        expect_database_refuses(database);
        expect_refused("a tree that was there before", [&] { (void)tree.get("k1"); });
        // What a power cut leaves now, and what it leaves after a close.
        if (nth % 2 == 0) {
          EXPECT_NO_THROW(database.close());
        }
      }
      if (nth % 2 == 1) (void)code_of([&] { database.close(); });
    } catch (const Error&) {  // NOLINT: it could not be opened, or closed
    }
    reached = pages.fail_flush == ~std::uint64_t{0};
    pages.fail_flush = ~std::uint64_t{0};
    pages.cut_power();
    log.cut_power();
    Database database(database_on(pages, log));
    for (const auto& [key, value] : acknowledged)
      ASSERT_EQ(database.tree(0).get(key), value) << "an acknowledged commit is lost";
    (void)database.tree(0).verify();
  }
  EXPECT_GT(refused, 5);
}

}  // namespace
}  // namespace vmcache

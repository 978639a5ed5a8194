// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <vector>

#include "support/options.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

Task<std::uint64_t> read_number(Worker& worker, PageId id) {
  const SharedGuard guard = co_await worker.fix_shared(id);
  co_return *guard.as<std::uint64_t>();
}

Task<> check_numbers(Worker& worker, PageId first, PageId last, std::uint64_t& checked) {
  for (PageId id = first; id <= last; ++id) {
    EXPECT_EQ(co_await read_number(worker, id), id);
    ++checked;
  }
}

Task<> write_numbers(Worker& worker, unsigned pages) {
  for (unsigned i = 0; i < pages; ++i) {
    const ExclusiveGuard guard = co_await worker.allocate();
    *guard.as<std::uint64_t>() = guard.page_id();
  }
}

TEST(Worker, RunsManyMissesAtOnce) {
  const TempFile file;
  PoolOptions options = small_pool(file, 128);
  options.io_depth = 64;
  BufferPool pool(options);
  Worker worker(pool);
  worker.spawn(write_numbers(worker, 1000));
  worker.run();
  std::uint64_t checked = 0;
  const PoolStats before = pool.stats();
  for (PageId first = 1; first <= 1000; first += 10) {
    worker.spawn(check_numbers(worker, first, first + 9, checked));
  }
  worker.run();
  EXPECT_EQ(checked, 1000u);
  const PoolStats after = pool.stats();
  EXPECT_LT(after.submissions - before.submissions, (after.reads - before.reads) / 2)
      << "misses go out in batches";
}

TEST(Worker, AnOptimisticFixComesBackResident) {
  const TempFile file;
  BufferPool pool(small_pool(file, 16));
  Worker worker(pool);
  worker.spawn(write_numbers(worker, 200));
  worker.run();
  const auto read_all = [](Worker& w) -> Task<> {
    for (PageId id = 1; id <= 200; ++id) {
      for (;;) {
        const OptimisticGuard guard = co_await w.fix_optimistic(id);
        const std::uint64_t number = *guard.as<std::uint64_t>();
        if (!guard.validate()) continue;
        EXPECT_EQ(number, id);
        break;
      }
    }
  };
  for (int i = 0; i < 20; ++i) worker.spawn(read_all(worker));
  worker.run();
}

Task<> mix_awaitable_and_blocking_fixes(Worker& worker, std::uint64_t task, unsigned& ended) {
  for (std::uint64_t i = 0; i < 100; ++i) {
    const PageId awaited = 1 + (task * 7 + i * 31) % 200;
    EXPECT_EQ(co_await read_number(worker, awaited), awaited);
    // Often a page that another task has asked for, or that this worker's engine is writing back.
    const PageId blocking = 1 + (task * 7 + i * 31 + 31) % 200;
    EXPECT_EQ(*worker.pool().fix_shared(blocking).as<std::uint64_t>(), blocking);
  }
  ++ended;
}

TEST(Worker, ABlockingCallInATaskWaitsForNoOtherTasksLoad) {
  const TempFile file;
  BufferPool pool(small_pool(file, 32));
  Worker worker(pool);
  unsigned ended = 0;
  worker.spawn(write_numbers(worker, 200));
  worker.run();
  for (std::uint64_t task = 0; task < 20; ++task)
    worker.spawn(mix_awaitable_and_blocking_fixes(worker, task, ended));
  worker.run();
  EXPECT_EQ(ended, 20u);
}

TEST(Worker, ABlockingCallInATaskGivesUpOnAnotherTasksLatch) {
  const TempFile file;
  PoolOptions options = small_pool(file, 32);
  options.frame_wait = std::chrono::milliseconds(20);
  BufferPool pool(options);
  Worker worker(pool);
  bool refused = false;
  const auto hold = [](Worker& w, const bool& until) -> Task<> {
    const ExclusiveGuard guard = co_await w.allocate();
    while (!until) co_await w.yield();
  };
  const auto want = [](Worker& w, bool& told) -> Task<> {
    co_await w.yield();
    try {
      (void)w.pool().fix_shared(1);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBusy);
      EXPECT_EQ(error.page_id(), 1u);
    }
    told = true;
  };
  worker.spawn(hold(worker, refused));
  worker.spawn(want(worker, refused));
  worker.run();
  EXPECT_TRUE(refused);
}

//! Takes two locks, or gives up what it has and tries again.
Task<> take_both(Worker& worker, std::vector<bool>& locked, unsigned first, unsigned second,
                 bool late, unsigned& ended) {
  constexpr int kMaxTries = 10'000;
  if (late) co_await worker.yield();
  for (int tries = 0; tries < kMaxTries; ++tries) {
    if (!locked[first]) {
      locked[first] = true;
      co_await worker.yield();
      const bool both = !locked[second];
      locked[first] = false;
      if (both) {
        ++ended;
        co_return;
      }
    }
    co_await worker.yield();
  }
}

//! In a fixed order each of these would find its second lock taken, always.
TEST(Worker, TasksInEachOthersWayEnd) {
  const TempFile file;
  BufferPool pool(small_pool(file, 16));
  Worker worker(pool);
  for (int round = 0; round < 100; ++round) {
    std::vector<bool> locked(3);
    unsigned ended = 0;
    worker.spawn(take_both(worker, locked, 0, 1, false, ended));
    worker.spawn(take_both(worker, locked, 2, 0, true, ended));
    worker.spawn(take_both(worker, locked, 1, 2, false, ended));
    worker.run();
    ASSERT_EQ(ended, 3U);
  }
}

TEST(Worker, PassesATasksExceptionOnAndEndsTheOthers) {
  const TempFile file;
  BufferPool pool(small_pool(file, 16));
  Worker worker(pool);
  unsigned ended = 0;
  const auto good = [](Worker& w, unsigned& count) -> Task<> {
    for (int i = 0; i < 10; ++i) co_await w.yield();
    ++count;
  };
  const auto bad = [](Worker& w) -> Task<> { (void)co_await w.fix_shared(PageId{1} << 40); };
  worker.spawn(good(worker, ended));
  worker.spawn(bad(worker));
  worker.spawn(good(worker, ended));
  EXPECT_THROW(worker.run(), Error);
  EXPECT_EQ(ended, 2u);
  EXPECT_EQ(worker.tasks(), 0u);
}

TEST(Worker, PrefetchLoadsASetInOneSubmission) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  Worker worker(pool);
  worker.spawn(write_numbers(worker, 300));
  worker.run();
  const auto prefetch = [](Worker& w, std::vector<Extent> set) -> Task<> {
    co_await w.prefetch(set);
  };
  // Or a device that is slow to write would have pages leave that were loaded a moment ago (E5).
  pool.checkpoint();
  std::vector<Extent> set;
  for (PageId id = 1; id <= 30; ++id) set.push_back({id, 0});
  const PoolStats before = pool.stats();
  worker.spawn(prefetch(worker, set));
  worker.run();
  const PoolStats after = pool.stats();
  EXPECT_EQ(after.reads - before.reads, 30u);
  for (PageId id = 1; id <= 30; ++id) {
    SharedGuard guard;
    EXPECT_EQ(pool.try_fix(id, guard), TryFix::kFixed) << id;
  }
  std::vector<Extent> other;
  for (PageId id = 101; id <= 130; ++id) other.push_back({id, 0});
  pool.prefetch(other);
  EXPECT_EQ(pool.stats().reads - after.reads, 30u);
}

}  // namespace
}  // namespace vmcache

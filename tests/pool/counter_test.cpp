// SPDX-License-Identifier: MIT
//
// No update is ever lost: threads and tasks add to counters spread over more pages than the pool has frames.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

struct Case {
  std::uint64_t frames;
  std::uint64_t pages;
  unsigned threads;
  unsigned tasks;  // a thread; 0: blocking calls
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.pages << " pages in " << c.frames << " frames, " << c.threads << " threads, " << c.tasks
       << " tasks each";
}

class NoUpdateIsLost : public testing::TestWithParam<Case> {};

constexpr std::chrono::milliseconds kDuration{1500};

std::uint64_t& counter_of(const ExclusiveGuard& guard) {
  return *guard.as<std::uint64_t>();
}

std::uint64_t add_blocking(BufferPool& pool, std::uint64_t pages, unsigned seed,
                           const std::atomic<bool>& stop) {
  std::mt19937_64 random(seed);
  std::uint64_t added = 0;
  while (!stop.load(std::memory_order_relaxed)) {
    ++counter_of(pool.fix_exclusive(1 + random() % pages));
    ++added;
  }
  return added;
}

Task<> add_awaiting(Worker& worker, std::uint64_t pages, unsigned seed, const std::atomic<bool>& stop,
                    std::uint64_t& added) {
  std::mt19937_64 random(seed);
  while (!stop.load(std::memory_order_relaxed)) {
    const ExclusiveGuard guard = co_await worker.fix_exclusive(1 + random() % pages);
    ++counter_of(guard);
    ++added;
    if (added % 64 == 0) co_await worker.yield();
  }
}

TEST_P(NoUpdateIsLost, WhileEverythingIsEvictedAllTheTime) {
  const Case& c = GetParam();
  const TempFile file;
  PoolOptions options = small_pool(file, c.frames);
  options.workers = 8;
  std::atomic<std::uint64_t> total{0};
  std::uint64_t sum = 0;
  {
    BufferPool pool(options);
    for (std::uint64_t i = 0; i < c.pages; ++i) (void)pool.allocate();
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < c.threads; ++t) {
      threads.emplace_back([&, t] {
        if (c.tasks == 0) {
          total += add_blocking(pool, c.pages, t, stop);
          return;
        }
        Worker worker(pool);
        std::uint64_t added = 0;
        for (unsigned task = 0; task < c.tasks; ++task) {
          worker.spawn(add_awaiting(worker, c.pages, t * 1000 + task, stop, added));
        }
        worker.run();
        total += added;
      });
    }
    std::this_thread::sleep_for(kDuration);
    stop = true;
    for (std::thread& thread : threads) thread.join();
    for (PageId id = 1; id <= c.pages; ++id) sum += *pool.fix_shared(id).as<std::uint64_t>();
    EXPECT_GT(pool.stats().evictions, c.pages);
    EXPECT_EQ(sum, total);
    pool.close();
  }
  BufferPool pool(options);
  sum = 0;
  for (PageId id = 1; id <= c.pages; ++id) sum += *pool.fix_shared(id).as<std::uint64_t>();
  EXPECT_EQ(sum, total) << "after a reopen";
  EXPECT_GT(total, 100u);
}

INSTANTIATE_TEST_SUITE_P(Sizes, NoUpdateIsLost,
                         testing::Values(Case{256, 1024, 4, 0}, Case{1024, 2048, 4, 0}, Case{16, 64, 64, 0},
                                         Case{256, 1024, 2, 64}, Case{512, 640, 4, 16},
                                         Case{16, 100, 4, 32}));

}  // namespace
}  // namespace vmcache

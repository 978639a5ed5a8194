// SPDX-License-Identifier: MIT
//
// No update is ever lost: threads and tasks add to counters spread over more pages than the pool
// has frames.
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

// A slow machine may need longer for the updates that make it a test.
constexpr std::chrono::milliseconds kDuration{1500};
constexpr std::chrono::minutes kMaxDuration{2};
constexpr std::uint64_t kMinUpdates = 100;

std::uint64_t& counter_of(const ExclusiveGuard& guard) {
  return *guard.as<std::uint64_t>();
}

void add_blocking(BufferPool& pool, std::uint64_t pages, unsigned seed,
                  const std::atomic<bool>& stop, std::atomic<std::uint64_t>& total) {
  std::mt19937_64 random(seed);
  while (!stop.load(std::memory_order_relaxed)) {
    ++counter_of(pool.fix_exclusive(1 + random() % pages));
    ++total;
  }
}

Task<> add_awaiting(Worker& worker, std::uint64_t pages, unsigned seed,
                    const std::atomic<bool>& stop, std::atomic<std::uint64_t>& total) {
  std::mt19937_64 random(seed);
  for (unsigned added = 1; !stop.load(std::memory_order_relaxed); ++added) {
    const ExclusiveGuard guard = co_await worker.fix_exclusive(1 + random() % pages);
    ++counter_of(guard);
    ++total;
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
        if (c.tasks == 0) return add_blocking(pool, c.pages, t, stop, total);
        Worker worker(pool);
        for (unsigned task = 0; task < c.tasks; ++task) {
          worker.spawn(add_awaiting(worker, c.pages, t * 1000 + task, stop, total));
        }
        worker.run();
      });
    }
    const auto began = std::chrono::steady_clock::now();
    do {
      std::this_thread::sleep_for(kDuration);
    } while ((total <= kMinUpdates || pool.stats().evictions <= c.pages) &&
             std::chrono::steady_clock::now() - began < kMaxDuration);
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
  EXPECT_GT(total, kMinUpdates);
}

INSTANTIATE_TEST_SUITE_P(Sizes, NoUpdateIsLost,
                         testing::Values(Case{256, 1024, 4, 0}, Case{1024, 2048, 4, 0},
                                         Case{16, 64, 64, 0}, Case{256, 1024, 2, 64},
                                         Case{512, 640, 4, 16}, Case{16, 100, 4, 32}));

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <atomic>
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

constexpr std::uint64_t kPages = 600;

Task<> add(Worker& worker, unsigned seed, const std::atomic<bool>& stop, std::uint64_t& added) {
  std::mt19937_64 random(seed);
  while (!stop) {
    const ExclusiveGuard guard = co_await worker.fix_exclusive(1 + random() % kPages);
    ++*guard.as<std::uint64_t>();
    ++added;
  }
}

TEST(Resize, LosesNothingWhileWorkRuns) {
  const TempFile file;
  BufferPool pool(small_pool(file, 256));
  for (std::uint64_t i = 0; i < kPages; ++i) (void)pool.allocate();
  std::atomic<bool> stop{false};
  std::uint64_t by_tasks = 0;
  std::atomic<std::uint64_t> by_threads{0};
  std::thread tasks([&] {
    Worker worker(pool);
    for (unsigned i = 0; i < 16; ++i) worker.spawn(add(worker, i, stop, by_tasks));
    worker.run();
  });
  std::thread blocking([&] {
    std::mt19937_64 random(99);
    while (!stop) {
      ++*pool.fix_exclusive(1 + random() % kPages).as<std::uint64_t>();
      ++by_threads;
    }
  });
  std::mt19937_64 random(7);
  for (int i = 0; i < 40; ++i) {
    const std::uint64_t frames = 64 + random() % 700;
    pool.resize(frames * kPageSize);
    EXPECT_EQ(pool.stats().pool_pages, frames);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  stop = true;
  tasks.join();
  blocking.join();
  std::uint64_t sum = 0;
  for (PageId id = 1; id <= kPages; ++id) sum += *pool.fix_shared(id).as<std::uint64_t>();
  EXPECT_EQ(sum, by_tasks + by_threads);
}

TEST(Resize, KeepsItsSizeWhenItCannotShrink) {
  const TempFile file;
  PoolOptions options = small_pool(file, 64);
  options.frame_wait = std::chrono::milliseconds(200);
  BufferPool pool(options);
  std::vector<ExclusiveGuard> held;
  for (int i = 0; i < 40; ++i) held.push_back(pool.allocate());
  try {
    pool.resize(32 * kPageSize);
    FAIL() << "40 pages are latched";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kPoolExhausted);
  }
  EXPECT_EQ(pool.stats().pool_pages, 64u);
  for (int i = 0; i < 24; ++i) held.push_back(pool.allocate());
  held.clear();
  pool.checkpoint();  // a slow disk may take longer than frame_wait
  pool.resize(16 * kPageSize);
  EXPECT_EQ(pool.stats().pool_pages, 16u);
  for (const std::uint64_t bytes :
       {std::uint64_t{0}, 15 * kPageSize, options.capacity_bytes + kPageSize}) {
    EXPECT_THROW(pool.resize(bytes), Error);
  }
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Tasks that wait for each other, in one Worker and in several.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/options.hpp"
#include "vmcache/task_sync.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

class TaskSync : public testing::Test {
 protected:
  static PoolOptions options(const TempFile& file) {
    PoolOptions made = small_pool(file, 64);
    made.workers = 8;
    return made;
  }
  const TempFile file;
  BufferPool pool{options(file)};
};

//! Runs `task(worker)` in `threads` Workers, `each` of them in each.
void run_in_workers(BufferPool& pool, unsigned threads, unsigned each, auto&& task) {
  std::vector<std::thread> running;
  running.reserve(threads);
  for (unsigned t = 0; t < threads; ++t) {
    running.emplace_back([&] {
      Worker worker(pool);
      for (unsigned n = 0; n < each; ++n) worker.spawn(task(worker));
      worker.run();
    });
  }
  for (std::thread& thread : running) thread.join();
}

// The counter is no atomic: ThreadSanitizer sees two tasks that hold the lock at once, and one that
// does not see what the last one did.
TEST_F(TaskSync, AMutexHasOneHolderInAllWorkers) {
  constexpr unsigned kThreads = 4;
  constexpr unsigned kTasks = 5;
  constexpr unsigned kTimes = 100;
  TaskMutex mutex;
  std::uint64_t counter = 0;
  bool held = false;
  const auto add = [&](Worker& worker) -> Task<> {
    for (unsigned n = 0; n < kTimes; ++n) {
      const TaskMutex::Lock lock = co_await mutex.lock(worker);
      EXPECT_FALSE(std::exchange(held, true));
      if (n % 3 == 0) co_await worker.yield();
      ++counter;
      held = false;
    }
  };
  run_in_workers(pool, kThreads, kTasks, add);
  EXPECT_EQ(counter, kThreads * kTasks * kTimes);
}

TEST_F(TaskSync, WhoComesFirstGoesFirst) {
  Worker worker(pool);
  TaskMutex mutex;
  std::string order;
  const auto take = [&](char name) -> Task<> {
    const TaskMutex::Lock lock = co_await mutex.lock(worker);
    order += name;
    for (unsigned n = 0; n < 3; ++n) co_await worker.yield();
  };
  const auto all = [&]() -> Task<> {  // one after the other: the order of tasks may change
    TaskGroup group(worker);
    for (const char name : std::string("abcde")) {
      group.spawn(take(name));
      co_await worker.yield();
    }
    co_await group.join();
  };
  worker.spawn(all());
  worker.run();
  EXPECT_EQ(order, "abcde");
}

TEST_F(TaskSync, ASemaphoreLetsThroughAsManyAsItHasPermits) {
  Semaphore semaphore(3);
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  const auto work = [&](Worker& worker) -> Task<> {
    for (unsigned n = 0; n < 50; ++n) {
      co_await semaphore.acquire(worker);
      const int now = ++inside;
      for (int old = most; now > old && !most.compare_exchange_weak(old, now);) continue;
      co_await worker.yield();
      --inside;
      semaphore.release();
    }
  };
  run_in_workers(pool, 3, 4, work);
  EXPECT_LE(most, 3);
  EXPECT_TRUE(semaphore.try_acquire() && semaphore.try_acquire() && semaphore.try_acquire());
  EXPECT_FALSE(semaphore.try_acquire());
}

TEST_F(TaskSync, AnyThreadMayRelease) {
  Worker worker(pool);
  Semaphore semaphore(0);
  unsigned passed = 0;
  const auto wait = [&]() -> Task<> {
    co_await semaphore.acquire(worker);
    ++passed;
  };
  for (unsigned n = 0; n < 10; ++n) worker.spawn(wait());
  std::thread other([&] {
    semaphore.release(4);
    semaphore.release(6);
  });
  worker.run();
  other.join();
  EXPECT_EQ(passed, 10U);
}

// Y2: a permit that comes between a task's look and its wait.
TEST_F(TaskSync, NoPermitIsLost) {
  constexpr unsigned kTimes = 20'000;
  Worker worker(pool);
  Semaphore semaphore(0);
  std::atomic<unsigned> wanted{0};
  const auto take = [&]() -> Task<> {
    for (unsigned n = 1; n <= kTimes; ++n) {
      wanted.store(n, std::memory_order_release);
      co_await semaphore.acquire(worker);
    }
  };
  worker.spawn(take());
  std::thread other([&] {
    for (unsigned n = 1; n <= kTimes; ++n) {
      for (unsigned spins = 1; wanted.load(std::memory_order_acquire) < n; ++spins) {
        if (spins % 1000 == 0) std::this_thread::yield();
      }
      semaphore.release();
    }
  });
  worker.run();
  other.join();
}

TEST_F(TaskSync, AChannelBringsEachValueOnceAndInOrder) {
  constexpr unsigned kSenders = 3;
  constexpr std::uint64_t kValues = 500;
  Channel<std::pair<unsigned, std::uint64_t>> channel(4);
  std::array<std::uint64_t, kSenders> next{};
  std::atomic<unsigned> senders{0};
  std::atomic<unsigned> ended{0};
  std::thread receiver([&] {
    Worker worker(pool);
    const auto receive = [&]() -> Task<> {
      for (;;) {
        const auto value = co_await channel.receive(worker);
        if (!value) break;
        EXPECT_EQ(value->second, next[value->first]++);
      }
      EXPECT_FALSE(co_await channel.receive(worker));  // it stays closed
    };
    worker.spawn(receive());
    worker.run();
  });
  const auto send = [&](Worker& worker) -> Task<> {
    const unsigned own = senders++;
    for (std::uint64_t n = 0; n < kValues; ++n) {
      EXPECT_TRUE(co_await channel.send(worker, {own, n}));
    }
    if (++ended < kSenders) co_return;
    channel.close();
    EXPECT_FALSE(co_await channel.send(worker, {own, 0}));
  };
  run_in_workers(pool, kSenders, 1, send);
  receiver.join();
  for (const std::uint64_t count : next) EXPECT_EQ(count, kValues);
}

TEST_F(TaskSync, CloseWakesAllThatWait) {
  Worker worker(pool);
  Channel<int> empty(1);
  Channel<int> full(1);
  unsigned woken = 0;
  const auto receive = [&]() -> Task<> {
    EXPECT_FALSE(co_await empty.receive(worker));
    ++woken;
  };
  const auto send = [&](bool taken) -> Task<> {
    EXPECT_EQ(co_await full.send(worker, 1), taken);
    ++woken;
  };
  const auto close = [&]() -> Task<> {
    for (unsigned n = 0; n < 10; ++n) co_await worker.yield();
    empty.close();
    full.close();
    full.close();
  };
  const auto all = [&]() -> Task<> {
    TaskGroup group(worker);
    for (unsigned n = 0; n < 3; ++n) group.spawn(receive());
    for (unsigned n = 0; n < 3; ++n) {
      group.spawn(send(n == 0));
      co_await worker.yield();
    }
    group.spawn(close());
    co_await group.join();
    EXPECT_EQ(co_await full.receive(worker), 1);  // what was taken before is still there
    EXPECT_FALSE(co_await full.receive(worker));
  };
  worker.spawn(all());
  worker.run();
  EXPECT_EQ(woken, 6U);
}

TEST_F(TaskSync, JoinWaitsForAllAndThrowsTheFirstError) {
  Worker worker(pool);
  unsigned ended = 0;
  bool thrown = false;
  const auto work = [&](unsigned rounds) -> Task<> {
    for (unsigned n = 0; n < rounds; ++n) co_await worker.yield();
    ++ended;
    if (rounds == 5) throw std::runtime_error("five");
  };
  const auto all = [&]() -> Task<> {
    std::vector<Task<>> tasks;
    for (unsigned n = 0; n < 10; ++n) tasks.push_back(work(n));
    try {
      co_await when_all(worker, std::move(tasks));
    } catch (const std::runtime_error& error) {
      thrown = std::string(error.what()) == "five";
    }
    EXPECT_EQ(ended, 10U);
    co_await when_all(worker, {});
    TaskGroup left(worker);  // goes before its task
    left.spawn(work(3));
  };
  worker.spawn(all());
  worker.run();
  EXPECT_TRUE(thrown);
  EXPECT_EQ(ended, 11U);
}

}  // namespace
}  // namespace vmcache

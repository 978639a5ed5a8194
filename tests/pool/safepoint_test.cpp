// SPDX-License-Identifier: MIT
//
// A task that misses nothing gives way, too: C1 .. C5 of quantum_clock.hpp, and docs/scheduler.md.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "support/code_of.hpp"
#include "support/in_child.hpp"
#include "support/options.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using namespace std::chrono_literals;
using test::code_of;
using test::in_child;
using test::small_pool;
using test::TempFile;

//! Long enough for any machine. A task that nobody interrupts ends with a failure, not never.
constexpr auto kFarAway = 60s;

class Deadline {
 public:
  [[nodiscard]] bool over() const { return std::chrono::steady_clock::now() > _end; }

 private:
  std::chrono::steady_clock::time_point _end = std::chrono::steady_clock::now() + kFarAway;
};

PageId add_page(BufferPool& pool) {
  return pool.allocate().page_id();
}

//! Needs one page, which is in memory.
struct TouchOp {
  PageId page_id;
  Need step(BufferPool& pool) const {
    OptimisticGuard guard;
    const TryFix result = pool.try_fix(page_id, guard);
    return result == TryFix::kFixed ? Need::nothing() : Need::after(result, page_id);
  }
  void supply(ExclusiveGuard&&) noexcept {}
};

enum class Call { kOptimistic, kShared, kExclusive, kPerform, kMaybeYield };

Task<> call_once(Worker& worker, Call call, PageId page_id) {
  TouchOp touch{page_id};
  switch (call) {
    case Call::kOptimistic:
      (void)co_await worker.fix_optimistic(page_id);
      break;
    case Call::kShared:
      (void)co_await worker.fix_shared(page_id);
      break;
    case Call::kExclusive:
      (co_await worker.fix_exclusive(page_id)).release_unmodified();
      break;
    case Call::kPerform:
      co_await worker.perform(touch);
      break;
    case Call::kMaybeYield:
      co_await worker.maybe_yield();
      break;
  }
}

//! Runs on and on among pages in memory, until another task has run.
Task<> go_on_until(Worker& worker, Call call, PageId page_id, const bool& other_ran, bool& saw_it) {
  const Deadline deadline;
  while (!other_ran && !deadline.over()) co_await call_once(worker, call, page_id);
  saw_it = other_ran;
}

Task<> set(bool& flag) {
  flag = true;
  co_return;
}

//! Spawns the other task itself, so that it surely comes second.
Task<> begin(Worker& worker, Call call, PageId page_id, bool& saw_it) {
  bool other_ran = false;
  worker.spawn(set(other_ran));
  co_await go_on_until(worker, call, page_id, other_ran, saw_it);
}

class Safepoints : public testing::TestWithParam<Call> {};

TEST_P(Safepoints, ATaskThatMissesNothingGivesWay) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId page_id = add_page(pool);
  Worker worker(pool);
  for (int round = 0; round < 3; ++round) {
    bool saw_it = false;
    worker.spawn(begin(worker, GetParam(), page_id, saw_it));
    worker.run();
    EXPECT_TRUE(saw_it);
  }
}

TEST_P(Safepoints, AlsoInALoopOfTheEmbedders) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId page_id = add_page(pool);
  Worker worker(pool);
  bool saw_it = false;
  worker.spawn(begin(worker, GetParam(), page_id, saw_it));
  while (worker.poll() > 0) continue;
  EXPECT_TRUE(saw_it);
}
INSTANTIATE_TEST_SUITE_P(EachCall, Safepoints,
                         testing::Values(Call::kOptimistic, Call::kShared, Call::kExclusive,
                                         Call::kPerform, Call::kMaybeYield));

// C2: nobody gave way for long, and the clock has gone to sleep.
TEST(Safepoint, ComesAfterALongRest) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId page_id = add_page(pool);
  Worker worker(pool);
  for (const auto rest : {0ms, 1ms, 11ms, 30ms}) {
    std::this_thread::sleep_for(rest);
    bool saw_it = false;
    worker.spawn(begin(worker, Call::kShared, page_id, saw_it));
    worker.run();
    EXPECT_TRUE(saw_it);
  }
}

// C2: while the clock falls asleep. Rests around the time after which it does.
TEST(Safepoint, ComesWhileTheClockFallsAsleep) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId page_id = add_page(pool);
  Worker worker(pool);
  Worker::set_quantum(10us);  // then it sleeps after a millisecond
  for (auto rest = 0us; rest < 4'000us; rest += 50us) {
    std::this_thread::sleep_for(rest);
    bool saw_it = false;
    worker.spawn(begin(worker, Call::kShared, page_id, saw_it));
    worker.run();
    EXPECT_TRUE(saw_it);
  }
  Worker::set_quantum(100us);
}

Task<> hold(Worker& worker, PageId latched, PageId other, const bool& waits, bool& ran_meanwhile) {
  const ExclusiveGuard guard = co_await worker.fix_exclusive(latched);
  *guard.as<std::uint64_t>() = 1;
  co_await go_on_until(worker, Call::kShared, other, waits, ran_meanwhile);
  *guard.as<std::uint64_t>() = 2;
}

Task<> read_after(Worker& worker, PageId latched, bool& waits, std::uint64_t& found) {
  waits = true;
  const SharedGuard guard = co_await worker.fix_shared(latched);
  found = *guard.as<std::uint64_t>();
}

TEST(Safepoint, WhatATaskHasLatchedStaysLatched) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId latched = add_page(pool);
  const PageId other = add_page(pool);
  Worker worker(pool);
  bool waits = false;
  bool ran_meanwhile = false;
  std::uint64_t found = 0;
  const auto both = [&]() -> Task<> {
    worker.spawn(read_after(worker, latched, waits, found));
    co_await hold(worker, latched, other, waits, ran_meanwhile);
  };
  worker.spawn(both());
  worker.run();
  EXPECT_TRUE(ran_meanwhile);
  EXPECT_EQ(found, 2U) << "the reader came between";
}

TEST(Safepoint, ATaskThatIsAloneRunsOn) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  Worker worker(pool);
  bool was_due = false;
  const auto alone = [&]() -> Task<> {
    const auto end = std::chrono::steady_clock::now() + 20ms;
    while (std::chrono::steady_clock::now() < end) {
      was_due = was_due || !worker.maybe_yield().await_ready();
    }
    co_return;
  };
  worker.spawn(alone());
  worker.run();
  EXPECT_FALSE(was_due);
}

TEST(Safepoint, EachWorkerOfManyGivesWay) {
  constexpr int kWorkers = 4;
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId page_id = add_page(pool);
  std::vector<char> saw(kWorkers);
  std::vector<std::thread> threads;
  threads.reserve(kWorkers);
  for (int n = 0; n < kWorkers; ++n) {
    threads.emplace_back([&, n] {
      bool saw_all = true;
      for (int round = 0; round < 5; ++round) {
        Worker worker(pool);  // they come and go beside the clock: C3
        bool saw_it = false;
        worker.spawn(begin(worker, Call::kShared, page_id, saw_it));
        worker.run();
        saw_all = saw_all && saw_it;
      }
      saw[n] = saw_all ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int n = 0; n < kWorkers; ++n) EXPECT_EQ(saw[n], 1) << "worker " << n;
}

// C5: a Worker comes while the last one goes and the clock sleeps. Else this does not end.
TEST(Safepoint, AWorkerMayComeWhileTheLastOneGoes) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId page_id = add_page(pool);
  Worker::set_quantum(10us);  // then the clock sleeps after a millisecond
  std::vector<char> saw(2);
  std::vector<std::thread> threads;
  threads.reserve(saw.size());
  for (char& all : saw) {
    threads.emplace_back([&pool, &all, page_id] {
      all = 1;
      for (auto rest = 0us; rest < 3'000us; rest += 50us) {
        bool saw_it = false;
        Worker worker(pool);
        worker.spawn(begin(worker, Call::kShared, page_id, saw_it));
        worker.run();
        std::this_thread::sleep_for(rest);
        if (!saw_it) all = 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Worker::set_quantum(100us);
  for (const char all : saw) EXPECT_EQ(all, 1);
}

// C4: the clock's thread is not there in a child.
TEST(Safepoint, AChildHasAClockOfItsOwn) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer starts no thread in a child";
#endif
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId page_id = add_page(pool);
  Worker worker(pool);
  bool saw_it = false;
  worker.spawn(begin(worker, Call::kShared, page_id, saw_it));
  worker.run();  // the clock is awake
  for (int child = 0; child < 5; ++child) {
    EXPECT_EQ(in_child([] {
                const TempFile own_file;
                BufferPool own_pool(small_pool(own_file, 64));
                const PageId own_page = add_page(own_pool);
                Worker own_worker(own_pool);
                bool saw = false;
                own_worker.spawn(begin(own_worker, Call::kShared, own_page, saw));
                own_worker.run();
                return saw ? 0 : 1;
              }),
              0);
  }
}

TEST(Safepoint, AQuantumOutsideItsBoundsIsRefused) {
  for (const auto quantum : {9us, -1us, 1'000'001us}) {
    EXPECT_EQ(code_of([&] { Worker::set_quantum(quantum); }), Errc::kInvalidOption);
  }
}

}  // namespace
}  // namespace vmcache

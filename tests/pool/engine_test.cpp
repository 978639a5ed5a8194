// SPDX-License-Identifier: MIT
//
// The engine's promises to its askers: E1 to E5 of libvmcache/pool/engine.hpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "crash/memory_storage.hpp"
#include "support/database.hpp"
#include "support/options.hpp"
#include "support/stepping_storage.hpp"
#include "support/write_gated_storage.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using std::chrono::milliseconds;
using test::small_pool;
using test::TempFile;
using test::WriteGate;

PoolOptions gated_pool(const TempFile& file, WriteGate& gate, std::uint64_t frames) {
  PoolOptions options = small_pool(file, frames);
  test::wrap_storage<test::WriteGatedStorage>(options, gate);
  return options;
}

//! Pages 1 .. `pages`, each with its id, in storage.
void make_numbers(BufferPool& pool, PageId pages) {
  for (PageId n = 1; n <= pages; ++n) {
    const ExclusiveGuard guard = pool.allocate();
    guard.as<std::uint64_t>()[8] = guard.page_id();  // behind a page header
  }
  pool.checkpoint();
}

std::uint64_t number(const SharedGuard& guard) {
  return guard.as<std::uint64_t>()[8];
}

//! \name E1, E2: callbacks
//! @{

//! Adds two pages' numbers: gets the one as operations should, and the other by a blocking call.
struct SumOfTwo {
  PageId first = 0, second = 0;
  std::uint64_t sum = 0;

  Need step(BufferPool& pool) {
    deepest = std::max(deepest, ++depth);
    const Need need = add(pool);
    --depth;
    return need;
  }
  Need add(BufferPool& pool) {
    std::uint64_t one = 0;
    {
      SharedGuard guard;
      if (const TryFix result = pool.try_fix(first, guard); result != TryFix::kFixed)
        return Need::after(result, first);
      one = number(guard);
    }
    const SharedGuard guard = pool.fix_shared(second);
    sum = one + number(guard);
    return Need::nothing();
  }
  void supply(ExclusiveGuard&&) {}

  inline static unsigned depth = 0, deepest = 0;  // of steps inside each other
};

constexpr PageId kPages = 500;

Task<> add_pairs(Worker& worker, unsigned seed, std::uint64_t& right) {
  std::minstd_rand random(seed);
  for (int round = 0; round < 50; ++round) {
    SumOfTwo op{1 + random() % kPages, 1 + random() % kPages};
    co_await worker.perform(op);
    if (op.sum == op.first + op.second) ++right;
  }
}

TEST(Engine, CallbacksMayMakeBlockingCallsAndDoNotNest) {
  constexpr unsigned kTasks = 64;
  const TempFile file;
  test::Uses uses;
  PoolOptions options = small_pool(file, 160);
  test::wrap_storage<test::SteppingStorage>(options, uses);
  BufferPool pool(options);
  make_numbers(pool, kPages);
  std::uint64_t right = 0;
  SumOfTwo::deepest = 0;
  Worker worker(pool);
  for (unsigned task = 1; task <= kTasks; ++task) worker.spawn(add_pairs(worker, task, right));
  worker.run();
  EXPECT_EQ(right, kTasks * 50U);
  // A task's own step, whose blocking call's turn tells one more.
  EXPECT_LE(SumOfTwo::deepest, 2U);
}
//! @}

//! \name E3, E5: write-backs of victims
//! @{

//! Reads pages 1 .. 800 of 1600, dirties every eighth, and reads the others, while no write ends.
void read_beside_writes(BufferPool& pool, unsigned dirty_of_8) {
  for (PageId page_id = 1; page_id <= 800; ++page_id) {
    if (page_id % 8 < dirty_of_8) {
      (void)pool.fix_exclusive(page_id);
    } else {
      (void)pool.fix_shared(page_id);
    }
  }
}

TEST(Engine, AReadDoesNotWaitForWriteBacks) {
  for (const unsigned dirty_of_8 : {1U, 4U, 7U}) {
    const TempFile file;
    WriteGate gate;
    BufferPool pool(gated_pool(file, gate, 1024));
    make_numbers(pool, 1600);
    read_beside_writes(pool, dirty_of_8);
    gate.open = false;
    for (PageId page_id = 801; page_id <= 1600; ++page_id) {
      ASSERT_EQ(number(pool.fix_shared(page_id)), page_id);
    }
    EXPECT_GT(gate.held, 0U) << "no victim was dirty";
    gate.open = true;
    // Nobody reads any more, but who wants a page that was on its way gets it.
    for (PageId page_id = 1; page_id <= 800; ++page_id) {
      const ExclusiveGuard guard = pool.fix_exclusive(page_id);
      ASSERT_EQ(guard.as<std::uint64_t>()[8], page_id);
    }
    pool.close();
  }
}

TEST(Engine, AReadFindsRoomInAQueueOfOne) {
  const TempFile file;
  WriteGate gate;
  PoolOptions options = gated_pool(file, gate, 1024);
  options.io_depth = 1;
  BufferPool pool(options);
  make_numbers(pool, 1600);
  read_beside_writes(pool, 4);
  gate.open = false;
  for (PageId page_id = 801; page_id <= 1600; ++page_id) (void)pool.fix_shared(page_id);
  gate.open = true;
}

TEST(Engine, WritesThatAThreadHasLeftBehindEndWhenSomebodyOnlyTries) {
  const TempFile file;
  WriteGate gate;
  BufferPool pool(gated_pool(file, gate, 1024));
  make_numbers(pool, 1600);
  read_beside_writes(pool, 4);
  gate.open = false;
  std::thread([&] {
    for (PageId page_id = 801; page_id <= 1600; ++page_id) (void)pool.fix_shared(page_id);
  }).join();
  ASSERT_GT(gate.held, 0U);
  std::vector<PageId> on_the_way;
  for (PageId page_id = 1; page_id <= 800; ++page_id) {
    ExclusiveGuard guard;
    if (pool.try_fix(page_id, guard) == TryFix::kBusy) on_the_way.push_back(page_id);
    if (guard) guard.release_unmodified();
  }
  EXPECT_EQ(on_the_way.size(), gate.held);
  gate.open = true;
  for (const PageId page_id : on_the_way) {
    ExclusiveGuard guard;
    TryFix result = TryFix::kBusy;
    for (int tries = 0; tries < 3 && result == TryFix::kBusy; ++tries)
      result = pool.try_fix(page_id, guard);
    EXPECT_NE(result, TryFix::kBusy) << page_id;
  }
}

//! Two threads want the same page at the same moment, and nobody ever touches it again: the one
//! that finds it being loaded must not wait for a change that came before it began to wait.
TEST(Engine, WhoFindsAPageBeingLoadedGetsItWhenNobodyElseComes) {
  constexpr PageId kFewPages = 64;
  constexpr unsigned kRounds = 100000;
  // A load from memory takes hardly longer than the look at the page's word.
  test::MemoryDevice device(std::size_t{1} << 20);
  const TempFile none;
  PoolOptions options = small_pool(none, 16);
  options.make_storage = [&] { return std::make_unique<test::MemoryStorage>(device); };
  BufferPool pool(options);
  make_numbers(pool, kFewPages);
  std::barrier both(2);
  const auto read = [&] {
    for (unsigned round = 0; round < kRounds; ++round) {
      const PageId page_id = 1 + round % kFewPages;
      both.arrive_and_wait();
      ASSERT_EQ(number(pool.fix_shared(page_id)), page_id) << "round " << round;
    }
  };
  std::thread other(read);
  read();
  other.join();
}

TEST(Engine, CloseWaitsForWritesThatThreadsHaveLeftBehind) {
  const TempFile file;
  WriteGate gate;
  {
    BufferPool pool(gated_pool(file, gate, 1024));
    make_numbers(pool, 1600);
    for (PageId page_id = 1; page_id <= 800; ++page_id) {
      const ExclusiveGuard guard = pool.fix_exclusive(page_id);
      guard.as<std::uint64_t>()[8] = 2 * page_id;
    }
    gate.open = false;
    for (PageId page_id = 801; page_id <= 1600; ++page_id) (void)pool.fix_shared(page_id);
    ASSERT_GT(gate.held, 0U);
    std::thread opener([&] {
      std::this_thread::sleep_for(milliseconds(20));
      gate.open = true;
    });
    pool.close();
    opener.join();
  }
  BufferPool pool(small_pool(file, 64));
  for (PageId page_id = 1; page_id <= 800; ++page_id)
    ASSERT_EQ(number(pool.fix_shared(page_id)), 2 * page_id);
}

TEST(Engine, AWorkerGetsAPlaceThatABlockingCallHasLeftWithWrites) {
  const TempFile file;
  WriteGate gate;
  PoolOptions options = gated_pool(file, gate, 1024);
  options.workers = 1;
  BufferPool pool(options);
  make_numbers(pool, 1600);
  read_beside_writes(pool, 4);
  gate.open = false;
  for (PageId page_id = 801; page_id <= 1600; ++page_id) (void)pool.fix_shared(page_id);
  ASSERT_GT(gate.held, 0U);
  gate.open = true;
  Worker worker(pool);
  const auto read = [](Worker& w) -> Task<> {
    for (PageId page_id = 1; page_id <= 800; ++page_id)
      EXPECT_EQ(number(co_await w.fix_shared(page_id)), page_id);
  };
  worker.spawn(read(worker));
  worker.run();
}
//! @}

//! \name E4: the log
//! @{

//! A log that is durable as far as was wanted when its owner's loop comes round.
struct OwnLog final : WriteAhead {
  std::atomic<Lsn> durable{0}, wanted{0};
  [[nodiscard]] Lsn durable_lsn() const noexcept override { return durable; }
  void want_durable(Lsn lsn) noexcept override {
    if (lsn > wanted) wanted = lsn;
  }
  [[nodiscard]] int log_error() const noexcept override { return 0; }
  void flush() noexcept { durable = wanted.load(); }
};

PoolOptions logged_pool(const TempFile& file, OwnLog& log, std::uint64_t frames) {
  PoolOptions options = small_pool(file, frames);
  options.page_header = true;
  options.write_ahead = &log;
  options.frame_wait = milliseconds(200);
  return options;
}

TEST(Engine, AThreadThatFlushesItsLogBetweenCallsDoesNotHang) {
  const TempFile file;
  OwnLog log;
  BufferPool pool(logged_pool(file, log, 128));
  make_numbers(pool, 600);
  std::minstd_rand random(1);
  Lsn lsn = 0;
  for (int call = 0; call < 5000; ++call) {
    const PageId page_id = 1 + random() % 600;
    if (call % 10 == 0) {
      pool.fix_exclusive(page_id).as<PageHeader>()->lsn = ++lsn;
    } else {
      ASSERT_EQ(number(pool.fix_shared(page_id)), page_id);
    }
    if (call % 7 == 0) log.flush();
  }
  log.durable = lsn;
}

TEST(Engine, NoPageIsLatchedWhileItWaitsForTheLog) {
  const TempFile file;
  OwnLog log;
  BufferPool pool(logged_pool(file, log, 1024));
  make_numbers(pool, 1600);
  for (PageId page_id = 1; page_id <= 800; ++page_id) {
    if (page_id % 4 == 0) {
      pool.fix_exclusive(page_id).as<PageHeader>()->lsn = 10;
    } else {
      (void)pool.fix_shared(page_id);
    }
  }
  for (PageId page_id = 801; page_id <= 1600; ++page_id) (void)pool.fix_shared(page_id);
  EXPECT_EQ(log.wanted, 10U) << "no victim was ahead of the log";
  for (PageId page_id = 4; page_id <= 800; page_id += 4) {
    ExclusiveGuard guard;
    EXPECT_EQ(pool.try_fix(page_id, guard), TryFix::kFixed) << page_id;
    if (guard) guard.release_unmodified();
  }
  log.durable = 10;
}

TEST(Engine, ACheckpointGivesUpOnALogThatIsItsOwnThreadsToFlush) {
  for (const unsigned order : {0U, 1U}) {
    const TempFile file;
    OwnLog log;
    PoolOptions options = logged_pool(file, log, 128);
    options.frame_wait = milliseconds(50);
    BufferPool pool(options);
    for (int n = 0; n < 40; ++n) pool.allocate(order).as<PageHeader>()->lsn = 10;
    EXPECT_EQ(test::code_of([&] { pool.checkpoint(); }), Errc::kBusy) << order;
    EXPECT_EQ(test::code_of([&] { pool.close(); }), Errc::kBusy) << order;
    log.flush();
    EXPECT_EQ(test::code_of([&] { pool.close(); }), Errc::kOk) << order;
  }
}

TEST(Engine, AFullPoolAheadOfTheLogIsAnError) {
  const TempFile file;
  OwnLog log;
  BufferPool pool(logged_pool(file, log, 64));
  make_numbers(pool, 200);
  Errc code = Errc::kOk;
  for (PageId page_id = 1; page_id <= 100 && code == Errc::kOk; ++page_id) {
    code = test::code_of([&] { pool.fix_exclusive(page_id).as<PageHeader>()->lsn = 10; });
  }
  EXPECT_EQ(code, Errc::kPoolExhausted);
  log.flush();
  EXPECT_EQ(test::code_of([&] { (void)pool.fix_shared(150); }), Errc::kOk);
}
//! @}

//! A look each millisecond, not as many as there is time for.
TEST(Engine, ATaskThatWaitsForALatchDoesNotSpin) {
  constexpr std::uint64_t kMaxLooks = 20'000;
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  make_numbers(pool, 2);
  for (const bool optimistic : {true, false}) {
    ExclusiveGuard held = pool.fix_exclusive(1);
    const std::uint64_t before = pool.stats().latch_waits;
    std::thread thread([&] {
      Worker worker(pool);
      const auto wait_optimistic = [](Worker& w) -> Task<> { (void)co_await w.fix_optimistic(1); };
      const auto wait_shared = [](Worker& w) -> Task<> { (void)co_await w.fix_shared(1); };
      worker.spawn(optimistic ? wait_optimistic(worker) : wait_shared(worker));
      worker.run();
    });
    std::this_thread::sleep_for(milliseconds(300));
    held.release_unmodified();
    thread.join();
    const std::uint64_t looks = pool.stats().latch_waits - before;
    EXPECT_GT(looks, 0U);
    EXPECT_LT(looks, kMaxLooks);
  }
}

}  // namespace
}  // namespace vmcache

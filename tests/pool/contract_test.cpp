// SPDX-License-Identifier: MIT
//
// Calls that break a pool's contract: each is a typed error or works, and none hangs.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <semaphore>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/database.hpp"
#include "support/gated_storage.hpp"
#include "support/options.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::GatedStorage;
using test::IoGate;
using test::small_pool;
using test::TempFile;

void fill(BufferPool& pool, unsigned pages) {
  for (unsigned i = 0; i < pages; ++i) {
    ExclusiveGuard guard = pool.allocate();
    *guard.as<std::uint64_t>() = guard.page_id();
  }
}

TEST(Contract, AClosedPoolRefusesEveryCall) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  fill(pool, 10);
  pool.close();
  const auto refused = [](const auto& call) { EXPECT_EQ(code_of(call), Errc::kClosed); };
  refused([&] { (void)pool.fix_optimistic(1); });
  refused([&] { (void)pool.fix_shared(1); });
  refused([&] { (void)pool.fix_exclusive(1); });
  refused([&] { (void)pool.allocate(); });
  refused([&] { (void)pool.try_free({1, 0}); });
  refused([&] { pool.set_root(0, 1); });
  refused([&] { pool.checkpoint(); });
  refused([&] { pool.resize(128 * kPageSize); });
  refused([&] { const Worker worker(pool); });
  const std::array<Extent, 1> extents{Extent{1, 0}};
  refused([&] { pool.prefetch(extents); });
  EXPECT_NO_THROW(pool.close());
  EXPECT_EQ(pool.stats().database_pages, 11u);
}

TEST(Contract, CloseIsRefusedWhileAGuardIsAlive) {
  const TempFile file;
  PoolOptions options = small_pool(file, 64);
  options.frame_wait = std::chrono::milliseconds(20);
  BufferPool pool(options);
  fill(pool, 10);
  const auto refused = [&] {
    try {
      pool.close();
      ADD_FAILURE() << "closed";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBusy);
      EXPECT_EQ(error.page_id(), 3u);
    }
  };
  {
    const SharedGuard held = pool.fix_shared(3);
    refused();
    EXPECT_EQ(*held.as<std::uint64_t>(), 3u);
  }
  {
    const ExclusiveGuard held = pool.fix_exclusive(3);
    refused();
  }
  EXPECT_NO_THROW(pool.close());
}

//! I10 of page_state.hpp. `first` is believed, and what contradicts it refused, whichever of the
//!     two is the right one.
TEST(Contract, ExtentsThatOverlapAreNotInMemoryTogether) {
  constexpr unsigned kOrder = 3;
  for (const bool single_first : {true, false}) {
    for (const bool awaited : {false, true}) {
      const TempFile file;
      PageId extent = kNoPage;
      {
        BufferPool pool(small_pool(file, 64));
        ExclusiveGuard guard = pool.allocate(kOrder);
        extent = guard.page_id();
        std::memset(guard.data(), 1, 8 * kPageSize);
        guard.release();
        fill(pool, 300);
        pool.close();
      }
      BufferPool pool(small_pool(file, 64));
      Worker worker(pool);
      const auto fix = [&](PageId page_id, unsigned order) {
        if (!awaited) return code_of([&] { (void)pool.fix_shared(page_id, order); });
        const auto read = [&]() -> Task<> { (void)co_await worker.fix_shared(page_id, order); };
        worker.spawn(read());
        return code_of([&] { worker.run(); });
      };
      const auto first = [&] { return single_first ? fix(extent + 1, 0) : fix(extent, kOrder); };
      const auto second = [&] { return single_first ? fix(extent, kOrder) : fix(extent + 1, 0); };
      EXPECT_EQ(first(), Errc::kOk);
      EXPECT_EQ(second(), Errc::kInvalidPage);
      EXPECT_EQ(fix(extent, kOrder - 1), Errc::kInvalidPage);
      EXPECT_EQ(first(), Errc::kOk);
      // The same when it has left memory.
      for (PageId page_id = 20; page_id < 280; ++page_id) (void)pool.fix_shared(page_id);
      EXPECT_EQ(second(), Errc::kInvalidPage);
      EXPECT_EQ(first(), Errc::kOk);
      // What was refused has left no trace on the other pages.
      if (single_first) {
        EXPECT_EQ(fix(extent + 4, 2), Errc::kOk);
      }
    }
  }
}

//! I8 of page_state.hpp.
TEST(Contract, ANewPageReleasedUnmodifiedIsZeroForGood) {
  for (const bool evicted : {false, true}) {
    const TempFile file;
    BufferPool pool(small_pool(file, 64));
    PageId page_id = kNoPage;
    {
      ExclusiveGuard guard = pool.allocate();
      page_id = guard.page_id();
      *guard.as<std::uint64_t>() = 7;
    }
    pool.checkpoint();
    if (evicted) {
      fill(pool, 300);
      ASSERT_TRUE(pool.try_free({page_id, 0}));
    } else {
      pool.free(pool.fix_exclusive(page_id));
    }
    ExclusiveGuard again = pool.allocate();
    ASSERT_EQ(again.page_id(), page_id);
    again.release_unmodified();
    fill(pool, 300);
    EXPECT_EQ(*pool.fix_shared(page_id).as<std::uint64_t>(), 0u)
        << (evicted ? "evicted" : "resident");
  }
}

TEST(Contract, AReaderOfAFreedPageNoticesThatItIsHandedOutAgain) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  fill(pool, 3);
  pool.free(pool.fix_exclusive(2));
  const OptimisticGuard reader = pool.fix_optimistic(2);
  ExclusiveGuard again = pool.allocate();
  ASSERT_EQ(again.page_id(), 2u);
  again.release_unmodified();
  EXPECT_FALSE(reader.validate());
}

TEST(Contract, BlockingCallsFindAnEngineBesideWorkersThatStandIdle) {
  const TempFile file;
  PoolOptions options = small_pool(file, 16);
  options.workers = 1;
  BufferPool pool(options);
  fill(pool, 100);
  const Worker worker(pool);
  for (PageId page_id = 1; page_id <= 100; ++page_id)
    EXPECT_EQ(*pool.fix_shared(page_id).as<std::uint64_t>(), page_id);
  std::thread other([&] {
    for (PageId page_id = 1; page_id <= 100; ++page_id)
      EXPECT_EQ(*pool.fix_shared(page_id).as<std::uint64_t>(), page_id);
  });
  other.join();
}

TEST(Contract, AThreadIsRefusedAWorkerThatItWouldWaitForItself) {
  const TempFile file;
  PoolOptions options = small_pool(file, 16);
  options.workers = 2;
  BufferPool pool(options);
  {
    const Worker first(pool);
    const Worker second(pool);
    EXPECT_EQ(code_of([&] { const Worker third(pool); }), Errc::kBusy);
  }
  EXPECT_NO_THROW(pool.close());
}

TEST(Contract, AWorkerOfAnotherThreadWaitsForItsPlace) {
  const TempFile file;
  PoolOptions options = small_pool(file, 16);
  options.workers = 1;
  BufferPool pool(options);
  fill(pool, 100);
  auto mine = std::make_unique<Worker>(pool);
  std::thread other([&] {
    Worker worker(pool);
    const auto read = [](Worker& w) -> Task<> { (void)co_await w.fix_shared(1); };
    worker.spawn(read(worker));
    worker.run();
  });
  (void)pool.fix_shared(50);
  mine.reset();
  other.join();
}

TEST(Contract, AWorkerRefusesAnotherThread) {
  const TempFile file;
  BufferPool pool(small_pool(file, 16));
  fill(pool, 100);
  Worker worker(pool);
  unsigned ended = 0;
  const auto read = [&](PageId page_id) -> Task<> {
    EXPECT_EQ(*(co_await worker.fix_shared(page_id)).as<std::uint64_t>(), page_id);
    ++ended;
  };
  worker.spawn(read(5));
  std::thread other([&] {
    EXPECT_EQ(code_of([&] { worker.spawn(read(6)); }), Errc::kWrongThread);
    EXPECT_EQ(code_of([&] { worker.run(); }), Errc::kWrongThread);
    FaultRequest request;
    request.extent = {7, 0};
    EXPECT_EQ(code_of([&] { worker.start(request); }), Errc::kWrongThread);
    EXPECT_EQ(code_of([&] { worker.start_allocate(request, 0); }), Errc::kWrongThread);
  });
  other.join();
  worker.run();
  EXPECT_EQ(ended, 1u);
}

TEST(Contract, AWorkerIsNotRunByItsOwnTask) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  Worker worker(pool);
  Errc inner = Errc::kOk;
  const auto task = [&inner](Worker& w) -> Task<> {
    inner = code_of([&] { w.run(); });
    co_await w.yield();
  };
  worker.spawn(task(worker));
  worker.run();
  EXPECT_EQ(inner, Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { worker.spawn(Task<>{}); }), Errc::kInvalidOption);
}

//! The other Worker would have to run for the task to go on.
TEST(Contract, ATaskAwaitsItsOwnWorker) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const TempFile other_file;
  BufferPool other_pool(small_pool(other_file, 64));
  Worker worker(pool);
  Worker same_pool(pool);
  Worker another_pool(other_pool);
  for (Worker* other : {&same_pool, &another_pool}) {
    const auto allocates = [other](Worker& w) -> Task<> {
      co_await w.yield();
      (void)co_await other->allocate();
    };
    const auto yields = [other](Worker& w) -> Task<> {
      co_await w.yield();
      co_await other->yield();
    };
    const std::uint64_t allocated = other->pool().stats().allocated_pages;
    worker.spawn(allocates(worker));
    EXPECT_EQ(code_of([&] { worker.run(); }), Errc::kInvalidOption);
    EXPECT_EQ(other->pool().stats().allocated_pages, allocated) << "a page id was taken";
    worker.spawn(yields(worker));
    EXPECT_EQ(code_of([&] { worker.run(); }), Errc::kInvalidOption);
  }
}

//! A page that was freed is handed out next. Somebody has fixed it meanwhile and does not let go.
TEST(Contract, AnAllocationGivesUpOnAFreedPageThatIsStillLatched) {
  const TempFile file;
  PoolOptions options = small_pool(file, 64);
  options.frame_wait = std::chrono::milliseconds(20);
  BufferPool pool(options);
  PageId freed = kNoPage;
  {
    ExclusiveGuard guard = pool.allocate();
    freed = guard.page_id();
    pool.free(std::move(guard));
  }
  {
    const ExclusiveGuard stale = pool.fix_exclusive(freed);
    EXPECT_EQ(code_of([&] { (void)pool.allocate(); }), Errc::kBusy);
  }
  EXPECT_EQ(pool.allocate().page_id(), freed);
}

TEST(Contract, AWorkerDropsTasksThatNeverRan) {
  const TempFile file;
  BufferPool pool(small_pool(file, 16));
  auto kept = std::make_shared<int>(1);
  const auto hold = [](std::shared_ptr<int> /*kept*/) -> Task<> { co_return; };
  {
    Worker worker(pool);
    worker.spawn(hold(kept));
  }
  EXPECT_EQ(kept.use_count(), 1);
  EXPECT_NO_THROW(pool.close());
}

//! A Worker that has begun to load a page and whose thread then waits for something else, until it
//! is let go on.
class StoppedWorker {
 public:
  StoppedWorker(BufferPool& pool, PageId page_id)
      : _thread([this, &pool, page_id] { run(pool, page_id); }) {
    _stopped.acquire();
  }
  ~StoppedWorker() { go_on(); }
  void go_on() {
    if (!_thread.joinable()) return;
    _go_on.release();
    _thread.join();
  }

 private:
  void run(BufferPool& pool, PageId page_id) {
    Worker worker(pool);
    const auto load = [&]() -> Task<> { (void)co_await worker.fix_shared(page_id); };
    const auto stop = [&]() -> Task<> {
      for (int i = 0; i < 3; ++i) co_await worker.yield();
      _stopped.release();
      _go_on.acquire();
    };
    worker.spawn(load());
    worker.spawn(stop());
    worker.run();
  }

  std::binary_semaphore _stopped{0};
  std::binary_semaphore _go_on{0};
  std::thread _thread;
};

class LoadOfAWorker : public testing::Test {
 protected:
  LoadOfAWorker() {
    PoolOptions options = small_pool(_file, 16);
    options.frame_wait = std::chrono::milliseconds(50);
    test::wrap_storage<GatedStorage>(options, gate);
    _pool.emplace(options);
    fill(pool(), 100);
    for (PageId page_id = 100; page_id > 10; --page_id) (void)pool().fix_shared(page_id);
    SharedGuard resident;
    EXPECT_EQ(pool().try_fix(kPage, resident), TryFix::kMiss);
    gate.shut = true;
  }
  static constexpr PageId kPage = 5;
  BufferPool& pool() { return *_pool; }
  void expect_busy(const auto& call) {
    try {
      call();
      ADD_FAILURE() << "went through";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBusy);
      EXPECT_EQ(error.page_id(), kPage);
    }
  }
  IoGate gate;

 private:
  const TempFile _file;
  std::optional<BufferPool> _pool;
};

TEST_F(LoadOfAWorker, ThatStandsStillIsNotWaitedForForEver) {
  StoppedWorker worker(pool(), kPage);
  expect_busy([&] { (void)pool().fix_shared(kPage); });
  const std::array<Extent, 1> extents{Extent{kPage, 0}};
  expect_busy([&] { pool().prefetch(extents); });
  {
    Worker own(pool());
    const auto read = [&]() -> Task<> { (void)co_await own.fix_exclusive(kPage); };
    own.spawn(read());
    expect_busy([&] { own.run(); });
  }
  gate.shut = false;
  worker.go_on();
  EXPECT_EQ(*pool().fix_shared(kPage).as<std::uint64_t>(), kPage);
}

TEST_F(LoadOfAWorker, IsWaitedForHoweverSlowTheDevice) {
  const unsigned before = gate.submitted;
  std::thread loads([&] {
    Worker worker(pool());
    const auto load = [&]() -> Task<> { (void)co_await worker.fix_shared(kPage); };
    worker.spawn(load());
    worker.run();
  });
  while (gate.submitted == before) std::this_thread::yield();
  std::thread waits([&] { EXPECT_EQ(*pool().fix_shared(kPage).as<std::uint64_t>(), kPage); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // four times frame_wait
  gate.shut = false;
  loads.join();
  waits.join();
}

TEST(Contract, WhatALogCallbackThrowsIsDropped) {
  const TempFile file;
  PoolOptions options = small_pool(file, 16);
  unsigned called = 0;
  options.logger = [&](LogLevel, std::string_view) {
    ++called;
    throw std::runtime_error("the log's disk is full");
  };
  options.io_uring.polled = Switch::kAuto;  // not to be had on a file, which is logged
  options.memory = MemoryKind::kAnonymous;  // nor registered frames
  BufferPool pool(options);
  EXPECT_GT(called, 0u);
  fill(pool, 100);
  EXPECT_NO_THROW(pool.close());
}

TEST(Contract, WhatMakeStorageThrowsComesOutOfTheOpen) {
  const TempFile file;
  PoolOptions options = small_pool(file, 16);
  options.make_storage = []() -> std::unique_ptr<Storage> {
    throw std::runtime_error("no storage today");
  };
  EXPECT_THROW(BufferPool{options}, std::runtime_error);
  options.make_storage = []() -> std::unique_ptr<Storage> { return nullptr; };
  EXPECT_EQ(code_of([&] { const BufferPool pool(options); }), Errc::kInvalidOption);
  LogOptions log;
  log.make_storage = options.make_storage;
  EXPECT_EQ(code_of([&] { const WriteAheadLog made(log); }), Errc::kInvalidOption);
}

}  // namespace
}  // namespace vmcache

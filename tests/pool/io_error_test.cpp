// SPDX-License-Identifier: MIT
//
// A failed transfer is an error the caller gets, with the page; nothing that was reported written
// is lost.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <map>
#include <vector>

#include "support/faulty_storage.hpp"
#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::FaultPlan;
using test::inject_faults;
using test::small_pool;
using test::TempFile;

constexpr std::uint64_t kPages = 48;

std::uint64_t& number_at(const ExclusiveGuard& guard) {
  return *guard.as<std::uint64_t>();
}

PoolOptions hasty_pool(const TempFile& file) {
  PoolOptions options = small_pool(file, 16);
  options.frame_wait = std::chrono::milliseconds(200);
  options.evict_batch = 4;
  return options;
}

//! Makes pages, changes each once and reads each once; says in `model` what must be there. Errors
//! come out as they come.
void work(BufferPool& pool, std::map<PageId, std::uint64_t>& model) {
  for (std::uint64_t i = 0; i < kPages; ++i) {
    const ExclusiveGuard guard = pool.allocate();
    number_at(guard) = model[guard.page_id()] = i;
  }
  for (auto& [id, number] : model) {
    const ExclusiveGuard guard = pool.fix_exclusive(id);
    number_at(guard) = number += 1000;
  }
}

void expect_model(BufferPool& pool, const std::map<PageId, std::uint64_t>& model) {
  for (const auto& [id, number] : model)
    EXPECT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), number) << "page " << id;
}

//! Fails the n-th transfer for n = 0, 1, 2 ... until a run sees no failure any more.
template <typename Arm>
void fail_every(Arm arm, std::uint64_t times) {
  std::uint64_t n = 0;
  for (;; ++n) {
    SCOPED_TRACE(testing::Message() << "failing transfer " << n << ", " << times << " times");
    const TempFile file;
    FaultPlan plan;
    PoolOptions options = hasty_pool(file);
    // A single failure is overcome, so that patience costs nothing; a device that fails for good is
    // waited for each time.
    options.frame_wait = std::chrono::milliseconds(times == 1 ? 20'000 : 100);
    inject_faults(options, plan);
    std::map<PageId, std::uint64_t> model;
    {
      BufferPool pool(options);
      arm(plan);
      plan.times = times;
      plan.fail_at = n;
      bool failed = false;
      try {
        work(pool, model);
      } catch (const Error& error) {
        failed = true;
        EXPECT_TRUE(error.code() == Errc::kIo || error.code() == Errc::kPoolExhausted)
            << error.what();
        EXPECT_EQ(error.os_error(), EIO) << error.what();
        EXPECT_NE(error.page_id(), kNoPage);
      }
      plan.fail_at = ~std::uint64_t{0};  // the device is well again
      expect_model(pool, model);
      pool.close();
      if (plan.failed == 0) {
        EXPECT_FALSE(failed);
        break;
      }
    }
    BufferPool again(options);
    expect_model(again, model);
    ASSERT_LT(n, 10'000u) << "a run without any failure was never reached";
  }
  EXPECT_GT(n, 20u) << "the workload must reach the device often enough to show something";
}

TEST(IoErrors, TheNthReadFailsForEveryN) {
  fail_every([](FaultPlan& plan) { plan.reads = true; }, 1);
}
TEST(IoErrors, TheNthWriteFailsForEveryN) {
  fail_every([](FaultPlan& plan) { plan.writes = true; }, 1);
}
TEST(IoErrors, AllWritesFailFromTheNthOnForEveryN) {
  fail_every([](FaultPlan& plan) { plan.writes = true; }, ~std::uint64_t{0} >> 1);
}

//! A flush that fails is final: tests/crash/failed_flush_test.cpp.
TEST(IoErrors, ACloseThatCannotWriteSaysSoAndCanBeRepeated) {
  const TempFile file;
  FaultPlan plan;
  PoolOptions options = hasty_pool(file);
  inject_faults(options, plan);
  std::map<PageId, std::uint64_t> model;
  {
    BufferPool pool(options);
    work(pool, model);
    const auto fails = [&](std::atomic<bool>& kind) {
      kind = true;
      plan.seen = 0;
      plan.fail_at = 0;
      EXPECT_THROW(pool.close(), Error);
      EXPECT_EQ(plan.failed, 1u);
      plan.failed = 0;
      kind = false;
    };
    fails(plan.writes);
    expect_model(pool, model);
    fails(plan.resizes);
    expect_model(pool, model);
    pool.close();
  }
  BufferPool again(options);
  expect_model(again, model);
}

TEST(IoErrors, ADatabaseThatWasNotClosedIsNotOpenedSilently) {
  const TempFile file;
  FaultPlan plan;
  PoolOptions options = hasty_pool(file);
  inject_faults(options, plan);
  {
    BufferPool pool(options);
    (void)pool.allocate();
    plan.writes = true;
    plan.times = ~std::uint64_t{0} >> 1;
    plan.fail_at = 0;
  }  // the destructor cannot close it
  plan.fail_at = ~std::uint64_t{0};
  try {
    BufferPool pool(options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kUncleanShutdown);
  }
  options.allow_unclean = true;
  EXPECT_NO_THROW(BufferPool pool(options));
}

TEST(IoErrors, ATaskGetsTheErrorOfItsOwnPageAndTheOthersGoOn) {
  const TempFile file;
  FaultPlan plan;
  PoolOptions options = hasty_pool(file);
  inject_faults(options, plan);
  BufferPool pool(options);
  std::map<PageId, std::uint64_t> model;
  work(pool, model);
  Worker worker(pool);
  std::vector<PageId> failed;
  unsigned read = 0;
  const auto reader = [&](PageId first) -> Task<> {
    for (PageId id = first; id < first + 6; ++id) {
      try {
        const SharedGuard guard = co_await worker.fix_shared(id);
        EXPECT_EQ(*guard.as<std::uint64_t>(), model[id]);
        ++read;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Errc::kIo);
        EXPECT_EQ(error.page_id(), id);
        failed.push_back(id);
      }
    }
  };
  pool.checkpoint();
  plan.reads = true;
  plan.fail_at = 5;
  plan.times = 3;
  for (PageId first = 1; first <= kPages; first += 6) worker.spawn(reader(first));
  worker.run();
  EXPECT_EQ(failed.size(), 3u);
  EXPECT_EQ(read, kPages - 3);
  EXPECT_EQ(pool.stats().read_errors, 3u);
  for (const PageId id : failed) EXPECT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), model[id]);
}

TEST(IoErrors, AFullDiskIsFoundWhereAPageIsAskedForAndLosesNothing) {
  const TempFile file;
  FaultPlan plan;
  PoolOptions options = hasty_pool(file);
  inject_faults(options, plan);
  std::map<PageId, std::uint64_t> model;
  {
    BufferPool pool(options);
    plan.resizes = true;
    plan.error = ENOSPC;
    plan.fail_at = 2;
    plan.times = ~std::uint64_t{0} >> 1;
    bool full = false;
    for (int i = 0; i < 100'000 && !full; ++i) {
      try {
        const ExclusiveGuard guard = pool.allocate();
        number_at(guard) = model[guard.page_id()] = guard.page_id() * 7;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Errc::kDatabaseFull);
        EXPECT_EQ(error.os_error(), ENOSPC);
        full = true;
      }
    }
    EXPECT_TRUE(full);
    EXPECT_GT(model.size(), 100u);
    expect_model(pool, model);
    plan.resizes = false;
    pool.close();
  }
  BufferPool again(options);
  expect_model(again, model);
}

//! Fills a database up to a limit of 4 MiB. 0 if all went as it should.
int fill_up_to_a_file_size_limit() {
  constexpr rlim_t kLimitBytes = 4 << 20;
  const TempFile file;
  const rlimit limit{kLimitBytes, kLimitBytes};
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 4;
  std::map<PageId, std::uint64_t> model;
  {
    BufferPool pool(hasty_pool(file));
    try {
      for (;;) {
        const ExclusiveGuard guard = pool.allocate();
        number_at(guard) = model[guard.page_id()] = guard.page_id() * 3;
      }
    } catch (const Error& error) {
      if (error.code() != Errc::kDatabaseFull || error.os_error() != EFBIG) return 1;
    }
    pool.close();
  }
  BufferPool again(hasty_pool(file));
  for (const auto& [id, number] : model) {
    if (*again.fix_shared(id).as<std::uint64_t>() != number) return 2;
  }
  return model.size() == kLimitBytes / kPageSize - 1 ? 0 : 3;
}

TEST(IoErrors, AFileSizeLimitIsAnErrorAndNoSignal) {
  // In a child: limits are the process's.
  EXPECT_EXIT(std::_Exit(fill_up_to_a_file_size_limit()), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace vmcache

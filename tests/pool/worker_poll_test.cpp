// SPDX-License-Identifier: MIT
//
// A Worker in a loop of the embedder's: poll() and fd().
#include <gtest/gtest.h>
#include <poll.h>

#include <cstdint>
#include <memory>
#include <stdexcept>

#include "support/code_of.hpp"
#include "support/gated_storage.hpp"
#include "support/options.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

constexpr unsigned kPages = 1000;

void fill(BufferPool& pool) {
  for (unsigned n = 0; n < kPages; ++n) {
    const ExclusiveGuard guard = pool.allocate();
    *guard.as<std::uint64_t>() = guard.page_id();
  }
}

Task<> read(Worker& worker, PageId first, PageId step, unsigned& found) {
  for (PageId id = first; id <= kPages; id += step) {
    const SharedGuard guard = co_await worker.fix_shared(id);
    EXPECT_EQ(*guard.as<std::uint64_t>(), id);
    ++found;
  }
}

void sleep_on(int fd) {
  pollfd waits{fd, POLLIN, 0};
  ASSERT_EQ(::poll(&waits, 1, -1), 1);
}

bool readable(int fd) {
  pollfd waits{fd, POLLIN, 0};
  return ::poll(&waits, 1, 0) == 1;
}

void run_by_poll(Worker& worker) {
  const int fd = worker.fd();
  do {
    sleep_on(fd);
  } while (worker.poll() > 0);
}

class WorkerDescriptor : public testing::TestWithParam<StorageKind> {};

// A loop that sleeps on the descriptor and on nothing else never sleeps for good.
TEST_P(WorkerDescriptor, SaysWhenThereIsSomethingToDo) {
  if (GetParam() == StorageKind::kPread && !test::default_devices.empty())
    GTEST_SKIP() << "pread takes no NVMe character device";
  const TempFile file;
  PoolOptions options = small_pool(file, 64);
  options.storage = GetParam();
  BufferPool pool(options);
  fill(pool);
  Worker worker(pool);
  EXPECT_EQ(worker.poll(), 0U);
  EXPECT_FALSE(readable(worker.fd())) << "there is nothing to do";
  for (int round = 0; round < 3; ++round) {
    unsigned found = 0;
    for (PageId task = 1; task <= 50; ++task) worker.spawn(read(worker, task, 50, found));
    EXPECT_TRUE(readable(worker.fd())) << "tasks were spawned";
    run_by_poll(worker);
    EXPECT_EQ(found, kPages);
  }
  unsigned found = 0;
  worker.spawn(read(worker, 1, 10, found));
  worker.run();  // instead
  EXPECT_EQ(found, kPages / 10);
}
INSTANTIATE_TEST_SUITE_P(EachQueue, WorkerDescriptor,
                         testing::Values(StorageKind::kAuto, StorageKind::kPread));

TEST(WorkerPoll, NeverWaitsForTheDevice) {
  const TempFile file;
  PoolOptions options = small_pool(file, 64);
  test::IoGate gate;
  test::wrap_storage<test::GatedStorage>(options, gate);
  BufferPool pool(options);
  fill(pool);
  Worker worker(pool);
  unsigned found = 0;
  for (PageId task = 1; task <= 10; ++task) worker.spawn(read(worker, task, 10, found));
  gate.shut = true;
  for (int n = 0; n < 10; ++n) EXPECT_EQ(worker.poll(), 10U);
  EXPECT_LT(found, kPages);
  gate.shut = false;
  run_by_poll(worker);
  EXPECT_EQ(found, kPages);
}

TEST(WorkerPoll, ATaskThatWaitsForALatchIsWoken) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  fill(pool);
  Worker worker(pool);
  ExclusiveGuard latch = pool.fix_exclusive(1);
  unsigned found = 0;
  worker.spawn(read(worker, 1, kPages, found));
  for (int n = 0; n < 10; ++n) EXPECT_EQ(worker.poll(), 1U);
  latch.release();
  run_by_poll(worker);
  EXPECT_EQ(found, 1U);
}

TEST(WorkerPoll, AFailedTaskThrowsAndTheOthersGoOn) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  fill(pool);
  Worker worker(pool);
  unsigned found = 0;
  const auto fail = []() -> Task<> {
    throw std::runtime_error("task");
    co_return;
  };
  worker.spawn(fail());
  worker.spawn(read(worker, 1, 1, found));
  EXPECT_THROW((void)worker.poll(), std::runtime_error);
  EXPECT_EQ(worker.tasks(), 1U);
  run_by_poll(worker);
  EXPECT_EQ(found, kPages);
}

TEST(WorkerPoll, IsRefusedInATask) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  Worker worker(pool);
  Errc code = Errc::kOk;
  const auto task = [](Worker& own, Errc& result) -> Task<> {
    result = test::code_of([&] { (void)own.poll(); });
    co_return;
  };
  worker.spawn(task(worker, code));
  EXPECT_EQ(worker.poll(), 0U);
  EXPECT_EQ(code, Errc::kInvalidOption);
}

// The Worker's place comes back, and the pool closes, although writes of victims were in flight.
TEST(WorkerPoll, AWorkerThatWasOnlyPolledGivesItsPlaceBack) {
  const TempFile file;
  BufferPool pool(small_pool(file, 32));
  {
    Worker worker(pool);
    const auto write = [](Worker& own) -> Task<> {
      for (unsigned n = 0; n < 300; ++n) (void)co_await own.allocate();
    };
    worker.spawn(write(worker));
    while (worker.poll() > 0) continue;
  }
  pool.close();
}

}  // namespace
}  // namespace vmcache

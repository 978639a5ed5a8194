// SPDX-License-Identifier: MIT
//
// What a worker's turn brings.
#include <gtest/gtest.h>

#include <cstdint>

#include "support/options.hpp"
#include "support/stepping_storage.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;
using test::Uses;

constexpr unsigned kTasks = 64;
constexpr PageId kPages = 2000;

PoolOptions stepping_pool(const TempFile& file, Uses& uses) {
  PoolOptions options = small_pool(file, 512);
  options.io_depth = kTasks;
  test::wrap_storage<test::SteppingStorage>(options, uses);
  return options;
}

Task<> write_numbers(Worker& worker) {
  for (PageId i = 1; i <= kPages; ++i) {
    const ExclusiveGuard guard = co_await worker.allocate();
    *guard.as<std::uint64_t>() = guard.page_id();
  }
}

Task<> read_numbers(Worker& worker, unsigned first) {
  for (PageId id = first; id <= kPages; id += kTasks) {
    const SharedGuard guard = co_await worker.fix_shared(id);
    EXPECT_EQ(*guard.as<std::uint64_t>(), id);
  }
}

TEST(Turn, BringsAQuarterOfWhatIsInFlight) {
  const TempFile file;
  Uses uses;
  BufferPool pool(stepping_pool(file, uses));
  Worker worker(pool);
  worker.spawn(write_numbers(worker));
  worker.run();
  pool.checkpoint();  // so that evictions write nothing, and every submission is of reads
  const PoolStats before = pool.stats();
  const std::uint64_t waits_before = uses.waits;
  for (unsigned first = 1; first <= kTasks; ++first) worker.spawn(read_numbers(worker, first));
  worker.run();
  const PoolStats after = pool.stats();
  const std::uint64_t reads = after.reads - before.reads;
  ASSERT_GT(reads, kPages / 2) << "most pages had left the pool";
  // kTasks / 4 in the middle of the run; at both ends there are fewer tasks.
  constexpr std::uint64_t kReadsATurn = kTasks / 8;
  EXPECT_LT((after.submissions - before.submissions) * kReadsATurn, reads);
  EXPECT_LT((uses.waits - waits_before) * kReadsATurn, reads);
}

}  // namespace
}  // namespace vmcache

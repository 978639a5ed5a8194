// SPDX-License-Identifier: MIT
//
// What a checkpoint that is slowed down leaves to others.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <thread>

#include "pool/pool_access.hpp"
#include "pool/write_back.hpp"
#include "support/options.hpp"
#include "support/stepping_storage.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;
using test::Uses;

constexpr PageId kPages = 2000;

class CheckpointThrottle : public testing::TestWithParam<std::uint64_t> {
 protected:
  CheckpointThrottle() : _pool(options()) {
    // Every GetParam()-th page is dirty.
    for (PageId i = 1; i <= kPages; ++i) (void)_pool.allocate();
    _pool.checkpoint();
    for (PageId id = GetParam(); id <= kPages; id += GetParam())
      *_pool.fix_exclusive(id).as<std::uint64_t>() = id;
    _dirty = kPages / GetParam();
  }
  //! Makes a checkpoint whose pace says `paced`; what it was told, and how many transfers were
  //! under way each time.
  std::uint64_t checkpoint(bool paced) {
    std::uint64_t max_in_flight = 0, done = 0, calls = 0;
    detail::checkpoint(detail::store_of(_pool), [&](const detail::CheckpointProgress& progress) {
      if (++calls > 1) max_in_flight = std::max(max_in_flight, _uses.in_flight);
      EXPECT_GT(progress.done, done);
      EXPECT_EQ(progress.all, _dirty);
      done = progress.done;
      return paced;
    });
    EXPECT_EQ(done, _dirty);
    EXPECT_GT(calls, 3U);
    return max_in_flight;
  }

 private:
  PoolOptions options() {
    PoolOptions options = small_pool(_file, 2 * kPages);
    _uses.by_itself = false;
    test::wrap_storage<test::SteppingStorage>(options, _uses);
    return options;
  }

  const TempFile _file;
  Uses _uses;
  BufferPool _pool;
  std::uint64_t _dirty = 0;
};

TEST_P(CheckpointThrottle, ThatSleepsSleepsWithNothingUnderWay) {
  EXPECT_EQ(checkpoint(true), 0U);
}

TEST_P(CheckpointThrottle, ThatHurriesKeepsTheDeviceBusy) {
  EXPECT_GT(checkpoint(false), 0U);
}

//! Two that wait for the ends of their bursts, by one engine: each ends writes of the other. (For
//! the thread sanitizer.)
TEST(Checkpoints, MayBeMadeByTwoThreadsAtOnce) {
  constexpr PageId kEach = 300;
  constexpr std::uint64_t kRounds = 20;
  const TempFile file;
  {
    BufferPool pool(small_pool(file, 4 * kEach));
    for (PageId i = 1; i <= 2 * kEach; ++i) (void)pool.allocate();
    const auto work = [&](PageId first) {
      for (std::uint64_t round = 1; round <= kRounds; ++round) {
        for (PageId id = first; id < first + kEach; ++id)
          *pool.fix_exclusive(id).as<std::uint64_t>() = id * round;
        detail::checkpoint(detail::store_of(pool),
                           [](const detail::CheckpointProgress&) { return true; });
      }
    };
    std::thread other(work, kEach + 1);
    work(1);
    other.join();
  }
  BufferPool pool(small_pool(file, 4 * kEach));
  for (PageId id = 1; id <= 2 * kEach; ++id)
    ASSERT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), id * kRounds);
}

INSTANTIATE_TEST_SUITE_P(Distance, CheckpointThrottle, testing::Values(1, 7));

}  // namespace
}  // namespace vmcache

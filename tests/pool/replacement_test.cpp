// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

constexpr std::uint64_t kFrames = 512;
constexpr PageId kHotPages = 200;

class Replacement : public testing::Test {
 protected:
  void SetUp() override {
    for (PageId id = 1; id <= 40 * kFrames; ++id) (void)_pool.allocate();
    _pool.checkpoint();
  }
  void touch(PageId first, PageId last) {
    for (PageId id = first; id <= last; ++id) {
      const OptimisticGuard guard = _pool.fix_optimistic(id);
      (void)*guard.as<volatile std::uint64_t>();
    }
  }
  //! Reads that touching the range costs.
  std::uint64_t reads_of(PageId first, PageId last) {
    const std::uint64_t before = _pool.stats().reads;
    touch(first, last);
    return _pool.stats().reads - before;
  }
  //! Until the hot pages have shown that they are wanted again and again.
  void warm_up() {
    for (int round = 0; round < 20; ++round) {
      touch(1, kHotPages);
      touch(1000 + static_cast<PageId>(round) * 100, 1099 + static_cast<PageId>(round) * 100);
    }
  }

  TempFile _file;
  BufferPool _pool{small_pool(_file, kFrames)};
};

TEST_F(Replacement, AScanDoesNotFlushPagesInUse) {
  warm_up();
  // Ten times the pool passes by, and not one hot page is touched meanwhile: plain second chance
  // would lose them all.
  touch(5000, 5000 + 10 * kFrames);
  EXPECT_LT(reads_of(1, kHotPages), kHotPages / 10);
}

TEST_F(Replacement, PagesNoLongerInUseMakeRoomForNewOnes) {
  warm_up();
  // Another working set, of nearly the whole pool: the old one must go, though it was hot.
  const PageId first = 10'000;
  const PageId last = first + kFrames * 9 / 10;
  for (int round = 0; round < 30; ++round) touch(first, last);
  EXPECT_LT(reads_of(first, last), kFrames / 10);
}

TEST_F(Replacement, ACachedPageIsFixedWithoutWritingToItsState) {
  touch(1, 100);
  for (PageId id = 1; id <= 100; ++id) {
    touch(id, id);
    const PageState before = _pool.page_ref(id).state().load();
    touch(id, id);
    EXPECT_EQ(_pool.page_ref(id).state().load(), before);
  }
}

}  // namespace
}  // namespace vmcache

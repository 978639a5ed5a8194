// SPDX-License-Identifier: MIT
//
// The device hears of page ids that were freed, and never of one that is in use.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "storage/aligned_buffer.hpp"
#include "support/options.hpp"
#include "support/wrapped_storage.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

//! What a test sees of it; outlives the storage.
struct Told {
  std::mutex mutex;
  std::set<PageId> pages;
  std::uint64_t calls = 0;
  int error = 0;
};

//! A file that forgets what it was told is of no use: it overwrites it.
class ForgetfulStorage final : public test::WrappedStorage {
 public:
  ForgetfulStorage(std::unique_ptr<Storage> inner, Told& told)
      : WrappedStorage(std::move(inner)), _told(told) {}
  [[nodiscard]] int deallocate(std::span<const ByteRange> ranges) override {
    if (ranges.empty()) return 0;
    const AlignedBuffer garbage(kPageSize);
    std::ranges::fill(garbage.bytes(), std::byte{0xdd});
    const std::lock_guard lock(_told.mutex);
    ++_told.calls;
    for (const ByteRange& range : ranges) {
      for (std::uint64_t offset = range.offset; offset < range.offset + range.bytes;
           offset += kPageSize) {
        EXPECT_NE(offset, 0u) << "the header";
        EXPECT_TRUE(_told.pages.insert(offset / kPageSize).second || _told.calls > 1)
            << "twice in one call";
        if (_told.error != 0) continue;
        EXPECT_EQ(inner().write(offset, garbage.bytes()), 0);
      }
    }
    return _told.error;
  }
  [[nodiscard]] std::string description() const override {
    return "forgetful " + inner().description();
  }

 private:
  Told& _told;
};

PoolOptions forgetful_pool(const TempFile& file, Told& told) {
  PoolOptions options = small_pool(file, 64);
  test::wrap_storage<ForgetfulStorage>(options, told);
  return options;
}

TEST(Deallocate, TellsWithTheCheckpointWhatWasFreedAndNotWhatIsInUseAgain) {
  const TempFile file;
  Told told;
  BufferPool pool(forgetful_pool(file, told));
  // Up to a multiple of 16, so that the extent leaves no gap.
  for (int i = 0; i < 47; ++i) (void)pool.allocate();
  const PageId large = pool.allocate(4).page_id();
  pool.checkpoint();
  EXPECT_EQ(told.calls, 0u) << "nothing was freed";
  for (PageId id = 10; id < 20; ++id) pool.free(pool.fix_exclusive(id));
  pool.free(pool.fix_exclusive(large, 4));
  EXPECT_EQ(told.calls, 0u) << "before the checkpoint a crash may need them";
  const PageId reused = pool.allocate().page_id();
  EXPECT_TRUE(reused >= 10 && reused < 20);
  pool.checkpoint();
  EXPECT_EQ(told.calls, 1u);
  EXPECT_EQ(told.pages.count(reused), 0u);
  EXPECT_EQ(told.pages.size(), 9u + 16u);
  for (const PageId id : told.pages)
    EXPECT_TRUE((id >= 10 && id < 20) || (id >= large && id < large + 16)) << id;
  pool.checkpoint();
  EXPECT_EQ(told.calls, 1u) << "once";
  // They can be had again.
  std::set<PageId> again;
  for (int i = 0; i < 25; ++i) again.insert(pool.allocate().page_id());
  EXPECT_EQ(again, told.pages);
}

TEST(Deallocate, AFailureIsLoggedAndCostsNothing) {
  const TempFile file;
  Told told;
  told.error = EIO;
  PoolOptions options = forgetful_pool(file, told);
  std::string log;
  options.logger = [&](LogLevel, std::string_view line) { log += line; };
  BufferPool pool(options);
  for (int i = 0; i < 8; ++i) (void)pool.allocate();
  pool.free(pool.fix_exclusive(3));
  pool.checkpoint();
  EXPECT_NE(log.find("deallocating"), std::string::npos) << log;
  EXPECT_EQ(pool.allocate().page_id(), 3u);
}

TEST(Deallocate, ACloseTellsTooAndTheFreeListSurvives) {
  const TempFile file;
  Told told;
  {
    BufferPool pool(forgetful_pool(file, told));
    for (int i = 0; i < 30; ++i) (void)pool.allocate();
    for (PageId id = 5; id < 25; ++id) pool.free(pool.fix_exclusive(id));
    pool.close();
    EXPECT_EQ(told.pages.size(), 20u);
  }
  BufferPool pool(forgetful_pool(file, told));
  std::set<PageId> again;
  for (int i = 0; i < 20; ++i) again.insert(pool.allocate().page_id());
  EXPECT_EQ(again, told.pages);
}

TEST(Deallocate, IsOffWhereItIsNotWanted) {
  const TempFile file;
  Told told;
  PoolOptions options = forgetful_pool(file, told);
  options.deallocate = false;
  BufferPool pool(options);
  (void)pool.allocate();
  pool.free(pool.fix_exclusive(1));
  pool.close();
  EXPECT_EQ(told.calls, 0u);
}

TEST(Deallocate, LosesNoPageWhileThreadsAllocateAndFree) {
  const TempFile file;
  Told told;
  BufferPool pool(forgetful_pool(file, told));
  std::atomic<bool> stop{false};
  const auto work = [&](unsigned seed) {
    std::mt19937_64 random(seed);
    std::vector<std::pair<Extent, std::uint64_t>> mine;
    while (!stop || !mine.empty()) {
      if (!stop && mine.size() < 60 && random() % 2 == 0) {
        const unsigned order = random() % 4 == 0 ? 2 : 0;
        const ExclusiveGuard guard = pool.allocate(order);
        const std::uint64_t number = random();
        *guard.as<std::uint64_t>() = number;
        mine.push_back({{guard.page_id(), order}, number});
      } else if (!mine.empty()) {
        const auto place = mine.begin() + static_cast<std::ptrdiff_t>(random() % mine.size());
        ExclusiveGuard guard = pool.fix_exclusive(place->first.page_id, place->first.order);
        ASSERT_EQ(*guard.as<std::uint64_t>(), place->second) << "page " << place->first.page_id;
        pool.free(std::move(guard));
        mine.erase(place);
      }
    }
  };
  std::thread first(work, 1);
  std::thread second(work, 2);
  // On a busy machine the threads may have freed nothing when the first thirty are over.
  constexpr int kMax = 100'000;
  for (int i = 0; i < 30 || (told.calls == 0 && i < kMax); ++i) EXPECT_NO_THROW(pool.checkpoint());
  stop = true;
  first.join();
  second.join();
  EXPECT_GT(told.calls, 0u);
  pool.close();
}

}  // namespace
}  // namespace vmcache

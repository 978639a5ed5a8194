// SPDX-License-Identifier: MIT
//
// Giving extents back: once only (F1), without a failure half-way and without waiting (F3);
// pool/freeing.hpp.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "pool/page_allocator.hpp"
#include "support/code_of.hpp"
#include "support/options.hpp"
#include "support/wrapped_storage.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::small_pool;
using test::TempFile;

//! Ids that allocate() hands out until the database does not grow any more, each page by itself.
std::vector<PageId> all_free_pages(BufferPool& pool) {
  std::vector<PageId> ids;
  pool.free_extents([&](std::uint64_t, std::span<const Extent> free) {
    for (const Extent& extent : free) {
      for (std::uint64_t n = 0; n < extent.pages(); ++n) ids.push_back(extent.page_id + n);
    }
  });
  std::ranges::sort(ids);
  return ids;
}

TEST(Free, RefusesAnExtentThatIsFreeAlready) {
  const TempFile file;
  std::array<PageId, 4> ids{};
  {
    BufferPool pool(small_pool(file, 64));
    for (unsigned order = 0; order < ids.size(); ++order)
      ids[order] = pool.allocate(order).page_id();
    pool.free(pool.fix_exclusive(ids[0]));
    // Still in memory, so that it can be fixed.
    ExclusiveGuard again = pool.fix_exclusive(ids[0]);
    EXPECT_EQ(code_of([&] { pool.free(std::move(again)); }), Errc::kInvalidPage);
    EXPECT_TRUE(again) << "the guard is as it was";  // NOLINT: it has not been moved from
    again.release_unmodified();
    const auto free = all_free_pages(pool);
    for (unsigned order = 1; order < ids.size(); ++order) {
      EXPECT_TRUE(pool.try_free({ids[order], order}));
      EXPECT_EQ(code_of([&] {
                  (void)pool.try_free({ids[order], order});
                }),
                Errc::kInvalidPage)
          << order;
    }
    EXPECT_EQ(all_free_pages(pool).size(), free.size() + 2 + 4 + 8);
    pool.close();
  }
  // After a reopen the words know nothing of what is free; the list does.
  BufferPool pool(small_pool(file, 64));
  const auto free = all_free_pages(pool);
  for (unsigned order = 0; order < ids.size(); ++order) {
    EXPECT_EQ(code_of([&] {
                (void)pool.try_free({ids[order], order});
              }),
              Errc::kInvalidPage)
        << order;
    EXPECT_EQ(code_of([&] { pool.free(pool.fix_exclusive(ids[order], order)); }),
              Errc::kInvalidPage)
        << order;
  }
  EXPECT_EQ(all_free_pages(pool), free);
}

TEST(Free, RefusesWhatIsNoExtent) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId end = pool.allocate(3).page_id() + 8;
  for (const Extent extent :
       {Extent{0, 0}, Extent{end, 0}, Extent{end - 8, 4}, Extent{9, 2}, Extent{8, 9}, Extent{8, 63},
        Extent{~PageId{0}, 0}, Extent{PageId{1} << 60, 3}}) {
    EXPECT_EQ(code_of([&] { (void)pool.try_free(extent); }), Errc::kInvalidPage)
        << extent.page_id << " order " << extent.order;
  }
  EXPECT_EQ(code_of([&] { pool.free(ExclusiveGuard{}); }), Errc::kInvalidPage);
}

TEST(Free, OfTwoThatFreeAnExtentOneSucceeds) {
  const TempFile file;
  BufferPool pool(small_pool(file, 128));
  constexpr unsigned kRounds = 400;
  for (unsigned round = 0; round < kRounds; ++round) {
    const Extent extent{pool.allocate(round % 4).page_id(), round % 4};
    std::atomic<unsigned> freed{0};
    std::atomic<unsigned> ready{0};
    const auto free_it = [&] {
      ++ready;
      while (ready < 2) std::this_thread::yield();
      try {
        while (!pool.try_free(extent)) std::this_thread::yield();
        ++freed;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Errc::kInvalidPage);
      }
    };
    std::thread other(free_it);
    free_it();
    other.join();
    ASSERT_EQ(freed, 1u) << "round " << round;
  }
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.allocated_pages, stats.freed_pages);
  EXPECT_EQ(all_free_pages(pool).size(), stats.database_pages - 1);
}

TEST(Free, NeedsNothingThatCouldBeRefused) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  ExclusiveGuard extent = pool.allocate(2);
  const PageId first = extent.page_id();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_EQ(code_of([&] { pool.free(std::move(extent)); }), Errc::kOk);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(pool.page_ref(first).state().load().evicted());
  EXPECT_EQ(pool.allocate(2).page_id(), first);
  pool.close();
}

//! A device that keeps writes to itself for as long as it is told to.
class KeepingQueue final : public IoQueue {
 public:
  KeepingQueue(std::unique_ptr<IoQueue> inner, const std::atomic<bool>& keeps)
      : _inner(std::move(inner)), _keeps(keeps) {}
  [[nodiscard]] unsigned depth() const noexcept override { return _inner->depth(); }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return _inner->in_flight() + static_cast<unsigned>(_kept.size());
  }
  void submit(std::span<IoRequest* const> requests) override {
    for (IoRequest* request : requests) {
      if (_keeps && request->op == IoRequest::Op::kWrite) {
        _kept.push_back(request);
      } else {
        _inner->submit({&request, 1});
      }
    }
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for,
                   std::uint64_t timeout_ns) override {
    // Who waits for a write that is kept waits, whatever the timeout: so that nothing else can hide
    // it.
    while (_keeps && !_kept.empty() && wait_for > 0)
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    if (_keeps) return _inner->reap(completed, 0, 0);
    if (!_kept.empty()) _inner->submit(std::exchange(_kept, {}));
    return _inner->reap(completed, wait_for, timeout_ns);
  }

 private:
  std::unique_ptr<IoQueue> _inner;
  const std::atomic<bool>& _keeps;
  std::vector<IoRequest*> _kept;
};

class KeepingStorage final : public test::WrappedStorage {
 public:
  KeepingStorage(std::unique_ptr<Storage> inner, const std::atomic<bool>& keeps)
      : WrappedStorage(std::move(inner)), _keeps(keeps) {}
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer) override {
    return std::make_unique<KeepingQueue>(inner().make_queue(depth, single_issuer), _keeps);
  }

 private:
  const std::atomic<bool>& _keeps;
};

TEST(Free, DoesNotWaitForACheckpoint) {
  const TempFile file;
  std::atomic<bool> keeps{false};
  PoolOptions options = small_pool(file, 256);
  test::wrap_storage<KeepingStorage>(options, keeps);
  BufferPool pool(options);
  std::vector<PageId> extents;
  for (int i = 0; i < 20; ++i) extents.push_back(pool.allocate(1).page_id());
  pool.checkpoint();  // clean, so that the next one latches none of them
  for (int i = 0; i < 100; ++i) (void)pool.allocate();
  keeps = true;
  std::atomic<bool> checkpointed{false};
  std::thread checkpoint([&] {
    pool.checkpoint();
    checkpointed = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  auto freed = std::async(std::launch::async, [&] {
    for (const PageId first : extents) pool.free(pool.fix_exclusive(first, 1));
  });
  const auto waited = freed.wait_for(std::chrono::seconds(60));
  EXPECT_EQ(waited, std::future_status::ready) << "free() waits for the device";
  EXPECT_FALSE(checkpointed);
  keeps = false;
  freed.get();
  checkpoint.join();
}

Task<> make_and_free(Worker& worker, unsigned seed, std::uint64_t& frees) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < 50; ++i) {
    const unsigned order = static_cast<unsigned>(random() % 4);
    ExclusiveGuard guard = co_await worker.allocate(order);
    EXPECT_EQ(*guard.as<std::uint64_t>(), 0u);
    for (std::uint64_t page = 0; page < 1u << order; ++page)
      guard.data()[page * kPageSize] = std::byte{1};
    const PageId first = guard.page_id();
    co_await worker.free(std::move(guard));
    ++frees;
    try {
      // It may be somebody else's by now, of the same size.
      co_await worker.fix_shared(first, order);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kInvalidPage);
    }
  }
}

TEST(Free, TasksShareAPageTableCall) {
  const TempFile file;
  BufferPool pool(small_pool(file, 1024));
  Worker worker(pool);
  std::uint64_t frees = 0;
  const auto free_all = [](Worker& w, std::uint64_t& n) -> Task<> {
    std::vector<ExclusiveGuard> guards;
    for (int i = 0; i < 4; ++i) guards.push_back(co_await w.allocate(2));
    for (ExclusiveGuard& guard : guards) {
      co_await w.free(std::move(guard));
      ++n;
    }
  };
  for (int i = 0; i < 32; ++i) worker.spawn(free_all(worker, frees));
  const std::uint64_t before = pool.stats().page_table_calls;
  worker.run();
  EXPECT_EQ(frees, 32u * 4);
  // Memory that comes by page fault has no calls but for what goes; exmap has some for what comes,
  // too.
  EXPECT_LT(pool.stats().page_table_calls - before, frees / 2);
  EXPECT_EQ(pool.stats().allocated_pages, pool.stats().freed_pages);
}

TEST(Free, IsAwaitable) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  std::uint64_t frees = 0;
  {
    Worker worker(pool);
    for (unsigned i = 0; i < 10; ++i) worker.spawn(make_and_free(worker, i, frees));
    worker.run();
    EXPECT_EQ(code_of([&] { (void)worker.free(ExclusiveGuard{}); }), Errc::kInvalidPage);
    // Taken and not awaited: not freed, not lost.
    const PageId kept = pool.allocate(1).page_id();
    { const auto unawaited = worker.free(pool.fix_exclusive(kept, 1)); }
    EXPECT_TRUE(pool.try_free({kept, 1}));
  }
  EXPECT_EQ(frees, 500u);
  EXPECT_EQ(pool.stats().allocated_pages, pool.stats().freed_pages);
}

//! Room without bytes.
class Space final : public Storage {
 public:
  [[nodiscard]] std::uint64_t size_bytes() const override { return _bytes; }
  [[nodiscard]] bool can_grow() const noexcept override { return true; }
  [[nodiscard]] bool blank() override { return true; }
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned, bool) override { return {}; }
  [[nodiscard]] int read(std::uint64_t, std::span<std::byte>) override { return EIO; }
  [[nodiscard]] int write(std::uint64_t, std::span<const std::byte>) override { return EIO; }
  [[nodiscard]] int flush() override { return 0; }
  [[nodiscard]] int resize(std::uint64_t bytes) override {
    _bytes = bytes;
    return 0;
  }
  [[nodiscard]] std::string description() const override { return "space"; }

 private:
  std::uint64_t _bytes = 0;
};

// Against a list of which pages are in use; with frees of what is free in whole or in part, and of
// what is held.
TEST(PageAllocator, HandsOutEachPageOnceAndTakesEachBackOnce) {
  constexpr std::uint64_t kCapacity = 2048;
  Space space;
  PageAllocator allocator(space, kCapacity, 1);
  allocator.remember_freed();
  std::vector<bool> used(kCapacity, false);
  std::vector<Extent> owned;
  const auto count = [&](Extent extent) {
    return std::count(used.begin() + static_cast<std::ptrdiff_t>(extent.page_id),
                      used.begin() + static_cast<std::ptrdiff_t>(extent.page_id + extent.pages()),
                      true);
  };
  const auto set = [&](Extent extent, bool value) {
    std::fill_n(used.begin() + static_cast<std::ptrdiff_t>(extent.page_id), extent.pages(), value);
  };
  std::mt19937_64 random(5);
  bool holding = false;
  for (int step = 0; step < 20'000; ++step) {
    const unsigned order = static_cast<unsigned>(random() % (kMaxOrder + 1));
    switch (random() % 8) {
      case 0:
      case 1:
      case 2:
        try {
          const Extent extent = allocator.allocate(order);
          ASSERT_EQ(count(extent), 0) << "step " << step;
          set(extent, true);
          owned.push_back(extent);
        } catch (const Error& error) {
          ASSERT_EQ(error.code(), Errc::kDatabaseFull);
        }
        break;
      case 3:
      case 4:
      case 5:
        if (!owned.empty()) {
          std::swap(owned[random() % owned.size()], owned.back());
          ASSERT_TRUE(allocator.free(owned.back())) << "step " << step;
          set(owned.back(), false);
          owned.pop_back();
        }
        break;
      case 6: {
        // Any extent with a page that is free, or outside: refused.
        const Extent extent{random() % kCapacity & ~((std::uint64_t{1} << order) - 1), order};
        const bool covered =
            extent.page_id != kNoPage && extent.page_id + extent.pages() <= allocator.next_page();
        if (covered && count(extent) == static_cast<std::ptrdiff_t>(extent.pages())) break;
        ASSERT_FALSE(allocator.in_use(extent)) << "step " << step;
        ASSERT_FALSE(allocator.free(extent)) << "step " << step;
        break;
      }
      case 7:
        if (std::exchange(holding, !holding)) {
          allocator.release_held();
        } else {
          (void)allocator.hold_freed(allocator.freed_mark());
        }
        break;
    }
  }
}

}  // namespace
}  // namespace vmcache

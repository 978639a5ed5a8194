// SPDX-License-Identifier: MIT
//
// What a child of fork() may do with a pool: nothing. F1 .. F4 of own_process.hpp.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "support/database.hpp"
#include "support/in_child.hpp"
#include "support/options.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::in_child;
using test::small_pool;
using test::TempFile;

PageId add_page(BufferPool& pool, std::uint64_t number) {
  ExclusiveGuard guard = pool.allocate();
  *guard.as<std::uint64_t>() = number;
  return guard.page_id();
}

std::uint64_t number_of(BufferPool& pool, PageId page_id) {
  return *pool.fix_shared(page_id).as<std::uint64_t>();
}

Errc open_again(const PoolOptions& options) {
  return code_of([&] { const BufferPool pool(options); });
}

TEST(Fork, AChildThatDestroysThePoolTakesNothingFromTheParent) {
  const TempFile file;
  const PoolOptions options = small_pool(file, 64);
  auto pool = std::make_unique<BufferPool>(options);
  const PageId page_id = add_page(*pool, 1);
  pool->checkpoint();
  EXPECT_EQ(in_child([&] {
              pool.reset();
              return 0;
            }),
            0);
  // The lock is still there ...
  EXPECT_EQ(in_child([&] { return static_cast<int>(open_again(options)); }),
            static_cast<int>(Errc::kInUse));
  // ... and the database is not marked as closed.
  if (!file.on_devices()) {
    const TempFile copy;
    std::filesystem::copy_file(file.path(), copy.path(),
                               std::filesystem::copy_options::overwrite_existing);
    EXPECT_EQ(open_again(small_pool(copy, 64)), Errc::kUncleanShutdown);
  }
  EXPECT_EQ(number_of(*pool, page_id), 1u);
  for (int i = 0; i < 300; ++i) (void)pool->allocate();
  EXPECT_EQ(number_of(*pool, page_id), 1u);
  pool->close();
  pool.reset();
  EXPECT_EQ(open_again(options), Errc::kOk);
}

TEST(Fork, EveryCallInAChildIsATypedError) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId resident = add_page(pool, 1);
  ExclusiveGuard held = pool.allocate();
  Worker worker(pool);
  const std::array<Extent, 1> extents{Extent{resident, 0}};
  int number = 0;
  int failed = 0;
  const auto refused = [&](const auto& call) {
    ++number;
    if (code_of(call) != Errc::kWrongProcess && failed == 0) failed = number;
  };
  EXPECT_EQ(in_child([&] {
              refused([&] { (void)pool.fix_optimistic(resident); });
              refused([&] { (void)pool.fix_shared(resident); });
              refused([&] { (void)pool.fix_exclusive(resident); });
              refused([&] { (void)pool.fix_shared(PageId{1} << 50); });
              refused([&] { pool.prefetch(extents); });
              refused([&] { (void)pool.allocate(); });
              refused([&] { pool.free(std::move(held)); });
              refused([&] { (void)pool.try_free({resident, 0}); });
              refused([&] { pool.free_extents([](std::uint64_t, std::span<const Extent>) {}); });
              refused([&] { (void)pool.root(0); });
              refused([&] { pool.set_root(0, resident); });
              refused([&] { pool.checkpoint(); });
              refused([&] { (void)pool.digest(); });
              refused([&] { pool.resize(128 * kPageSize); });
              refused([&] { (void)pool.stats(); });
              refused([&] { pool.close(); });
              refused([&] { const Worker another(pool); });
              refused([&] { worker.spawn([]() -> Task<> { co_return; }()); });
              refused([&] { worker.run(); });
              return failed;
            }),
            0)
      << "the number of the call that was not refused";
}

TEST(Fork, GuardsThatAChildLetsGoOfNeverMakeAPageReadableThere) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId shared_page = add_page(pool, 1);
  const PageId changed_page = add_page(pool, 2);
  const PageId unchanged_page = add_page(pool, 3);
  // Three: what is left of a word from which three latches were subtracted would look like a shared
  // one.
  std::array<SharedGuard, 3> shared;
  for (SharedGuard& guard : shared) guard = pool.fix_shared(shared_page);
  ExclusiveGuard changed = pool.fix_exclusive(changed_page);
  ExclusiveGuard unchanged = pool.fix_exclusive(unchanged_page);
  *changed.as<std::uint64_t>() = 20;
  EXPECT_EQ(in_child([&] {
              for (SharedGuard& guard : shared) guard.release();
              changed.release();
              unchanged.release_unmodified();
              for (const PageId page_id : {shared_page, changed_page, unchanged_page}) {
                OptimisticGuard optimistic;
                SharedGuard latched;
                ExclusiveGuard mine;
                if (pool.try_fix(page_id, optimistic) == TryFix::kFixed) return 1;
                if (pool.try_fix(page_id, latched) == TryFix::kFixed) return 2;
                if (pool.try_fix(page_id, mine) == TryFix::kFixed) return 3;
                if (code_of([&] { (void)pool.fix_shared(page_id); }) != Errc::kWrongProcess)
                  return 4;
              }
              return 0;
            }),
            0);
  // The parent's latches are all there.
  ExclusiveGuard mine;
  SharedGuard another;
  EXPECT_EQ(pool.try_fix(shared_page, mine), TryFix::kBusy);
  EXPECT_EQ(pool.try_fix(changed_page, another), TryFix::kBusy);
  for (SharedGuard& guard : shared) guard.release();
  changed.release();
  unchanged.release_unmodified();
  EXPECT_EQ(pool.try_fix(shared_page, mine), TryFix::kFixed);
  mine.release();
  EXPECT_EQ(number_of(pool, changed_page), 20u);
  EXPECT_EQ(number_of(pool, unchanged_page), 3u);
}

TEST(Fork, WhatAnOptimisticReaderReadsInAChildDoesNotValidate) {
  const TempFile file;
  PoolOptions options = small_pool(file, 64);
  options.memory = MemoryKind::kAnonymous;  // exmap memory is not there in a child
  BufferPool pool(options);
  const PageId page_id = add_page(pool, 1);
  const OptimisticGuard guard = pool.fix_optimistic(page_id);
  EXPECT_EQ(in_child([&] {
              const std::uint64_t number = *guard.as<volatile std::uint64_t>();
              return guard.validate() || number != 0 ? 1 : 0;
            }),
            0);
  EXPECT_EQ(*guard.as<std::uint64_t>(), 1u);
  EXPECT_TRUE(guard.validate());
}

TEST(Fork, AWorkerWhoseTaskForksGoesNoFurtherInTheChild) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  std::vector<PageId> pages;
  for (std::uint64_t i = 0; i < 300; ++i) pages.push_back(add_page(pool, i));
  auto worker = std::make_unique<Worker>(pool);
  pid_t child = -1;
  std::uint64_t sum = 0;
  const auto fork_between_misses = [&](Worker& w) -> Task<> {
    sum += *(co_await w.fix_shared(pages[1])).as<std::uint64_t>();
    child = ::fork();
    if (child == 0) ::alarm(100);
    sum += *(co_await w.fix_shared(pages[2])).as<std::uint64_t>();
  };
  const auto read = [&](Worker& w, PageId page_id) -> Task<> {
    sum += *(co_await w.fix_shared(page_id)).as<std::uint64_t>();
  };
  worker->spawn(fork_between_misses(*worker));
  for (std::size_t i = 3; i < 20; ++i) worker->spawn(read(*worker, pages[i]));
  const Errc ended = code_of([&] { worker->run(); });
  if (child == 0) {
    worker.reset();
    ::_exit(ended == Errc::kWrongProcess ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(ended, Errc::kOk);
  EXPECT_EQ(sum, 190u);  // 1 + ... + 19
}

TEST(Fork, AChildMayOpenPoolsOfItsOwnWhichItsOwnChildrenMayNotUse) {
  const TempFile file;
  const TempFile other;
  BufferPool pool(small_pool(file, 64));
  (void)add_page(pool, 1);
  EXPECT_EQ(in_child([&] {
              PoolOptions options;
              options.path = other.path();
              options.pool_bytes = 64 * kPageSize;
              options.capacity_bytes = options.pool_bytes * 8;
              BufferPool own(options);
              const PageId page_id = add_page(own, 7);
              if (number_of(own, page_id) != 7) return 1;
              if (code_of([&] { (void)pool.allocate(); }) != Errc::kWrongProcess) return 2;
              const int grandchild = in_child([&] {
                if (code_of([&] { (void)own.fix_shared(page_id); }) != Errc::kWrongProcess)
                  return 1;
                if (code_of([&] { (void)pool.allocate(); }) != Errc::kWrongProcess) return 2;
                return 0;
              });
              if (grandchild != 0) return 3;
              if (number_of(own, page_id) != 7) return 4;
              own.close();
              return 0;
            }),
            0);
}

// ThreadSanitizer's own locks may be held by threads that a child does not have.
#ifndef __SANITIZE_THREAD__
TEST(Fork, ForksDuringWorkHarmNeitherSide) {
  const TempFile file;
  auto pool = std::make_unique<BufferPool>(small_pool(file, 64));
  constexpr std::uint64_t kPages = 400;
  for (std::uint64_t i = 1; i <= kPages; ++i) ASSERT_EQ(add_page(*pool, 0), i);
  std::atomic<bool> stop = false;
  std::vector<std::uint64_t> written(2);
  const auto count_up = [&](std::uint64_t thread) {
    for (std::uint64_t n = 0; !stop; ++n) {
      ExclusiveGuard guard = pool->fix_exclusive(1 + (n * 37 * 2 + thread) % kPages);
      ++*guard.as<std::uint64_t>();
      ++written[thread];
    }
  };
  std::thread first(count_up, 0);
  std::thread second(count_up, 1);
  for (int n = 0; n < 20; ++n) {
    EXPECT_EQ(in_child([&] {
                if (code_of([&] { (void)pool->fix_exclusive(1); }) != Errc::kWrongProcess) return 1;
                pool.reset();
                return 0;
              }),
              0);
  }
  stop = true;
  first.join();
  second.join();
  std::uint64_t sum = 0;
  for (PageId page_id = 1; page_id <= kPages; ++page_id) sum += number_of(*pool, page_id);
  EXPECT_EQ(sum, written[0] + written[1]);
}
#endif

}  // namespace
}  // namespace vmcache

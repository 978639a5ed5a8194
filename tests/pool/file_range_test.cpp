// SPDX-License-Identifier: MIT
//
// Files that come, go and change their size while others use the pool: D1 to D3 of
// pool/file_set.hpp. Files beside a database, in a child of fork(), in tasks.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"
#include "pool/raw_files.hpp"
#include "support/code_of.hpp"
#include "support/in_child.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::files_only;
using test::get;
using test::kRange;
using test::pattern;
using test::put;
using test::read_all;
using test::Stuck;
using test::TempFile;
using test::write_all;

//! D3: the same range, another file.
TEST(FileRange, AReaderOfAClosedFileNeverTakesTheNextOnesBytesForIt) {
  const TempFile first;
  const TempFile second;
  write_all(first.path(), std::string(4 * kPageSize, '1'));
  write_all(second.path(), std::string(4 * kPageSize, '2'));
  BufferPool pool(files_only(64, 1));
  File file = pool.open_file({.path = first.path()});
  const PageId page_id = file.page_id(2);
  OptimisticGuard guard = pool.fix_optimistic(page_id);
  file.close();
  EXPECT_FALSE(guard.validate());
  EXPECT_EQ(code_of([&] { (void)pool.fix_shared(page_id); }), Errc::kInvalidPage);
  File other = pool.open_file({.path = second.path()});
  ASSERT_EQ(other.page_id(2), page_id);
  EXPECT_EQ(get(pool, other, 2 * kPageSize, kPageSize), std::string(kPageSize, '2'));
  EXPECT_FALSE(guard.validate());
}

//! D1: the fault has seen the old end, and is about to claim its page. The words lie in memory that
//! cannot be written, so the claim faults, and the file is cut in the signal handler's time.
TEST(FileRange, AFaultThatSawTheOldEndDoesNotBringThePageIn) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer holds a lock of its own while the claim faults";
#endif
  static std::atomic<void*> words{nullptr};
  static std::atomic<bool> claiming{false};
  static std::atomic<bool> cut{false};
  const TempFile temp;
  write_all(temp.path(), std::string(10 * kPageSize, 'x'));
  BufferPool pool(files_only());
  File file = pool.open_file({.path = temp.path()});
  const PageId page_id = file.page_id(9);
  const auto word = reinterpret_cast<std::uintptr_t>(&detail::core_of(pool).states()[page_id]);
  words = reinterpret_cast<void*>(word / kPageSize * kPageSize);
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {
    if (claiming.exchange(true)) ::signal(SIGSEGV, SIG_DFL);  // a bug: ends the test
    while (!cut) ::sched_yield();
    ::mprotect(words, kPageSize, PROT_READ | PROT_WRITE);
  };
  ::sigaction(SIGSEGV, &action, &before);
  ::mprotect(words, kPageSize, PROT_READ);
  auto fault = std::async(std::launch::async,
                          [&] { return code_of([&] { (void)pool.fix_shared(page_id); }); });
  while (!claiming) std::this_thread::yield();
  file.resize(5 * kPageSize);
  cut = true;
  EXPECT_EQ(fault.get(), Errc::kInvalidPage);
  ::sigaction(SIGSEGV, &before, nullptr);
  OptimisticGuard guard;
  EXPECT_EQ(pool.try_fix(page_id, guard), TryFix::kMiss);
}

//! D2: a copy of a page that falls out is on its way to storage, and would make the file long
//! again.
TEST(FileRange, IsNotCutUnderAWriteOfItsPages) {
  const TempFile temp;
  write_all(temp.path(), std::string(4 * kPageSize, 'a'));
  PoolOptions options = files_only();
  options.storage = StorageKind::kPread;
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path()});
  put(pool, file, 0, std::string(4 * kPageSize, 'b'));
  const Stuck writes(temp);
  auto sync = std::async(std::launch::async, [&] { file.sync(); });
  writes.wait();
  auto cut = std::async(std::launch::async, [&] { file.resize(kPageSize); });
  EXPECT_EQ(cut.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  writes.let_go();
  sync.get();
  cut.get();
  EXPECT_EQ(read_all(temp.path()), std::string(kPageSize, 'b'));
}

//! A cut that does not come about changes nothing but what it says: what stays is written and read
//! as before, while it waits and after it.
TEST(FileRange, ACutThatIsGivenUpLosesNoChange) {
  const TempFile temp;
  write_all(temp.path(), std::string(12 * kPageSize, 'a'));
  PoolOptions options = files_only(16);
  options.frame_wait = std::chrono::seconds(2);
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path()});
  put(pool, file, 9 * kPageSize, std::string(kPageSize, 'b'));
  Pin pin = pool.pin(file.page_id(9));
  auto cut =
      std::async(std::launch::async, [&] { return code_of([&] { file.resize(5 * kPageSize); }); });
  // Until it has begun.
  while (code_of([&] { (void)pool.fix_shared(file.page_id(11)); }) == Errc::kOk)
    std::this_thread::yield();
  file.sync();  // page 9 is clean now, and must have been written
  EXPECT_EQ(cut.get(), Errc::kBusy);
  EXPECT_EQ(file.size_bytes(), 10 * kPageSize);
  pin.release();
  file.close();
  std::string expected(10 * kPageSize, 'a');
  expected.replace(9 * kPageSize, kPageSize, kPageSize, 'b');
  EXPECT_EQ(read_all(temp.path()), expected);
}

TEST(FileRange, ACutThatCouldNotEndIsEndedByTheNextCall) {
  const TempFile temp;
  write_all(temp.path(), std::string(20 * kPageSize, 'a'));
  PoolOptions options = files_only();
  options.frame_wait = std::chrono::milliseconds(50);
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path()});
  {
    const SharedGuard last = pool.fix_shared(file.page_id(9));
    EXPECT_EQ(code_of([&] { file.resize(9 * kPageSize + 100); }), Errc::kBusy);
    EXPECT_EQ(file.size_bytes(), 9 * kPageSize + 100);
    EXPECT_EQ(code_of([&] { file.sync(); }), Errc::kBusy);
  }
  file.resize(15 * kPageSize);
  std::string expected(9 * kPageSize + 100, 'a');
  expected.resize(15 * kPageSize, '\0');
  EXPECT_EQ(get(pool, file, 0, 15 * kPageSize), expected) << "what is added is zeros";
  file.close();
  EXPECT_EQ(read_all(temp.path()), expected);
}

//! D1, D2: faults, evictions and write-backs of many threads while files come, go and change their
//! size. What a file holds is checked against what was written.
TEST(FileRange, StressAgainstAModel) {
  constexpr unsigned kFiles = 6;
  constexpr std::uint64_t kMaxPages = 40;
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::array<TempFile, kFiles> temps;
  PoolOptions options = files_only(48, 3);  // fewer ranges than files
  BufferPool pool(options);
  std::atomic<bool> stop{false};
  std::atomic<PageId> known{0};
  std::atomic<std::uint64_t> seen{0};
  std::vector<std::thread> readers;
  for (unsigned n = 0; n < 2; ++n) {
    // Reads whatever page it has heard of, whoever has it by now.
    readers.emplace_back([&, n] {
      std::mt19937 random(seed + 100 + n);
      while (!stop) {
        const PageId page_id = known + random() % kMaxPages;
        try {
          const SharedGuard guard = pool.fix_shared(page_id);
          seen += static_cast<std::uint64_t>(guard.data()[random() % kPageSize]);
        } catch (const Error& error) {
          ASSERT_EQ(error.code(), Errc::kInvalidPage) << error.what();
        }
      }
    });
  }
  const auto owner = [&](unsigned n, unsigned rounds) {
    std::mt19937 random(seed + n);
    std::string model;
    for (unsigned round = 0; round < rounds; ++round) {
      File file;
      try {
        file = pool.open_file({.path = temps[n].path()});
      } catch (const Error& error) {
        ASSERT_EQ(error.code(), Errc::kDatabaseFull) << error.what();
        std::this_thread::yield();
        continue;
      }
      ASSERT_EQ(file.size_bytes(), model.size());
      known = file.page_id(0);
      for (unsigned step = 0; step < 30; ++step) {
        const auto what = random() % 10;
        if (what < 2) {
          const std::size_t bytes = random() % (kMaxPages * kPageSize);
          file.resize(bytes);
          model.resize(bytes, '\0');
        } else if (what < 3) {
          file.sync();
          ASSERT_EQ(read_all(temps[n].path()), model);
        } else if (!model.empty()) {
          const std::size_t at = random() % model.size();
          const std::size_t bytes = std::min<std::size_t>(model.size() - at, random() % 10'000);
          if (what < 6) {
            ASSERT_EQ(get(pool, file, at, bytes), model.substr(at, bytes));
          } else {
            const std::string text(bytes, static_cast<char>('a' + random() % 26));
            put(pool, file, at, text);
            model.replace(at, bytes, text);
          }
        }
      }
      if (random() % 4 == 0) {
        file.remove();
        model.clear();
      } else {
        file.close();
        ASSERT_EQ(read_all(temps[n].path()), model);
      }
    }
  };
  std::vector<std::thread> owners;
  for (unsigned n = 0; n < kFiles; ++n) owners.emplace_back(owner, n, 60);
  for (std::thread& thread : owners) thread.join();
  stop = true;
  for (std::thread& thread : readers) thread.join();
  EXPECT_EQ(pool.stats().open_files, 0U);
  pool.close();
}

TEST(FilePool, HasADatabaseAndFilesAtOnce) {
  const TempFile database;
  const TempFile temp;
  if (database.on_devices()) GTEST_SKIP() << "on files natively";
  std::vector<PageId> pages;
  {
    PoolOptions options = test::small_pool(database, 32);
    options.files_bytes = 2 * kRange;
    options.page_header = true;
    options.lost_write_check = true;
    BufferPool pool(options);
    File file = pool.open_file({.path = temp.path()});
    file.resize(100 * kPageSize);
    for (unsigned n = 0; n < 100; ++n) {
      ExclusiveGuard guard = pool.allocate();
      pages.push_back(guard.page_id());
      std::memset(guard.data() + sizeof(PageHeader), static_cast<int>(n),
                  kPageSize - sizeof(PageHeader));
      guard.release();
      put(pool, file, n * kPageSize, std::string(kPageSize, static_cast<char>(n)));
    }
    pool.checkpoint();
    pool.close();  // closes the file
    EXPECT_FALSE(file);
  }
  std::string expected;
  for (unsigned n = 0; n < 100; ++n) expected += std::string(kPageSize, static_cast<char>(n));
  EXPECT_EQ(read_all(temp.path()), expected);
  PoolOptions options = test::small_pool(database, 32);  // without files
  options.page_header = true;
  BufferPool pool(options);
  for (unsigned n = 0; n < 100; ++n)
    EXPECT_EQ(pool.fix_shared(pages[n]).data()[kPageSize - 1], static_cast<std::byte>(n));
}

TEST(FilePool, AFileOutlivesItsPoolAsAClosedOne) {
  const TempFile temp;
  File file;
  {
    BufferPool pool(files_only());
    file = pool.open_file({.path = temp.path()});
    file.resize(kPageSize);
    put(pool, file, 0, "written by the destructor");
  }
  EXPECT_FALSE(file);
  EXPECT_EQ(code_of([&] { file.sync(); }), Errc::kClosed);
  EXPECT_EQ(read_all(temp.path()).substr(0, 7), "written");
}

TEST(FilePool, IsOfNoUseInAForkedChild) {
  const TempFile temp;
  BufferPool pool(files_only());
  File file = pool.open_file({.path = temp.path()});
  file.resize(kPageSize);
  put(pool, file, 0, "parent");
  EXPECT_EQ(test::in_child([&] {
              const bool refused =
                  code_of([&] { file.sync(); }) == Errc::kWrongProcess &&
                  code_of([&] { file.resize(0); }) == Errc::kWrongProcess &&
                  code_of([&] { file.close(); }) == Errc::kWrongProcess &&
                  code_of([&] { (void)pool.pin(file.page_id(0)); }) == Errc::kWrongProcess;
              { const File ends = std::move(file); }
              return refused ? 0 : 1;
            }),
            0);
  EXPECT_EQ(get(pool, file, 0, 6), "parent");
  file.close();
  EXPECT_EQ(read_all(temp.path()).substr(0, 6), "parent");
}

TEST(FilePool, TasksFixItsPages) {
  const TempFile temp;
  write_all(temp.path(), pattern(50 * kPageSize, 3));
  BufferPool pool(files_only(32));
  File file = pool.open_file({.path = temp.path()});
  std::string text(50 * kPageSize, '\0');
  Worker worker(pool);
  for (unsigned n = 0; n < 50; ++n) {
    worker.spawn([](Worker& own, PageId page_id, char* to) -> Task<> {
      const SharedGuard guard = co_await own.fix_shared(page_id);
      std::memcpy(to, guard.data(), kPageSize);
    }(worker, file.page_id(n), text.data() + n * kPageSize));
  }
  worker.run();
  EXPECT_EQ(text, pattern(50 * kPageSize, 3));
}

TEST(FilePool, ADatabaseClosesBesideAFileWhosePageIsLatched) {
  const TempFile temp;
  const TempFile database;
  PoolOptions options = test::small_pool(database, 32);
  options.files_bytes = kRange;
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path()});
  file.resize(kPageSize);
  ExclusiveGuard latched = pool.allocate();
  EXPECT_EQ(code_of([&] { pool.close(); }), Errc::kBusy);
  EXPECT_TRUE(file) << "nothing was closed";
  latched.release();
  pool.close();
}

}  // namespace
}  // namespace vmcache

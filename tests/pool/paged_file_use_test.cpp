// SPDX-License-Identifier: MIT
//
// Databases in a shared pool while others run: tasks of one Worker on several files, files that
// come and go while others fault, and what is told of a page that is wrong.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "pool/raw_files.hpp"
#include "support/database.hpp"
#include "support/in_child.hpp"
#include "vmcache/btree.hpp"
#include "vmcache/paged_file.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::files_only;
using test::pattern;
using test::read_all;
using test::TempFile;

PoolOptions impatient(std::uint64_t pages = 64) {
  PoolOptions options = files_only(pages);
  options.frame_wait = std::chrono::milliseconds(50);
  return options;
}

//! Everything that a task can do with pages, on one file.
Task<void> work(Worker& worker, BufferPool& file, std::string name) {
  file.set_root(0, BTree::create(file));
  BTree tree(file, file.root(0));
  for (int n = 0; n < 200; ++n) {
    const std::string key = name + std::to_string(n);
    const std::string value = pattern(150, static_cast<unsigned>(n));
    co_await tree.insert(worker, key, value);
  }
  co_await tree.upsert(worker, name + "large", std::string(100'000, 'x'));
  co_await tree.erase(worker, name + "5");
  EXPECT_EQ(co_await tree.count(worker), 200U);
  EXPECT_EQ(co_await tree.get(worker, name + "7"), pattern(150, 7));
  EXPECT_EQ(co_await tree.get(worker, name + "large"), std::string(100'000, 'x'));
  const std::array<std::string, 3> keys{name + "1", name + "5", name + "9"};
  const std::array<Bytes, 3> wanted{keys[0], keys[1], keys[2]};
  unsigned found = 0;
  co_await tree.lookup_each(
      worker, wanted, [&](std::size_t, std::optional<Bytes> value) { found += value ? 1 : 0; });
  EXPECT_EQ(found, 2U);
  BTree::Cursor cursor(tree, Direction::kAscending, Bound::all());
  EXPECT_TRUE(co_await cursor.next(worker));
  EXPECT_EQ(cursor.key().view(), name + "0");

  std::vector<Extent> extents;
  for (unsigned order = 0; order < 4; ++order) {
    ExclusiveGuard guard = co_await worker.allocate(file, order);
    *guard.as<PageId>() = guard.page_id();
    extents.push_back({guard.page_id(), order});
  }
  co_await worker.yield();
  co_await worker.prefetch(file, extents);
  for (const Extent& extent : extents) {
    EXPECT_EQ(*(co_await worker.fix_shared(file, extent.page_id, extent.order)).as<PageId>(),
              extent.page_id);
    const OptimisticGuard seen = co_await worker.fix_optimistic(file, extent.page_id, extent.order);
    EXPECT_EQ(seen.page_id(), extent.page_id);
    co_await worker.free(file, co_await worker.fix_exclusive(file, extent.page_id, extent.order));
  }
  bool refused = false;
  try {
    (void)co_await worker.fix_shared(file, file.capacity_pages() - 1);
  } catch (const Error& error) {
    refused = error.code() == Errc::kInvalidPage;
  }
  EXPECT_TRUE(refused);
}

TEST(PagedFileUse, OneWorkerServesAllFiles) {
  const TempFile own;
  const TempFile one;
  const TempFile two;
  PoolOptions options = test::small_pool(own, 64);
  options.files_bytes = 4 * test::kRange;
  BufferPool pool(options);
  PagedFile first(pool, {.path = one.path()});
  PagedFile second(pool, {.path = two.path(), .page_header = true});
  Worker worker(pool);
  worker.spawn(work(worker, first, "first"));
  worker.spawn(work(worker, second, "second"));
  worker.spawn(work(worker, pool, "own"));
  worker.run();
  for (BufferPool* file :
       {static_cast<BufferPool*>(&first), static_cast<BufferPool*>(&second), &pool})
    EXPECT_EQ(BTree(*file, file->root(0)).verify().entries, 200U);
  first.close();
  second.close();
}

TEST(PagedFileUse, AWorkerOfAFileKeepsItOpenAndTheOthersUsable) {
  const TempFile one;
  const TempFile two;
  BufferPool pool(impatient());
  PagedFile first(pool, {.path = one.path()});
  PagedFile second(pool, {.path = two.path()});
  {
    Worker worker(first);
    EXPECT_EQ(code_of([&] { first.close(); }), Errc::kBusy);
    worker.spawn(work(worker, first, "first"));
    worker.spawn(work(worker, second, "second"));
    worker.spawn([](Worker& here) -> Task<void> {  // its own, without a name
      ExclusiveGuard guard = co_await here.allocate();
      co_await here.free(std::move(guard));
    }(worker));
    worker.run();
    second.close();
    const auto use_closed = [&] {
      worker.spawn([](Worker& here, BufferPool& closed) -> Task<void> {
        (void)co_await here.allocate(closed);
      }(worker, second));
      worker.run();
    };
    EXPECT_EQ(code_of(use_closed), Errc::kClosed);
    BufferPool other(files_only());
    const TempFile three;
    PagedFile foreign(other, {.path = three.path()});
    const auto use_foreign = [&] {
      worker.spawn([](Worker& here, BufferPool& file) -> Task<void> {
        (void)co_await here.fix_shared(file, 1);
      }(worker, foreign));
      worker.run();
    };
    EXPECT_EQ(code_of(use_foreign), Errc::kInvalidOption);
  }
  first.close();
}

//! Each page says whose it is, and which.
struct Stamp {
  std::uint64_t file;
  PageId page;
};

TEST(PagedFileUse, FilesComeAndGoWhileOthersFault) {
  // T1, T3, D1: one thread opens, fills and closes files; others read theirs, and prefetch by the
  // pool's names whatever is in the ranges meanwhile.
  constexpr unsigned kFiles = 4;
  constexpr PageId kPages = 120;
  std::array<TempFile, kFiles> temps;
  BufferPool pool(files_only(48, 4));
  for (unsigned n = 0; n < kFiles; ++n) {
    PagedFile file(pool, {.path = temps[n].path()});
    for (PageId page = 1; page <= kPages; ++page) *file.allocate().as<Stamp>() = {n, page};
  }
  PagedFile steady(pool, {.path = temps[0].path()});
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0};
  const auto check = [&](BufferPool& file, std::uint64_t number, PageId page) {
    const SharedGuard guard = file.fix_shared(page);
    const Stamp stamp = *guard.as<Stamp>();
    if (stamp.file != number || stamp.page != page) ++wrong;
  };
  std::thread reader([&] {
    for (PageId n = 0; !stop; ++n) check(steady, 0, 1 + n * 7 % kPages);
  });
  std::thread stranger([&] {
    const PageId begin = steady.pool_begin();
    const std::uint64_t range = test::kRange / kPageSize;
    for (std::uint64_t n = 0; !stop; ++n) {
      const Extent extent{begin + n % 4 * range + 1 + n * 11 % kPages, 0};
      try {
        pool.prefetch({&extent, 1});
      } catch (const Error& error) {
        if (error.code() != Errc::kInvalidPage) ++wrong;
      }
    }
  });
  for (unsigned round = 0; round < 60; ++round) {
    const unsigned a = 1 + round % 3;
    const unsigned b = 1 + (round + 1) % 3;
    PagedFile first(pool, {.path = temps[a].path()});
    PagedFile second(pool, {.path = temps[b].path()});
    for (PageId page = 1; page <= kPages; page += 5) {
      check(first, a, page);
      *second.fix_exclusive(page).as<Stamp>() = {b, page};
      check(second, b, page + 1);
    }
    first.close();
    check(second, b, kPages);
  }
  stop = true;
  reader.join();
  stranger.join();
  EXPECT_EQ(wrong, 0U);
}

TEST(PagedFileUse, ManyThreadsChangeTreesInTheirFilesWithFewFrames) {
  std::array<TempFile, 3> temps;
  BufferPool pool(files_only(64, 4));
  {
    std::array<std::optional<PagedFile>, 3> files;
    std::vector<std::thread> threads;
    for (unsigned n = 0; n < 3; ++n)
      files[n].emplace(pool, PagedFileOptions{.path = temps[n].path()});
    for (unsigned n = 0; n < 3; ++n) {
      threads.emplace_back([&, n] {
        PagedFile& file = *files[n];
        file.set_root(0, BTree::create(file));
        BTree tree(file, file.root(0));
        for (unsigned i = 0; i < 1500; ++i) {
          tree.upsert(std::to_string(i * 7919 % 3001), pattern(60, n + i));
          if (i % 3 == 0) tree.erase(std::to_string(i * 31 % 3001));
          if (i % 300 == 0) file.checkpoint();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  for (const TempFile& temp : temps) {
    PagedFile file(pool, {.path = temp.path()});
    EXPECT_GT(BTree(file, file.root(0)).verify().entries, 100U);
  }
}

DatabaseOptions database_in(BufferPool* pool, const TempFile& pages, const TempFile& log) {
  DatabaseOptions options = test::on_files(pages, log);
  options.in = pool;
  return options;
}

void put_all(Database& database, const std::string& name, unsigned from, unsigned to) {
  for (unsigned n = from; n < to; ++n) {
    Transaction change(database);
    change.put(0, name + std::to_string(n), pattern(200, n));
    change.put(1, name + std::to_string(n), std::to_string(n));
    change.commit();
  }
}

void expect_all(Database& database, const std::string& name, unsigned count) {
  EXPECT_EQ(database.tree(0).verify().entries, count) << name;
  for (unsigned n = 0; n < count; n += 17) {
    EXPECT_EQ(database.tree(0).get(name + std::to_string(n)), pattern(200, n)) << name << n;
    EXPECT_EQ(database.tree(1).get(name + std::to_string(n)), std::to_string(n)) << name << n;
  }
}

TEST(PagedFileUse, DatabasesWithLogsShareAPool) {
  std::array<TempFile, 2> pages;
  std::array<TempFile, 2> logs;
  {  // killed with commits in the log
    EXPECT_EQ(test::in_child([&] {
                BufferPool pool(files_only(64));
                Database first(database_in(&pool, pages[0], logs[0]));
                Database second(database_in(&pool, pages[1], logs[1]));
                put_all(first, "a", 0, 300);
                put_all(second, "b", 0, 200);
                first.checkpoint();
                put_all(first, "a", 300, 400);
                ::_exit(0);
                return 1;
              }),
              0);
  }
  BufferPool pool(files_only(64));
  {
    Database second(database_in(&pool, pages[1], logs[1]));
    Database first(database_in(&pool, pages[0], logs[0]));
    EXPECT_GT(first.recovery().transactions, 0U);
    expect_all(first, "a", 400);
    expect_all(second, "b", 200);
    put_all(second, "b", 200, 300);
    second.close();
    put_all(first, "a", 400, 500);
    Worker worker(pool);  // the pool's serves the database, too
    worker.spawn([](Worker& here, Database& database) -> Task<void> {
      Transaction change(database);
      change.put(0, "a500", pattern(200, 500));
      change.put(1, "a500", "500");
      co_await change.commit(here);
    }(worker, first));
    worker.run();
    expect_all(first, "a", 501);
  }
  {  // the same files, alone
    Database second(database_in(nullptr, pages[1], logs[1]));
    expect_all(second, "b", 300);
  }
  Database second(database_in(&pool, pages[1], logs[1]));
  expect_all(second, "b", 300);
  DatabaseOptions wrong = database_in(&pool, pages[0], logs[0]);
  wrong.pool.capacity_bytes = 9 * test::kRange;
  EXPECT_EQ(code_of([&] { Database database(wrong); }), Errc::kInvalidOption);
  wrong.pool.capacity_bytes = test::kRange;
  wrong.log.path = logs[1].path();
  EXPECT_EQ(code_of([&] { Database database(wrong); }), Errc::kInUse);
  pool.close();  // before the database: it recovers from its log
  EXPECT_EQ(code_of([&] { put_all(second, "b", 300, 301); }), Errc::kClosed);
}

//! Changes a byte in storage.
void damage(const TempFile& file, std::uint64_t offset) {
  std::fstream stream(file.path(), std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(static_cast<std::streamoff>(offset));
  stream.put('x');
}

PageId page_of_failure(const std::function<void()>& call, Errc code) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.page_id();
  }
  return kNoPage;
}

TEST(PagedFileUse, NamesThePageThatIsWrongAsItsUserDoes) {
  const TempFile before;  // so that the file does not have the pool's first range
  const TempFile temp;
  BufferPool pool(files_only(16));
  PagedFile other(pool, {.path = before.path()});
  PagedFile file(pool, {.path = temp.path(), .page_header = true, .lost_write_check = true});
  for (int n = 0; n < 40; ++n) file.allocate().data()[100] = std::byte{1};
  const std::uint64_t sum = file.digest();
  EXPECT_EQ(file.digest(), sum);
  for (int n = 0; n < 40; ++n) (void)other.allocate();  // pushes the others out
  damage(temp, 7 * kPageSize + 100);
  EXPECT_EQ(page_of_failure([&] { (void)file.fix_shared(7); }, Errc::kChecksum), 7U);
  const std::string bytes = read_all(temp.path());
  {
    ExclusiveGuard guard = file.fix_exclusive(9);
    guard.data()[100] = std::byte{2};
  }
  file.checkpoint();
  for (int n = 0; n < 40; ++n) (void)other.allocate();
  {  // an older version of itself, with a right checksum
    std::fstream stream(temp.path(), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(9 * kPageSize);
    stream.write(&bytes[9 * kPageSize], kPageSize);
  }
  EXPECT_EQ(page_of_failure([&] { (void)file.fix_shared(9); }, Errc::kLostWrite), 9U);
}

//! A log that is durable up to a point and does not move.
class StillLog final : public WriteAhead {
 public:
  [[nodiscard]] Lsn durable_lsn() const noexcept override { return 100; }
  void want_durable(Lsn /*lsn*/) noexcept override {}
  [[nodiscard]] int log_error() const noexcept override { return 0; }
};

TEST(PagedFileUse, WritesNoPageBeforeItsLog) {
  const TempFile before;
  const TempFile temp;
  StillLog log;
  BufferPool pool(impatient());
  PagedFile other(pool, {.path = before.path()});
  EXPECT_EQ(code_of([&] { PagedFile file(pool, {.path = temp.path(), .write_ahead = &log}); }),
            Errc::kInvalidOption);
  PagedFile file(pool, {.path = temp.path(), .page_header = true, .write_ahead = &log});
  const PageId page = file.allocate().page_id();
  file.fix_exclusive(page).as<PageHeader>()->lsn = 101;
  EXPECT_EQ(page_of_failure([&] { file.checkpoint(); }, Errc::kBusy), page);
  other.checkpoint();
  file.fix_exclusive(page).as<PageHeader>()->lsn = 99;
  file.checkpoint();
}

}  // namespace
}  // namespace vmcache

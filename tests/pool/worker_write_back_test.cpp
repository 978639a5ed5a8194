// SPDX-License-Identifier: MIT
//
// Write-back that a Worker's tasks wait for while the others run on: Worker::checkpoint(), sync()
// and their like.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "pool/raw_files.hpp"
#include "support/code_of.hpp"
#include "support/write_gated_storage.hpp"
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
using test::StuckSync;
using test::TempFile;
using test::write_all;

PoolOptions impatient() {
  PoolOptions options = files_only(64);
  options.frame_wait = std::chrono::milliseconds(50);
  return options;
}

struct Ended {
  bool ended = false;
  Errc code = Errc::kOk;
  PageId page_id = kNoPage;
};

Task<> note(Task<> call, Ended& how) {
  try {
    co_await call;
  } catch (const Error& error) {
    how.code = error.code();
    how.page_id = error.page_id();
  }
  how.ended = true;
}

Ended run(Worker& worker, Task<> call) {
  Ended how;
  worker.spawn(note(std::move(call), how));
  worker.run();
  return how;
}

//! Faults pages until `done`; then does `after`.
Task<> read_until(Worker& worker, const File& file, std::function<bool()> done,
                  std::uint64_t& reads, std::function<void()> after) {
  for (std::uint64_t page = 0; !done(); page = (page + 1) % file.pages()) {
    (void)co_await worker.fix_shared(file.page_id(page));
    ++reads;
    co_await worker.yield();
  }
  after();
}

class WorkerWriteBack : public testing::TestWithParam<StorageKind> {
 protected:
  static PoolOptions options() {
    PoolOptions options = files_only(64);
    options.storage = GetParam();
    return options;
  }
};

TEST_P(WorkerWriteBack, DoesWhatTheBlockingCallsDo) {
  const TempFile temp;
  BufferPool pool(options());
  File file = pool.open_file({.path = temp.path()});
  const std::string bytes = pattern(40 * kPageSize + 7, 1);
  file.resize(bytes.size());
  Worker worker(pool);
  put(pool, file, 0, bytes);
  EXPECT_EQ(run(worker, worker.sync(file)).code, Errc::kOk);
  EXPECT_EQ(read_all(temp.path()), bytes);
  EXPECT_LE(pool.stats().writes, 4U) << "neighbours are one write";
  const std::uint64_t written = pool.stats().written_pages;
  EXPECT_EQ(run(worker, worker.sync(file)).code, Errc::kOk);
  EXPECT_EQ(pool.stats().written_pages, written) << "nothing was dirty";

  const std::string after = pattern(bytes.size(), 2);
  put(pool, file, 0, after);
  EXPECT_EQ(run(worker, worker.write_back(file, std::array<std::uint64_t, 2>{3, 40})).code,
            Errc::kOk);
  std::string expected = bytes;
  expected.replace(3 * kPageSize, kPageSize, after, 3 * kPageSize, kPageSize);
  expected.replace(40 * kPageSize, 7, after, 40 * kPageSize, 7);
  EXPECT_EQ(read_all(temp.path()), expected);
  EXPECT_EQ(run(worker, worker.write_back(file)).code, Errc::kOk);
  EXPECT_EQ(read_all(temp.path()), after);
  EXPECT_EQ(run(worker, worker.flush(file)).code, Errc::kOk);
  const std::array<std::uint64_t, 2> wrong{4, 4};
  EXPECT_EQ(run(worker, worker.write_back(file, wrong)).code, Errc::kInvalidPage);
}

INSTANTIATE_TEST_SUITE_P(Storage, WorkerWriteBack,
                         testing::Values(StorageKind::kIoUring, StorageKind::kPread));

TEST(WorkerSync, KeepsNoOtherTaskWaitingForAFlush) {
  const TempFile temp;
  const TempFile other;
  write_all(other.path(), pattern(200 * kPageSize, 2));
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  File table = pool.open_file({.path = other.path()});
  const std::string bytes = pattern(20 * kPageSize, 1);
  file.resize(bytes.size());
  put(pool, file, 0, bytes);
  Worker worker(pool);
  Ended synced;
  Ended synced_other;
  std::uint64_t reads = 0;
  std::uint64_t reads_at_flush = 0;
  const StuckSync stuck(temp);
  worker.spawn(note(worker.sync(file), synced));
  worker.spawn(note(worker.sync(table), synced_other));
  worker.spawn(read_until(
      worker, table,
      [&] {
        if (StuckSync::waits() && reads_at_flush == 0) reads_at_flush = reads + 1;
        return reads_at_flush > 0 && reads > reads_at_flush + 500 && synced_other.ended;
      },
      reads,
      [&] {
        EXPECT_FALSE(synced.ended);
        StuckSync::let_go();
      }));
  worker.run();
  EXPECT_TRUE(synced.ended);
  EXPECT_EQ(synced.code, Errc::kOk);
  EXPECT_EQ(read_all(temp.path()), bytes);
}

TEST(WorkerCheckpoint, KeepsNoOtherTaskWaitingForItsWrites) {
  const TempFile database;
  const TempFile other;
  write_all(other.path(), pattern(30 * kPageSize, 2));
  test::WriteGate gate;
  PoolOptions options = test::small_pool(database, 256);
  options.files_bytes = kRange;
  test::wrap_storage<test::WriteGatedStorage>(options, gate);
  BufferPool pool(options);
  for (int n = 0; n < 100; ++n) *pool.allocate().as<int>() = n;
  pool.set_root(0, 1);
  File table = pool.open_file({.path = other.path()});
  Worker worker(pool);
  Ended ended;
  std::uint64_t reads = 0;
  gate.open = false;
  worker.spawn(note(worker.checkpoint(), ended));
  worker.spawn(read_until(
      worker, table, [&] { return gate.held > 0 && reads > 100; }, reads,
      [&] {
        EXPECT_FALSE(ended.ended);
        gate.open = true;
      }));
  const std::uint64_t flushes = pool.stats().flushes;
  worker.run();
  EXPECT_TRUE(ended.ended);
  EXPECT_EQ(ended.code, Errc::kOk);
  EXPECT_EQ(pool.stats().flushes, flushes + 2) << "the pages', and the header's";
  const std::uint64_t written = pool.stats().written_pages;
  EXPECT_EQ(written, 100U);
  pool.checkpoint();
  EXPECT_EQ(pool.stats().written_pages, written) << "nothing is dirty";
}

TEST(WorkerSync, AFailedFlushIsFinalForThatFileOnly) {
  const TempFile temp;
  const TempFile other;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  File fine = pool.open_file({.path = other.path()});
  file.resize(kPageSize);
  fine.resize(kPageSize);
  Worker worker(pool);
  put(pool, file, 0, "x");
  put(pool, fine, 0, "y");
  test::fail_next_sync(temp.path());
  EXPECT_EQ(run(worker, worker.sync(file)).code, Errc::kIo);
  EXPECT_EQ(run(worker, worker.sync(file)).code, Errc::kIo);
  EXPECT_EQ(run(worker, worker.write_back(file)).code, Errc::kIo);
  EXPECT_EQ(run(worker, worker.flush(file)).code, Errc::kIo);
  EXPECT_EQ(run(worker, worker.sync(fine)).code, Errc::kOk);
  EXPECT_EQ(code_of([&] { (void)pool.fix_shared(file.page_id(0)); }), Errc::kIo);
}

TEST(WorkerSync, TellsOfAWriteThatFailsAndThePageStaysDirty) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  const std::string bytes = pattern(8 * kPageSize, 1);
  file.resize(bytes.size());
  put(pool, file, 0, bytes);
  Worker worker(pool);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{3 * kPageSize, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Ended how = run(worker, worker.sync(file));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_EQ(how.code, Errc::kIo);
  EXPECT_GE(how.page_id, file.page_id(3)) << "the page that cannot be written";
  EXPECT_EQ(read_all(temp.path()).substr(0, 3 * kPageSize), bytes.substr(0, 3 * kPageSize));
  EXPECT_EQ(run(worker, worker.sync(file)).code, Errc::kOk);
  EXPECT_EQ(read_all(temp.path()), bytes);
}

TEST(WorkerSync, WaitsForALatchOfAnotherTask) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  file.resize(16 * kPageSize);
  put(pool, file, 0, std::string(8 * kPageSize, 'x'));
  { (void)pool.fix_exclusive(file.page_id(8), 3); }
  Worker worker(pool);
  Ended ended;
  const auto hold = [&](std::uint64_t page, unsigned order) -> Task<> {
    ExclusiveGuard guard = co_await worker.fix_exclusive(file.page_id(page), order);
    for (int n = 0; n < 100; ++n) co_await worker.yield();
    EXPECT_FALSE(ended.ended);
    std::memcpy(guard.data(), "last", 4);
  };
  worker.spawn(hold(3, 0));
  worker.spawn(hold(8, 3));
  EXPECT_EQ(worker.poll(), 2U);
  worker.spawn(note(worker.sync(file), ended));
  worker.run();
  EXPECT_EQ(ended.code, Errc::kOk);
  EXPECT_EQ(read_all(temp.path()).substr(3 * kPageSize, 4), "last");
  EXPECT_EQ(read_all(temp.path()).substr(8 * kPageSize, 4), "last");
}

TEST(WorkerSync, GivesUpWhatStaysLatched) {
  const TempFile temp;
  BufferPool pool(impatient());
  File file = pool.open_file({.path = temp.path()});
  file.resize(8 * kPageSize);
  const std::string bytes = pattern(8 * kPageSize, 1);
  put(pool, file, 0, bytes);
  Worker worker(pool);
  ExclusiveGuard guard = pool.fix_exclusive(file.page_id(5));
  const Ended how = run(worker, worker.sync(file));
  EXPECT_EQ(how.code, Errc::kBusy);
  EXPECT_EQ(how.page_id, file.page_id(5));
  guard.release();
  EXPECT_EQ(run(worker, worker.sync(file)).code, Errc::kOk);
  EXPECT_EQ(read_all(temp.path()), bytes);
}

//! A log, and where a page's LSN is.
class Log final : public WriteAhead, public PageFormat {
 public:
  [[nodiscard]] Lsn durable_lsn() const noexcept override { return durable; }
  void want_durable(Lsn lsn) noexcept override { wanted = std::max(wanted.load(), lsn); }
  [[nodiscard]] int log_error() const noexcept override { return 0; }
  void before_write(std::uint64_t, std::span<std::byte>) const noexcept override {}
  [[nodiscard]] Status after_read(std::uint64_t, std::span<std::byte>) const noexcept override {
    return {};
  }
  [[nodiscard]] Lsn lsn_of(std::span<const std::byte> bytes) const noexcept override {
    Lsn lsn = 0;
    std::memcpy(&lsn, bytes.data(), sizeof lsn);
    return lsn;
  }

  std::atomic<Lsn> durable{0};
  std::atomic<Lsn> wanted{0};
};

TEST(WorkerSync, WaitsForALogThatAnotherTaskFlushes) {
  const TempFile temp;
  Log log;
  BufferPool pool(impatient());
  File file = pool.open_file({.path = temp.path(), .format = &log, .write_ahead = &log});
  file.resize(16 * kPageSize);
  { *pool.fix_exclusive(file.page_id(0)).as<Lsn>() = 70; }
  { *pool.fix_exclusive(file.page_id(8), 3).as<Lsn>() = 90; }
  Worker worker(pool);
  Ended ended;
  const auto flush_log = [&]() -> Task<> {
    while (log.wanted < 90) co_await worker.yield();
    EXPECT_FALSE(ended.ended);
    log.durable = 100;
  };
  worker.spawn(note(worker.sync(file), ended));
  worker.spawn(flush_log());
  worker.run();
  EXPECT_EQ(ended.code, Errc::kOk);
  EXPECT_EQ(read_all(temp.path())[0], 70);
  EXPECT_EQ(read_all(temp.path())[8 * kPageSize], 90);
}

TEST(WorkerSync, GivesUpALogThatDoesNotMove) {
  const TempFile temp;
  Log log;
  BufferPool pool(impatient());
  File file = pool.open_file({.path = temp.path(), .format = &log, .write_ahead = &log});
  file.resize(16 * kPageSize);
  Worker worker(pool);
  for (const auto& [page, order] : {std::pair<std::uint64_t, unsigned>{0, 0}, {8, 3}}) {
    log.durable = 100;
    EXPECT_EQ(run(worker, worker.sync(file)).code, Errc::kOk);
    { *pool.fix_exclusive(file.page_id(page), order).as<Lsn>() = 200 + page; }
    const Ended how = run(worker, worker.sync(file));
    EXPECT_EQ(how.code, Errc::kBusy);
    EXPECT_EQ(how.page_id, file.page_id(page));
    EXPECT_EQ(read_all(temp.path())[page * kPageSize], 0);
    log.durable = 300;
    EXPECT_EQ(run(worker, worker.sync(file)).code, Errc::kOk);
    EXPECT_NE(read_all(temp.path())[page * kPageSize], 0);
  }
}

TEST(WorkerSync, OfTwoTasksAtOnceAndInALoopOfTheEmbedders) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  File file = pool.open_file({.path = temp.path()});
  const std::string bytes = pattern(40 * kPageSize, 1);
  file.resize(bytes.size());
  put(pool, file, 0, bytes);
  Worker worker(pool);
  std::array<Ended, 4> ended;
  for (Ended& one : ended) worker.spawn(note(worker.sync(file), one));
  pollfd waits{worker.fd(), POLLIN, 0};
  do {
    ASSERT_EQ(::poll(&waits, 1, -1), 1);
  } while (worker.poll() > 0);
  for (const Ended& one : ended) EXPECT_TRUE(one.ended && one.code == Errc::kOk);
  EXPECT_EQ(pool.stats().written_pages, 40U);
  EXPECT_EQ(read_all(temp.path()), bytes);
}

TEST(WorkerSync, RefusesAFileOfAnotherPoolAndAClosedOne) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  BufferPool other(files_only(64));
  File file = other.open_file({.path = temp.path()});
  Worker worker(pool);
  EXPECT_EQ(code_of([&] { (void)worker.sync(file); }), Errc::kInvalidOption);
  file.close();
  EXPECT_EQ(code_of([&] { (void)worker.sync(file); }), Errc::kInvalidOption);
  File temporary = pool.open_temporary();
  EXPECT_EQ(run(worker, worker.sync(temporary)).code, Errc::kInvalidOption);
  temporary.close();
  EXPECT_EQ(code_of([&] { (void)worker.flush(temporary); }), Errc::kClosed);
  File none;
  EXPECT_EQ(code_of([&] { (void)worker.write_back(none); }), Errc::kClosed);
}

//! Of a pool with a Worker that is gone and tasks that are not: they stay, and a leak checker finds
//! them through the pool.
void keep_for_good(std::unique_ptr<BufferPool> pool) {
  static std::array<BufferPool*, 8> kept{};
  static std::size_t count = 0;
  kept.at(count++) = pool.release();
}

// Such a Worker keeps its place, and the file stays open; the flush that has begun ends.
TEST(WorkerSync, AWorkerThatIsDestroyedMeanwhileKeepsItsPlace) {
  const TempFile temp;
  auto pool = std::make_unique<BufferPool>(files_only(64));
  File file = pool->open_file({.path = temp.path()});
  file.resize(kPageSize);
  put(*pool, file, 0, "x");
  Ended ended;
  {
    Worker worker(*pool);
    StuckSync stuck(temp);
    worker.spawn(note(worker.sync(file), ended));
    while (!StuckSync::waits()) (void)worker.poll();
    EXPECT_EQ(code_of([&] { file.close(); }), Errc::kBusy);
    EXPECT_EQ(code_of([&] { file.remove(); }), Errc::kBusy);
    StuckSync::let_go();
  }
  EXPECT_FALSE(StuckSync::waits());
  EXPECT_FALSE(ended.ended);
  EXPECT_EQ(code_of([&] { file.close(); }), Errc::kBusy);
  EXPECT_EQ(code_of([&] { pool->close(); }), Errc::kBusy);
  file.sync();  // it can be used as before
  file = File();
  keep_for_good(std::move(pool));
}

// Its writes end, and the pages can be changed and written by others.
TEST(WorkerSync, AWorkerThatIsDestroyedMeanwhileLeavesThePagesToOthers) {
  for (unsigned rounds = 0; rounds < 4; ++rounds) {
    const TempFile temp;
    auto own = std::make_unique<BufferPool>(files_only(128));
    BufferPool& pool = *own;
    File file = pool.open_file({.path = temp.path()});
    const std::string old = pattern(50 * kPageSize, 1);
    const std::string fresh = pattern(50 * kPageSize, 2);
    file.resize(old.size());
    put(pool, file, 0, old);
    Ended ended;
    {
      Worker worker(pool);
      worker.spawn(note(worker.write_back(file), ended));
      for (unsigned n = 0; n < rounds; ++n) (void)worker.poll();
    }
    put(pool, file, 0, fresh);
    file.sync();
    EXPECT_EQ(read_all(temp.path()), fresh) << rounds;
    file.drop(0, 50);
    file = File();
    keep_for_good(std::move(own));
  }
}

TEST(WorkerFree, RefusesAnotherPoolsExtent) {
  const TempFile one;
  const TempFile two;
  BufferPool pool(test::small_pool(one, 64));
  BufferPool other(test::small_pool(two, 64));
  const PageId page_id = other.allocate().page_id();
  Worker worker(pool);
  EXPECT_EQ(run(worker, worker.free(other, {page_id, 0})).code, Errc::kInvalidOption);
  ExclusiveGuard guard = other.fix_exclusive(page_id);
  EXPECT_EQ(code_of([&] { (void)worker.free(other, std::move(guard)); }), Errc::kInvalidOption);
}

TEST(WorkerFree, WaitsForWhoHasTheExtent) {
  const TempFile database;
  PoolOptions options = test::small_pool(database, 64);
  options.frame_wait = std::chrono::milliseconds(100);
  BufferPool pool(options);
  const PageId extent = pool.allocate(3).page_id();
  const PageId single = pool.allocate().page_id();
  Worker worker(pool);
  Ended freed;
  Ended freed_single;
  const auto hold = [&]() -> Task<> {
    const SharedGuard guard = co_await worker.fix_shared(extent, 3);
    const SharedGuard other = co_await worker.fix_shared(single);
    for (int n = 0; n < 50; ++n) co_await worker.yield();
    EXPECT_FALSE(freed.ended || freed_single.ended);
  };
  worker.spawn(hold());
  EXPECT_EQ(worker.poll(), 1U);
  worker.spawn(note(worker.free({extent, 3}), freed));
  worker.spawn(note(worker.free({single, 0}), freed_single));
  worker.run();
  EXPECT_EQ(freed.code, Errc::kOk);
  EXPECT_EQ(freed_single.code, Errc::kOk);
  EXPECT_EQ(pool.stats().freed_pages, 9U);
  EXPECT_EQ(run(worker, worker.free({extent, 3})).code, Errc::kInvalidPage) << "a second time";
  const PageId pinned = pool.allocate().page_id();
  const Pin pin = pool.pin(pinned);
  EXPECT_EQ(run(worker, worker.free({pinned, 0})).code, Errc::kBusy);
}

}  // namespace
}  // namespace vmcache

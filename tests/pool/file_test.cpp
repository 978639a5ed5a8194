// SPDX-License-Identifier: MIT
//
// Files of an embedder's own format in a pool: include/vmcache/file.hpp, D1 to D3 of
// pool/file_set.hpp, and pins (S6 of pool/residency.hpp).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <future>
#include <iterator>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"
#include "support/code_of.hpp"
#include "support/in_child.hpp"
#include "support/options.hpp"
#include "vmcache/worker.hpp"

namespace {

//! Files, by inode, whose next fdatasync() fails.
std::mutex unsyncable_mutex;
std::set<ino_t> unsyncable;
//! Files, by inode, whose pwrite() waits until they are taken out.
std::mutex stuck_mutex;
std::set<ino_t> stuck;
std::atomic<int> stuck_now{0};

ino_t inode_of(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 ? info.st_ino : 0;
}

}  // namespace

// The linker puts these in the library's way (--wrap).
extern "C" int __real_fdatasync(int fd);  // NOLINT: the linker's names
extern "C" ssize_t __real_pwrite(int fd, const void* bytes, size_t count, off_t at);  // NOLINT
extern "C" int __wrap_fdatasync(int fd) {                                             // NOLINT
  const std::lock_guard lock(unsyncable_mutex);
  if (unsyncable.erase(inode_of(fd)) > 0) {
    errno = EIO;
    return -1;
  }
  return __real_fdatasync(fd);
}
extern "C" ssize_t __wrap_pwrite(int fd, const void* bytes, size_t count, off_t at) {  // NOLINT
  const auto is_stuck = [&] {
    const std::lock_guard lock(stuck_mutex);
    return stuck.contains(inode_of(fd));
  };
  while (is_stuck()) {
    ++stuck_now;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --stuck_now;
  }
  return __real_pwrite(fd, bytes, count, at);
}

namespace vmcache {
namespace {

using test::code_of;
using test::TempFile;

constexpr std::uint64_t kRange = PoolOptions::kFileRangeBytes;

PoolOptions files_only(std::uint64_t pages = 64, std::uint64_t ranges = 8) {
  PoolOptions options;
  options.pool_bytes = pages * kPageSize;
  options.files_bytes = ranges * kRange;
  options.frame_wait = std::chrono::seconds(20);
  options.memory = test::default_memory;
  return options;
}

std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_all(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string pattern(std::size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

//! Copies bytes into the file's pages, as an embedder does.
void put(BufferPool& pool, const File& file, std::uint64_t offset, const std::string& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const std::uint64_t at = offset + done;
    const std::size_t n = std::min<std::size_t>(bytes.size() - done, kPageSize - at % kPageSize);
    ExclusiveGuard guard = pool.fix_exclusive(file.page_id(at / kPageSize));
    std::memcpy(guard.data() + at % kPageSize, bytes.data() + done, n);
    done += n;
  }
}

std::string get(BufferPool& pool, const File& file, std::uint64_t offset, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    const std::uint64_t at = offset + text.size();
    const std::size_t n = std::min<std::size_t>(bytes - text.size(), kPageSize - at % kPageSize);
    const SharedGuard guard = pool.fix_shared(file.page_id(at / kPageSize));
    text.append(reinterpret_cast<const char*>(guard.data()) + at % kPageSize, n);
  }
  return text;
}

//! While it lives, the library's pwrite() to the file waits.
class Stuck {
 public:
  explicit Stuck(const TempFile& file) {
    struct stat info {};
    EXPECT_EQ(::stat(file.path().c_str(), &info), 0);
    const std::lock_guard lock(stuck_mutex);
    stuck.insert(info.st_ino);
  }
  ~Stuck() { let_go(); }
  Stuck(const Stuck&) = delete;
  Stuck& operator=(const Stuck&) = delete;
  //! Until a write waits.
  static void wait() {
    while (stuck_now == 0) std::this_thread::yield();
  }
  static void let_go() {
    const std::lock_guard lock(stuck_mutex);
    stuck.clear();
  }
};

class Files : public testing::TestWithParam<StorageKind> {
 protected:
  static PoolOptions options(std::uint64_t pages = 64, std::uint64_t ranges = 8) {
    PoolOptions options = files_only(pages, ranges);
    options.storage = GetParam();
    return options;
  }
};

TEST_P(Files, AreByteForByteWhatTheirPagesAre) {
  for (const std::size_t bytes : {0U, 1U, 511U, 512U, 4095U, 4096U, 4097U, 12'800U, 1'000'001U}) {
    const TempFile temp;
    const std::string before = pattern(bytes, 1);
    const std::string after = pattern(bytes, 2);
    write_all(temp.path(), before);
    BufferPool pool(options());
    File file = pool.open_file({.path = temp.path()});
    EXPECT_EQ(file.size_bytes(), bytes);
    EXPECT_EQ(get(pool, file, 0, bytes), before);
    if (bytes % kPageSize != 0) {
      // What lies in the last page after the end is zeros, and nobody else's.
      const std::string tail = get(pool, file, bytes, kPageSize - bytes % kPageSize);
      EXPECT_EQ(tail, std::string(tail.size(), '\0'));
      put(pool, file, bytes, std::string(tail.size(), 'x'));
    }
    put(pool, file, 0, after);
    EXPECT_EQ(code_of([&] { (void)pool.fix_shared(file.page_id(file.pages())); }),
              Errc::kInvalidPage);
    file.sync();
    EXPECT_EQ(read_all(temp.path()), after) << bytes << " bytes";
    file.close();
    EXPECT_EQ(read_all(temp.path()), after) << bytes << " bytes";
    EXPECT_FALSE(file);
    EXPECT_EQ(code_of([&] { file.sync(); }), Errc::kClosed);
  }
}

TEST_P(Files, GrowWithZerosAndShrinkForGood) {
  const TempFile temp;
  write_all(temp.path(), pattern(10'000, 1));
  BufferPool pool(options());
  File file = pool.open_file({.path = temp.path()});
  put(pool, file, 9'990, std::string(500, 'x'));  // in part after the end
  file.resize(20'000);
  std::string expected = pattern(10'000, 1);
  expected.replace(9'990, 10, 10, 'x');
  expected.resize(20'000, '\0');
  EXPECT_EQ(get(pool, file, 0, 20'000), expected);
  put(pool, file, 0, std::string(20'000, 'y'));
  file.resize(5'000);
  EXPECT_EQ(file.size_bytes(), 5'000U);
  EXPECT_EQ(code_of([&] { (void)pool.fix_shared(file.page_id(2)); }), Errc::kInvalidPage);
  file.resize(9'000);
  expected.assign(5'000, 'y');
  expected.resize(9'000, '\0');
  EXPECT_EQ(get(pool, file, 0, 9'000), expected);
  file.close();
  EXPECT_EQ(read_all(temp.path()), expected);
}

TEST_P(Files, ThatSomebodyElseCutsAreAnErrorNotASignal) {
  const TempFile temp;
  write_all(temp.path(), pattern(40'960, 1));
  BufferPool pool(options());
  File file = pool.open_file({.path = temp.path()});
  std::filesystem::resize_file(temp.path(), 8'292);
  EXPECT_EQ(get(pool, file, 0, 8'192), pattern(40'960, 1).substr(0, 8'192));
  for (const std::uint64_t page : {2U, 3U, 9U}) {
    try {
      (void)pool.fix_shared(file.page_id(page));
      ADD_FAILURE() << "page " << page;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kIo);
      EXPECT_EQ(error.os_error(), ENODATA);
    }
  }
}

TEST_P(Files, AFailedSyncIsFinalForThatFileOnly) {
  const TempFile good_temp;
  const TempFile bad_temp;
  const TempFile database_temp;
  write_all(good_temp.path(), std::string(8'192, 'a'));
  write_all(bad_temp.path(), std::string(8'192, 'a'));
  PoolOptions both = test::small_pool(database_temp, 64);
  both.files_bytes = 8 * kRange;
  both.storage = GetParam();
  BufferPool pool(both);
  File good = pool.open_file({.path = good_temp.path()});
  File bad = pool.open_file({.path = bad_temp.path()});
  const PageId in_database = pool.allocate().page_id();
  put(pool, good, 0, "good");
  put(pool, bad, 0, "lost");
  {
    const std::lock_guard lock(unsyncable_mutex);
    struct stat info {};
    ASSERT_EQ(::stat(bad_temp.path().c_str(), &info), 0);
    unsyncable.insert(info.st_ino);
  }
  EXPECT_EQ(code_of([&] { bad.sync(); }), Errc::kIo);
  EXPECT_EQ(code_of([&] { bad.sync(); }), Errc::kIo) << "although this flush would succeed";
  EXPECT_EQ(code_of([&] { (void)pool.fix_shared(bad.page_id(0)); }), Errc::kIo);
  EXPECT_EQ(code_of([&] { bad.resize(10'000); }), Errc::kIo);
  good.sync();
  EXPECT_EQ(get(pool, good, 0, 4), "good");
  (void)pool.fix_exclusive(in_database);
  pool.checkpoint();
  bad.close();
  bad = pool.open_file({.path = bad_temp.path()});
  put(pool, bad, 0, "kept");
  bad.sync();
  EXPECT_EQ(read_all(bad_temp.path()).substr(0, 4), "kept");
}

INSTANTIATE_TEST_SUITE_P(Storage, Files, testing::Values(StorageKind::kAuto, StorageKind::kPread),
                         [](const auto& kind) {
                           return kind.param == StorageKind::kAuto ? "Auto" : "Pread";
                         });

TEST(FileSync, WaitsForNoOtherFile) {
  const TempFile temp;
  const TempFile stuck_temp;
  write_all(temp.path(), std::string(4 * kPageSize, 'a'));
  write_all(stuck_temp.path(), std::string(4 * kPageSize, 'a'));
  PoolOptions options = files_only();
  options.storage = StorageKind::kPread;
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path()});
  File other = pool.open_file({.path = stuck_temp.path()});
  put(pool, file, 0, "this");
  put(pool, other, 0, "that");
  const Stuck writes(stuck_temp);
  auto waits = std::async(std::launch::async, [&] { other.sync(); });
  writes.wait();
  file.sync();
  EXPECT_EQ(read_all(temp.path()).substr(0, 4), "this");
  EXPECT_EQ(waits.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  writes.let_go();
  waits.get();
  EXPECT_EQ(read_all(stuck_temp.path()).substr(0, 4), "that");
}

TEST(FileOpen, RefusesWhatCannotBe) {
  const TempFile temp;
  const auto missing = std::filesystem::path(temp.path().string() + "-missing");
  BufferPool pool(files_only(64, 4));
  const auto open = [&](FileOptions options) {
    return code_of([&] { (void)pool.open_file(options); });
  };
  EXPECT_EQ(open({}), Errc::kInvalidOption);
  EXPECT_EQ(open({.path = missing, .create = false}), Errc::kInvalidOption);
  EXPECT_EQ(open({.path = temp.path(), .capacity_bytes = 100}), Errc::kInvalidOption);
  EXPECT_EQ(open({.path = temp.path(), .capacity_bytes = 5 * kRange}), Errc::kInvalidOption);
  EXPECT_EQ(open({.path = "/dev/null"}), Errc::kUnsupported);
  EXPECT_EQ(open({.path = "/"}), Errc::kUnsupported);
  write_all(temp.path(), std::string(10'000, 'x'));
  EXPECT_EQ(open({.path = temp.path(), .capacity_bytes = 8'192}), Errc::kDatabaseFull);
  File file = pool.open_file({.path = temp.path(), .capacity_bytes = 3 * kRange});
  EXPECT_EQ(open({.path = temp.path()}), Errc::kInUse);
  EXPECT_EQ(open({.path = missing, .capacity_bytes = 2 * kRange}), Errc::kDatabaseFull)
      << "one range is left";
  EXPECT_FALSE(std::filesystem::exists(missing)) << "a refused open leaves no file";
  EXPECT_EQ(code_of([&] { file.resize(3 * kRange + 1); }), Errc::kDatabaseFull);
  EXPECT_EQ(code_of([&] { (void)file.page_id(3 * kRange / kPageSize); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] { (void)pool.fix_shared(file.page_id(0), 1); }), Errc::kInvalidPage);
  ExclusiveGuard guard = pool.fix_exclusive(file.page_id(0));
  EXPECT_EQ(code_of([&] { pool.free(std::move(guard)); }), Errc::kInvalidPage);
  guard.release_unmodified();  // NOLINT: free() has refused it
  EXPECT_EQ(code_of([&] { (void)pool.try_free({file.page_id(0), 0}); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] { (void)pool.allocate(); }), Errc::kDatabaseFull) << "there is no database";
  EXPECT_EQ(read_all(temp.path()), std::string(10'000, 'x'));
}

TEST(FileOpen, ChecksTheOptionsOfThePool) {
  const TempFile temp;
  PoolOptions options = files_only();
  options.files_bytes = kRange + kPageSize;
  EXPECT_EQ(code_of([&] { BufferPool pool(options); }), Errc::kInvalidOption);
  options.files_bytes = std::uint64_t{65} << 40;
  EXPECT_EQ(code_of([&] { BufferPool pool(options); }), Errc::kInvalidOption);
  options.files_bytes = kRange;
  options.page_header = true;
  EXPECT_EQ(code_of([&] { BufferPool pool(options); }), Errc::kInvalidOption);
  BufferPool pool(test::small_pool(temp, 64));
  EXPECT_EQ(code_of([&] { (void)pool.open_file({.path = temp.path()}); }), Errc::kInvalidOption)
      << "files_bytes is 0";
}

TEST(FileOpen, AnEmptyNewFileStays) {
  const TempFile temp;
  std::filesystem::remove(temp.path());
  BufferPool pool(files_only());
  pool.open_file({.path = temp.path()}).close();
  EXPECT_EQ(std::filesystem::file_size(temp.path()), 0U);
  File file = pool.open_file({.path = temp.path()});
  file.resize(5'000);
  put(pool, file, 0, "x");
  file.remove();
  EXPECT_FALSE(std::filesystem::exists(temp.path()));
  EXPECT_FALSE(file);
}

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

TEST(FileSize, StopsAtTheLimitOfTheProcess) {
  const TempFile temp;
  EXPECT_EQ(test::in_child([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{100'000, 100'000};
              ::setrlimit(RLIMIT_FSIZE, &limit);
              BufferPool pool(files_only());
              File file = pool.open_file({.path = temp.path()});
              file.resize(90'000);
              put(pool, file, 80'000, "below");
              if (code_of([&] { file.resize(200'000); }) != Errc::kDatabaseFull) return 1;
              file.close();
              return 0;
            }),
            0);
  EXPECT_EQ(read_all(temp.path()).substr(80'000, 5), "below");
}

TEST(Pin, KeepsThePageInMemoryAndWriters) {
  const TempFile temp;
  BufferPool pool(files_only(32));
  File file = pool.open_file({.path = temp.path()});
  file.resize(300 * kPageSize);
  put(pool, file, 0, "old");
  const Pin pin = pool.pin(file.page_id(0));
  EXPECT_EQ(pool.stats().pins, 1U);
  for (unsigned round = 0; round < 3; ++round) {
    for (unsigned n = 1; n < 300; ++n) put(pool, file, n * kPageSize, "x");
    OptimisticGuard guard;
    EXPECT_EQ(pool.try_fix(file.page_id(0), guard), TryFix::kFixed) << "in memory";
  }
  EXPECT_EQ(std::memcmp(pin.data(), "old", 3), 0);
  put(pool, file, 0, "new");  // a pin is no latch
  EXPECT_EQ(std::memcmp(pin.data(), "new", 3), 0);
  file.sync();
  EXPECT_EQ(read_all(temp.path()).substr(0, 3), "new") << "written back as any other";
}

TEST(Pin, IsBoundedAndCounted) {
  const TempFile temp;
  BufferPool pool(files_only(32));
  File file = pool.open_file({.path = temp.path()});
  file.resize(100 * kPageSize);
  std::vector<Pin> pins;
  for (unsigned n = 0; n < 32 / BufferPool::kMaxPinnedShare; ++n)
    pins.push_back(pool.pin(file.page_id(n)));
  EXPECT_EQ(code_of([&] { (void)pool.pin(file.page_id(50)); }), Errc::kPoolExhausted);
  for (unsigned n = 0; n < 100; ++n) (void)pool.fix_shared(file.page_id(n));
  pins.pop_back();
  pins.push_back(pool.pin(file.page_id(50)));
  EXPECT_EQ(pool.stats().pins, pins.size());
  pins.clear();
  EXPECT_EQ(pool.stats().pins, 0U);
  for (unsigned n = 0; n < 100; ++n) (void)pool.fix_shared(file.page_id(n));
}

TEST(Pin, IsInTheWayOfWhatWouldTakeThePage) {
  const TempFile temp;
  const TempFile database;
  PoolOptions options = test::small_pool(database, 32);
  options.files_bytes = kRange;
  options.frame_wait = std::chrono::milliseconds(50);
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path()});
  file.resize(10 * kPageSize);
  put(pool, file, 9 * kPageSize, "gone");
  put(pool, file, 4 * kPageSize, "kept");
  Pin pin = pool.pin(file.page_id(4));
  EXPECT_EQ(code_of([&] { file.close(); }), Errc::kBusy);
  EXPECT_TRUE(file);
  EXPECT_EQ(code_of([&] { file.remove(); }), Errc::kBusy);
  EXPECT_EQ(code_of([&] { file.resize(kPageSize); }), Errc::kBusy);
  EXPECT_EQ(file.size_bytes(), 5 * kPageSize) << "it ends behind the page that is in use";
  EXPECT_EQ(std::memcmp(pin.data(), "kept", 4), 0);
  const PageId page_id = pool.allocate().page_id();
  pin = pool.pin(page_id);
  ExclusiveGuard guard = pool.fix_exclusive(page_id);
  EXPECT_EQ(code_of([&] { pool.free(std::move(guard)); }), Errc::kBusy);
  guard.release_unmodified();  // NOLINT: free() has refused it
  pin.release();
  pool.free(pool.fix_exclusive(page_id));
  EXPECT_EQ(code_of([&] { (void)pool.pin(page_id); }), Errc::kInvalidPage) << "it is free";
  file.resize(kPageSize);
  file.close();
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Files of an embedder's own format in a pool: what include/vmcache/file.hpp says of their bytes,
// their size and their errors.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>

#include "pool/raw_files.hpp"
#include "support/code_of.hpp"
#include "support/in_child.hpp"

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

TEST_P(Files, WriteBackBringsTheNamedPagesToTheFileAndNoOthers) {
  const TempFile temp;
  const std::string before = pattern(8 * kPageSize, 1);
  const std::string after = pattern(8 * kPageSize, 2);
  write_all(temp.path(), before);
  BufferPool pool(options());
  File file = pool.open_file({.path = temp.path()});
  put(pool, file, 0, after);
  file.write_back(std::array<std::uint64_t, 3>{1, 2, 7});
  for (const std::uint64_t page : {0U, 1U, 2U, 3U, 6U, 7U}) {
    const bool written = page == 1 || page == 2 || page == 7;
    EXPECT_EQ(read_all(temp.path()).substr(page * kPageSize, kPageSize),
              (written ? after : before).substr(page * kPageSize, kPageSize))
        << "page " << page;
  }
  file.write_back();
  EXPECT_EQ(read_all(temp.path()), after);
  const std::uint64_t too_large = file.capacity_bytes() / kPageSize;
  EXPECT_EQ(code_of([&] { file.write_back(std::array{too_large}); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] {
              file.write_back(std::array<std::uint64_t, 2>{3, 3});
            }),
            Errc::kInvalidPage);
  file.close();
  EXPECT_EQ(code_of([&] { file.write_back(); }), Errc::kClosed);
}

TEST_P(Files, AFailedWriteBackIsToldAndThePagesStayDirty) {
  const TempFile temp;
  write_all(temp.path(), pattern(4 * kPageSize, 1));
  BufferPool pool(options());
  File file = pool.open_file({.path = temp.path()});
  put(pool, file, 0, pattern(4 * kPageSize, 2));
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{kPageSize, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_EQ(code_of([&] { file.write_back(std::array<std::uint64_t, 2>{0, 3}); }), Errc::kIo);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  file.write_back(std::array<std::uint64_t, 4>{0, 1, 2, 3});
  EXPECT_EQ(read_all(temp.path()), pattern(4 * kPageSize, 2));
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
  test::fail_next_sync(bad_temp.path());
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

// A page that somebody else writes is not in the way of who waits: that write ends.
TEST(FileSync, WaitsForAnotherWriteOfThePage) {
  const TempFile temp;
  PoolOptions options = files_only(64);
  options.storage = StorageKind::kPread;
  options.frame_wait = std::chrono::milliseconds(50);
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path()});
  file.resize(kPageSize);
  put(pool, file, 0, "first");
  const Stuck writes(temp);
  auto first = std::async(std::launch::async, [&] { file.write_back(); });
  writes.wait();
  put(pool, file, 0, "second");
  auto second = std::async(std::launch::async, [&] { file.sync(); });
  EXPECT_EQ(second.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  writes.let_go();
  first.get();
  second.get();
  EXPECT_EQ(read_all(temp.path()).substr(0, 6), "second");
}

// One page that stays latched is waited for, and the call then fails: not one after the other.
TEST(FileSync, WaitsForLatchedPagesOnceAndNotForEach) {
  constexpr unsigned kPages = 20;
  const TempFile temp;
  PoolOptions options = files_only(64);
  options.frame_wait = std::chrono::milliseconds(200);
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path()});
  file.resize(kPages * kPageSize);
  std::vector<ExclusiveGuard> held;
  for (unsigned n = 0; n < kPages; ++n) held.push_back(pool.fix_exclusive(file.page_id(n)));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(code_of([&] { file.sync(); }), Errc::kBusy);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kPages / 2 * options.frame_wait);
}

TEST(FileOpen, RefusesAPathWithANul) {
  const TempFile temp;
  BufferPool pool(files_only(64));
  EXPECT_EQ(code_of([&] {
              (void)pool.open_file({.path = temp.path().string() + std::string("-a\0b", 4)});
            }),
            Errc::kInvalidOption);
  EXPECT_FALSE(std::filesystem::exists(temp.path().string() + "-a"));
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
  EXPECT_EQ(code_of([&] { (void)pool.fix_shared(file.page_id(0), 2); }), Errc::kInvalidPage)
      << "it has three pages";
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

// What a path leads to later is of no matter to a file that is open.
TEST(FileRemove, ChangesNothingWhileAPageIsHeld) {
  const TempFile temp;
  PoolOptions options = files_only();
  options.frame_wait = std::chrono::milliseconds(50);
  BufferPool pool(options);
  File file = pool.open_file({.path = temp.path()});
  file.resize(6 * kPageSize);
  file.sync();
  const std::string bytes = pattern(6 * kPageSize, 7);
  put(pool, file, 0, bytes);
  Pin pin = pool.pin(file.page_id(3));
  EXPECT_EQ(code_of([&] { file.remove(); }), Errc::kBusy);
  pin.release();
  EXPECT_EQ(get(pool, file, 0, bytes.size()), bytes);
  file.close();
  EXPECT_EQ(read_all(temp.path()), bytes);
}

// A thousand small files are no thousand large pages of words.
TEST(FileMemory, OfSmallFilesIsSmall) {
  const TempFile temp;
  const auto resident_kib = [] {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
      std::uint64_t kib = 0;
      if (word == "VmRSS:" && status >> kib) return kib;
    }
    return std::uint64_t{0};
  };
  constexpr unsigned kFiles = 100;
  BufferPool pool(files_only(64, kFiles));
  std::vector<File> files;
  const std::uint64_t before = resident_kib();
  for (unsigned i = 0; i < kFiles; ++i) {
    files.push_back(pool.open_temporary({.folder = temp.path().parent_path()}));
    files.back().resize(kPageSize);
    put(pool, files.back(), 0, "x");
  }
  EXPECT_LT(resident_kib() - before, kFiles * 200);  // a large page has 2,048
}

TEST(FileNames, MayChangeWhileTheFileIsOpen) {
  const TempFile temp;
  const std::filesystem::path folder = temp.path().string() + ".d";
  EXPECT_EQ(test::in_child([&] {
              std::filesystem::create_directory(folder);
              std::filesystem::create_directory(folder / "other");
              std::filesystem::current_path(folder);
              BufferPool pool(files_only());
              File renamed = pool.open_file({.path = "renamed"});
              File gone = pool.open_file({.path = "gone"});
              File relative = pool.open_file({.path = "relative"});
              for (File* const file : {&renamed, &gone, &relative}) {
                file->resize(kPageSize);
                put(pool, *file, 0, "kept");
              }
              std::filesystem::rename("renamed", "new");
              std::filesystem::remove("gone");
              std::filesystem::current_path(folder / "other");
              write_all("relative", "another");
              for (File* const file : {&renamed, &gone, &relative}) file->sync();
              renamed.close();
              if (read_all(folder / "new").substr(0, 4) != "kept") return 1;
              if (read_all(folder / "relative").substr(0, 4) != "kept") return 2;
              relative.remove();
              if (std::filesystem::exists(folder / "relative")) return 3;
              return read_all("relative") == "another" ? 0 : 4;
            }),
            0);
  std::filesystem::remove_all(folder);
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

}  // namespace
}  // namespace vmcache

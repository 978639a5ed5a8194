// SPDX-License-Identifier: MIT
//
// Temporary files: what include/vmcache/file.hpp says of them under "Temporary".
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

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

//! A folder for scratch files and nothing else.
class Temporary : public testing::Test {
 protected:
  Temporary() : _folder(test::TempFile().path().string() + ".d") {
    std::filesystem::create_directory(_folder);
  }
  ~Temporary() override { std::filesystem::remove_all(_folder); }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  [[nodiscard]] TemporaryOptions options() const { return {.folder = _folder}; }
  [[nodiscard]] bool folder_is_empty() const { return std::filesystem::is_empty(_folder); }

 private:
  const std::filesystem::path _folder;
};

TEST_F(Temporary, NothingIsReadOrWrittenThatFitsInMemory) {
  BufferPool pool(files_only(64));
  File file = pool.open_temporary(options());
  EXPECT_EQ(file.size_bytes(), 0U);
  file.resize(40 * kPageSize);
  EXPECT_EQ(get(pool, file, 0, 40 * kPageSize), std::string(40 * kPageSize, '\0'));
  const std::string bytes = pattern(40 * kPageSize, 1);
  put(pool, file, 0, bytes);
  EXPECT_EQ(get(pool, file, 0, bytes.size()), bytes);
  EXPECT_TRUE(folder_is_empty());
  file.close();
  EXPECT_FALSE(file);
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.reads, 0U);
  EXPECT_EQ(stats.writes, 0U);
}

TEST_F(Temporary, WhatDoesNotFitComesBack) {
  constexpr std::uint64_t kPages = 300;
  BufferPool pool(files_only(64));
  File file = pool.open_temporary(options());
  file.resize(kPages * kPageSize);
  const std::string bytes = pattern(kPages * kPageSize, 2);
  put(pool, file, 0, bytes);
  EXPECT_EQ(get(pool, file, 0, bytes.size()), bytes);
  EXPECT_GT(pool.stats().writes, 0U);
  EXPECT_TRUE(folder_is_empty());
}

// A page that was in storage and is cut off comes back as zeros, not as what it was.
TEST_F(Temporary, WhatIsCutOffIsZerosAfterwards) {
  constexpr std::uint64_t kPages = 200;
  BufferPool pool(files_only(64));
  File file = pool.open_temporary(options());
  std::mt19937 random(3);
  std::string model(kPages * kPageSize, '\0');
  file.resize(model.size());
  for (unsigned round = 0; round < 20; ++round) {
    const std::string bytes = pattern(model.size() / 2, round);
    const std::size_t at = random() % (model.size() - bytes.size());
    model.replace(at, bytes.size(), bytes);
    put(pool, file, at, bytes);
    const std::size_t cut = random() % model.size();
    file.resize(cut);
    file.resize(model.size());
    std::fill(model.begin() + static_cast<std::ptrdiff_t>(cut), model.end(), '\0');
    ASSERT_EQ(get(pool, file, 0, model.size()), model) << "round " << round << ", cut " << cut;
  }
}

TEST_F(Temporary, IsGoneWithItsOwner) {
  BufferPool pool(files_only(64, 2));
  for (int i = 0; i < 8; ++i) {  // more than there are ranges
    File file = pool.open_temporary(options());
    file.resize(100 * kPageSize);
    put(pool, file, 0, pattern(100 * kPageSize, 4));
    if (i % 2 == 0) file.remove();
  }
  EXPECT_EQ(pool.stats().open_files, 0U);
  EXPECT_TRUE(folder_is_empty());
  File open = pool.open_temporary(options());
  open.resize(kPageSize);
  put(pool, open, 0, "dirty");
  pool.close();
}

TEST_F(Temporary, LivesBesideADatabaseAndFiles) {
  const test::TempFile temp;
  PoolOptions both = files_only(64);
  both.path = temp.path();
  both.capacity_bytes = kRange;
  BufferPool pool(both);
  File file = pool.open_temporary(options());
  file.resize(200 * kPageSize);
  const std::string bytes = pattern(200 * kPageSize, 5);
  std::vector<PageId> pages;
  for (unsigned i = 0; i < 200; ++i) {
    put(pool, file, i * kPageSize, bytes.substr(i * kPageSize, kPageSize));
    pages.push_back(pool.allocate().page_id());
  }
  const std::uint64_t before = pool.stats().writes;
  pool.checkpoint();
  const std::uint64_t once = pool.stats().writes;
  pool.checkpoint();
  // The pages of the file are dirty, and a checkpoint leaves them alone.
  EXPECT_LE(pool.stats().writes, once + 1) << before;
  EXPECT_EQ(get(pool, file, 0, bytes.size()), bytes);
}

TEST_F(Temporary, RefusesWhatMakesNoSense) {
  BufferPool pool(files_only(64, 2));
  File file = pool.open_temporary(options());
  EXPECT_EQ(code_of([&] { file.sync(); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { file.flush(); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { (void)file.dirty_pages(); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { file.resize(kRange + 1); }), Errc::kDatabaseFull);
  EXPECT_EQ(code_of([&] { (void)pool.open_temporary({.folder = "/there/is/none"}); }),
            Errc::kInvalidOption);
  TemporaryOptions large = options();
  large.capacity_bytes = 3 * kRange;
  EXPECT_EQ(code_of([&] { (void)pool.open_temporary(large); }), Errc::kInvalidOption);
  large.capacity_bytes = 2 * kRange;
  EXPECT_EQ(code_of([&] { (void)pool.open_temporary(large); }), Errc::kDatabaseFull);
  EXPECT_TRUE(folder_is_empty());
}

TEST_F(Temporary, AFullDiskIsFoundByResize) {
  EXPECT_EQ(test::in_child([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{100'000, 100'000};
              ::setrlimit(RLIMIT_FSIZE, &limit);
              BufferPool pool(files_only());
              File file = pool.open_temporary(options());
              file.resize(80'000);
              put(pool, file, 70'000, "kept");
              if (code_of([&] { file.resize(200'000); }) != Errc::kDatabaseFull) return 1;
              return get(pool, file, 70'000, 4) == "kept" ? 0 : 2;
            }),
            0);
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Page formats and a log of the embedder's own: include/vmcache/page_format.hpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "pool/raw_files.hpp"
#include "support/code_of.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::read_all;
using test::TempFile;

//! A page of this format begins with its LSN and a sum of all other words. In storage all bytes but
//! these are encrypted, after a fashion.
struct Front {
  Lsn lsn = 0;
  std::uint64_t sum = 0;
};

class Secret final : public PageFormat {
 public:
  void before_write(std::uint64_t offset, std::span<std::byte> bytes) const noexcept override {
    Front front = front_of(bytes);
    front.sum = sum_of(offset, front.lsn, bytes);
    crypt(bytes);
    std::memcpy(bytes.data(), &front, sizeof front);
    ++written;
  }
  [[nodiscard]] Status after_read(std::uint64_t offset,
                                  std::span<std::byte> bytes) const noexcept override {
    ++read;
    const bool zeros = std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
    if (zeros) return {};
    crypt(bytes);
    const Front front = front_of(bytes);
    const std::uint64_t sum = sum_of(offset, front.lsn, bytes);
    if (sum == front.sum) return {};
    return {.code = Errc::kChecksum, .expected = sum, .found = front.sum};
  }
  [[nodiscard]] Lsn lsn_of(std::span<const std::byte> bytes) const noexcept override {
    return front_of(bytes).lsn;
  }

  mutable std::atomic<int> written{0};
  mutable std::atomic<int> read{0};

 private:
  static Front front_of(std::span<const std::byte> bytes) noexcept {
    Front front;
    std::memcpy(&front, bytes.data(), sizeof front);
    return front;
  }
  static void crypt(std::span<std::byte> bytes) noexcept {
    for (std::byte& b : bytes.subspan(sizeof(Front))) b ^= std::byte{0x5a};
  }
  static std::uint64_t sum_of(std::uint64_t offset, Lsn lsn,
                              std::span<const std::byte> bytes) noexcept {
    std::uint64_t sum = offset + lsn + 1;
    for (const std::byte b : bytes.subspan(sizeof(Front)))
      sum = sum * 31 + static_cast<std::uint64_t>(b);
    return sum;
  }
};

//! A log that is durable as far as the test says.
class Log final : public WriteAhead {
 public:
  [[nodiscard]] Lsn durable_lsn() const noexcept override { return durable; }
  void want_durable(Lsn lsn) noexcept override { wanted = std::max(wanted.load(), lsn); }
  [[nodiscard]] int log_error() const noexcept override { return error; }

  std::atomic<Lsn> durable{0};
  std::atomic<Lsn> wanted{0};
  std::atomic<int> error{0};
};

PoolOptions pool_options() {
  PoolOptions options;
  options.pool_bytes = 32 * kPageSize;
  options.files_bytes = 2 * PoolOptions::kFileRangeBytes;
  options.frame_wait = std::chrono::milliseconds(200);
  options.memory = test::default_memory;
  return options;
}

void change(BufferPool& pool, const File& file, std::uint64_t page, Lsn lsn,
            const std::string& text) {
  ExclusiveGuard guard = pool.fix_exclusive(file.page_id(page));
  guard.as<Front>()->lsn = lsn;
  std::memcpy(guard.data() + sizeof(Front), text.data(), text.size());
}

std::string text_of(BufferPool& pool, const File& file, std::uint64_t page, std::size_t bytes) {
  const SharedGuard guard = pool.fix_shared(file.page_id(page));
  return {reinterpret_cast<const char*>(guard.data()) + sizeof(Front), bytes};
}

TEST(FileFormat, IsOfStorageOnly) {
  const TempFile temp;
  const Secret format;
  BufferPool pool(pool_options());
  File file = pool.open_file({.path = temp.path(), .format = &format});
  file.resize(100 * kPageSize);
  for (unsigned n = 0; n < 100; ++n) change(pool, file, n, 0, "in the clear");
  for (unsigned n = 0; n < 100; ++n) EXPECT_EQ(text_of(pool, file, n, 12), "in the clear");
  EXPECT_GT(format.read, 100) << "of a pool of 32 pages";
  file.sync();
  for (unsigned n = 0; n < 100; ++n) EXPECT_EQ(text_of(pool, file, n, 12), "in the clear");
  file.close();
  EXPECT_GE(format.written, 100);
  EXPECT_EQ(read_all(temp.path()).find("in the clear"), std::string::npos);
}

TEST(FileFormat, SaysWhatIsWrongWithAPage) {
  const TempFile temp;
  const Secret format;
  {
    BufferPool pool(pool_options());
    File file = pool.open_file({.path = temp.path(), .format = &format});
    file.resize(4 * kPageSize);
    for (unsigned n = 0; n < 3; ++n) change(pool, file, n, 0, "text");
  }
  std::string bytes = read_all(temp.path());
  bytes[kPageSize + 100] ^= 1;
  std::ofstream(temp.path(), std::ios::binary) << bytes;
  BufferPool pool(pool_options());
  File file = pool.open_file({.path = temp.path(), .format = &format});
  EXPECT_EQ(text_of(pool, file, 0, 4), "text");
  for (unsigned round = 0; round < 2; ++round) {
    try {
      (void)text_of(pool, file, 1, 4);
      ADD_FAILURE() << "a changed byte";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kChecksum);
      EXPECT_EQ(error.page_id(), file.page_id(1));
    }
  }
  EXPECT_EQ(text_of(pool, file, 2, 4), "text");
}

TEST(FileLog, ComesBeforeThePage) {
  const TempFile temp;
  const Secret format;
  Log log;
  log.durable = 50;
  BufferPool pool(pool_options());
  File file = pool.open_file({.path = temp.path(), .format = &format, .write_ahead = &log});
  file.resize(2 * kPageSize);
  change(pool, file, 0, 40, "early");
  change(pool, file, 1, 100, "late");
  EXPECT_EQ(code_of([&] { file.sync(); }), Errc::kBusy) << "this log is its thread's to flush";
  EXPECT_EQ(log.wanted, 100U);
  const std::string bytes = read_all(temp.path());
  EXPECT_EQ(bytes.substr(kPageSize), std::string(kPageSize, '\0')) << "not before the log";
  log.durable = 100;
  file.sync();
  EXPECT_NE(read_all(temp.path()).substr(kPageSize), std::string(kPageSize, '\0'));
  file.close();
  // A page of another history than the log.
  log.durable = 99;
  file = pool.open_file({.path = temp.path(), .format = &format, .write_ahead = &log});
  EXPECT_EQ(text_of(pool, file, 0, 5), "early");
  EXPECT_EQ(code_of([&] { (void)text_of(pool, file, 1, 4); }), Errc::kBeyondLog);
  file.close();
  EXPECT_EQ(code_of([&] { (void)pool.open_file({.path = temp.path(), .write_ahead = &log}); }),
            Errc::kInvalidOption)
      << "where would the LSN be?";
}

TEST(FileLog, ThatHasFailedLeavesNothingWritten) {
  const TempFile temp;
  const Secret format;
  Log log;
  BufferPool pool(pool_options());
  File file = pool.open_file({.path = temp.path(), .format = &format, .write_ahead = &log});
  file.resize(kPageSize);
  change(pool, file, 0, 10, "lost");
  log.durable = 10;
  log.error = EIO;
  EXPECT_EQ(code_of([&] { file.sync(); }), Errc::kIo);
  EXPECT_EQ(read_all(temp.path()), std::string(kPageSize, '\0'));
  file.close();
  EXPECT_FALSE(file);
  EXPECT_EQ(read_all(temp.path()), std::string(kPageSize, '\0'));
  pool.close();
}

TEST(FileFormat, TakesWholePages) {
  const TempFile temp;
  const Secret format;
  std::ofstream(temp.path()) << "no page";
  BufferPool pool(pool_options());
  EXPECT_EQ(code_of([&] { (void)pool.open_file({.path = temp.path(), .format = &format}); }),
            Errc::kInvalidOption);
  EXPECT_EQ(read_all(temp.path()), "no page");
  std::filesystem::resize_file(temp.path(), 0);
  File file = pool.open_file({.path = temp.path(), .format = &format});
  EXPECT_EQ(code_of([&] { file.resize(5000); }), Errc::kInvalidOption);
  EXPECT_EQ(file.size_bytes(), 0U);
}

//! A recovery that begins where the checkpoint says finds all that is not in storage.
TEST(FileLog, DirtyPagesSayWhereRecoveryBegins) {
  const TempFile temp;
  const Secret format;
  Log log;
  BufferPool pool(pool_options());
  File file = pool.open_file({.path = temp.path(), .format = &format, .write_ahead = &log});
  file.resize(8 * kPageSize);
  EXPECT_TRUE(file.dirty_pages().empty());
  const auto logged = [&](std::uint64_t page, Lsn lsn) {
    log.durable = lsn - 1;
    change(pool, file, page, lsn, "text");
    log.durable = lsn;
  };
  logged(2, 10);
  logged(5, 20);
  logged(2, 30);
  std::vector<DirtyPage> dirty = file.dirty_pages();
  ASSERT_EQ(dirty.size(), 2U);
  EXPECT_EQ(dirty[0].page, 2U);
  EXPECT_LE(dirty[0].recovery_lsn, 10U) << "its first change";
  EXPECT_EQ(dirty[1].page, 5U);
  EXPECT_LE(dirty[1].recovery_lsn, 20U);
  EXPECT_GE(dirty[1].recovery_lsn, 10U) << "it was in storage then";
  file.sync();
  EXPECT_TRUE(file.dirty_pages().empty());
  logged(2, 40);
  dirty = file.dirty_pages();
  ASSERT_EQ(dirty.size(), 1U);
  EXPECT_LE(dirty[0].recovery_lsn, 40U);
  EXPECT_GE(dirty[0].recovery_lsn, 30U) << "all before is in storage";
  file.flush();
  EXPECT_EQ(file.dirty_pages().size(), 1U) << "flush() writes no page";
  // A write that fails has changed nothing.
  log.error = EIO;
  EXPECT_EQ(code_of([&] { file.sync(); }), Errc::kIo);
  log.error = 0;
  dirty = file.dirty_pages();
  ASSERT_EQ(dirty.size(), 1U);
  EXPECT_LE(dirty[0].recovery_lsn, 40U);
  const ExclusiveGuard latched = pool.fix_exclusive(file.page_id(7));
  EXPECT_EQ(file.dirty_pages().size(), 2U) << "whoever holds it may have logged its change";
}

}  // namespace
}  // namespace vmcache

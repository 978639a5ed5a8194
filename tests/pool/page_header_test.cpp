// SPDX-License-Identifier: MIT
//
// Pages with a header: they get a checksum when written, which is checked when they are loaded, and
// are never written before their log.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "support/options.hpp"
#include "vmcache/btree.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmcache {
namespace {

using test::TempFile;

PoolOptions with_headers(const TempFile& file, std::uint64_t frames = 64) {
  PoolOptions options = test::small_pool(file, frames);
  options.page_header = true;
  return options;
}

//! Writes `pages` pages, each with its id behind its header, and returns their ids.
std::vector<PageId> make_pages(BufferPool& pool, unsigned pages, Lsn lsn = 0) {
  std::vector<PageId> ids;
  for (unsigned i = 0; i < pages; ++i) {
    const ExclusiveGuard guard = pool.allocate();
    std::memcpy(guard.data(), &lsn, sizeof lsn);
    const PageId page_id = guard.page_id();
    std::memcpy(guard.data() + sizeof(PageHeader), &page_id, sizeof page_id);
    ids.push_back(page_id);
  }
  return ids;
}

PageId text_of(const SharedGuard& guard) {
  PageId page_id = 0;
  std::memcpy(&page_id, guard.data() + sizeof(PageHeader), sizeof page_id);
  return page_id;
}

std::vector<char> read_page(const TempFile& file, PageId page_id) {
  std::vector<char> bytes(kPageSize);
  std::ifstream stream(file.path(), std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(page_id * kPageSize));
  stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}
void write_page(const TempFile& file, PageId page_id, const std::vector<char>& bytes) {
  std::fstream stream(file.path(), std::ios::binary | std::ios::in | std::ios::out);
  stream.seekp(static_cast<std::streamoff>(page_id * kPageSize));
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

Status status_of_load(const PoolOptions& options, PageId page_id) {
  BufferPool pool(options);
  try {
    (void)pool.fix_shared(page_id);
  } catch (const Error& error) {
    return error.status();
  }
  return {};
}

TEST(PageHeader, WhatIsWrittenIsReadAgainAlsoInExtents) {
  const TempFile file;
  PageId large = kNoPage;
  std::vector<PageId> ids;
  {
    BufferPool pool(with_headers(file));
    ids = make_pages(pool, 200);  // more than its frames
    const ExclusiveGuard guard = pool.allocate(3);
    large = guard.page_id();
    std::memset(guard.data() + sizeof(PageHeader), 'x', 8 * kPageSize - sizeof(PageHeader));
  }
  BufferPool pool(with_headers(file));
  for (const PageId page_id : ids) EXPECT_EQ(text_of(pool.fix_shared(page_id)), page_id);
  EXPECT_EQ(pool.fix_shared(large, 3).data()[8 * kPageSize - 1], std::byte{'x'});
}

TEST(PageHeader, AFlippedBitIsAnErrorWithThePageAndBothValues) {
  const TempFile file;
  PageId page_id = kNoPage;
  {
    BufferPool pool(with_headers(file));
    page_id = make_pages(pool, 3)[1];
  }
  const std::vector<char> good = read_page(file, page_id);
  for (std::size_t bit = 0; bit < kPageSize * 8; bit += 3989) {
    std::vector<char> bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    write_page(file, page_id, bad);
    const Status status = status_of_load(with_headers(file), page_id);
    EXPECT_EQ(status.code, Errc::kChecksum) << "bit " << bit;
    EXPECT_EQ(status.page_id, page_id);
    EXPECT_NE(status.expected, status.found);
  }
  write_page(file, page_id, good);
  EXPECT_TRUE(status_of_load(with_headers(file), page_id).ok());
}

TEST(PageHeader, AMisdirectedWriteIsAnErrorThatNamesBothPages) {
  const TempFile file;
  std::vector<PageId> ids;
  {
    BufferPool pool(with_headers(file));
    ids = make_pages(pool, 3);
  }
  write_page(file, ids[2], read_page(file, ids[1]));
  const Status status = status_of_load(with_headers(file), ids[2]);
  EXPECT_EQ(status.code, Errc::kWrongPage);
  EXPECT_EQ(status.page_id, ids[2]);
  EXPECT_EQ(status.expected, ids[2]);
  EXPECT_EQ(status.found, ids[1]);
  EXPECT_NE(status.to_string().find(std::to_string(ids[1])), std::string::npos);
}

TEST(PageHeader, ADatabaseIsOpenedInTheFormatItWasMadeIn) {
  const TempFile plain;
  { BufferPool pool(test::small_pool(plain, 64)); }
  EXPECT_THROW(BufferPool{with_headers(plain)}, Error);
  const TempFile file;
  { BufferPool pool(with_headers(file)); }
  EXPECT_THROW(BufferPool{test::small_pool(file, 64)}, Error);
}

//! A log that is durable as far as the test says.
class FakeLog final : public WriteAhead {
 public:
  [[nodiscard]] Lsn durable_lsn() const noexcept override { return durable; }
  void want_durable(Lsn lsn) noexcept override {
    ++wants;
    wanted = std::max(wanted.load(), lsn);
  }
  [[nodiscard]] int log_error() const noexcept override { return error; }

  std::atomic<Lsn> durable{0};
  std::atomic<Lsn> wanted{0};
  std::atomic<int> error{0};
  std::atomic<unsigned> wants{0};
};

TEST(WriteAhead, NeedsTheHeaderThatHasTheLsn) {
  const TempFile file;
  FakeLog log;
  PoolOptions options = test::small_pool(file, 64);
  options.write_ahead = &log;
  EXPECT_THROW(BufferPool{options}, Error);
}

TEST(WriteAhead, ACheckpointWaitsForTheLogOfEveryPage) {
  const TempFile file;
  FakeLog log;
  PoolOptions options = with_headers(file);
  options.write_ahead = &log;
  BufferPool pool(options);
  // A clean page lies between, so that they are written apart.
  const std::vector<PageId> ids = make_pages(pool, 21);
  pool.checkpoint();
  const std::uint64_t before = pool.stats().written_pages;
  for (std::size_t n = 0; n < ids.size(); ++n) {
    if (n == 10) continue;
    const ExclusiveGuard guard = pool.fix_exclusive(ids[n]);
    const Lsn lsn = n < 10 ? 100 : 200;
    std::memcpy(guard.data(), &lsn, sizeof lsn);
  }
  std::atomic<bool> done{false};
  std::thread thread([&] {
    pool.checkpoint();
    done = true;
  });
  while (log.wanted < 200) std::this_thread::yield();
  EXPECT_FALSE(done);
  EXPECT_EQ(pool.stats().written_pages, before) << "a page was written before its log";
  for (const PageId page_id : ids) {
    ExclusiveGuard guard;
    EXPECT_EQ(pool.try_fix(page_id, guard), TryFix::kFixed)
        << "latched while it waits for the log: " << page_id;
    if (guard) guard.release_unmodified();
  }
  log.durable = 150;
  while (pool.stats().written_pages < before + 10) std::this_thread::yield();
  EXPECT_FALSE(done);
  EXPECT_EQ(pool.stats().written_pages, before + 10);
  log.durable = 200;
  thread.join();
  EXPECT_EQ(pool.stats().written_pages, before + 20);
}

TEST(WriteAhead, EvictionAndShrinkingWaitForTheLog) {
  using NeedsFrames = void (*)(BufferPool&);
  for (const NeedsFrames needs_frames :
       {NeedsFrames{[](BufferPool& pool) { (void)make_pages(pool, 40, 100); }},
        NeedsFrames{[](BufferPool& pool) { pool.resize(16 * kPageSize); }}}) {
    const TempFile file;
    FakeLog log;
    PoolOptions options = with_headers(file);
    options.write_ahead = &log;
    BufferPool pool(options);
    (void)make_pages(pool, 60, 100);
    std::thread thread([&] { needs_frames(pool); });
    while (log.wanted < 100) std::this_thread::yield();
    EXPECT_EQ(pool.stats().writes, 0U) << "a page was written before its log";
    log.durable = 100;
    thread.join();
    EXPECT_GT(pool.stats().writes, 0U);
  }
}

TEST(PageHeaders, LeaveLargeValuesOfATreeTheRestOfTheirExtents) {
  const TempFile file;
  const PoolOptions options = with_headers(file, 1024);
  constexpr std::size_t kFits = (kPageSize << kMaxOrder) - sizeof(PageHeader);
  const std::vector<std::size_t> sizes = {kPageSize, kFits, kFits + 1, 2 * kFits, 2 * kFits + 1};
  const auto value_of = [](std::size_t size) {
    std::string value(size, 'v');
    for (std::size_t at = 0; at < size; at += 1000)
      value[at] = static_cast<char>('a' + at / 1000 % 26);
    return value;
  };
  PageId root = kNoPage;
  {
    BufferPool pool(options);
    root = BTree::create(pool);
    BTree tree(pool, root);
    for (const std::size_t size : sizes) tree.insert(std::to_string(size), value_of(size));
    pool.close();
  }
  BufferPool pool(options);
  const BTree tree(pool, root);
  for (const std::size_t size : sizes)
    EXPECT_TRUE(tree.get(std::to_string(size)) == value_of(size)) << size;
  EXPECT_EQ(tree.verify().large_pages, 2U + 256 + 257 + 512 + 513);
}

TEST(WriteAhead, AfterTheLogHasFailedNoPageIsWrittenAndAllStayDirty) {
  const TempFile file;
  FakeLog log;
  PoolOptions options = with_headers(file);
  options.write_ahead = &log;
  BufferPool pool(options);
  (void)make_pages(pool, 10, 100);
  log.error = EIO;
  log.durable = 100;
  const auto writes_left = [&] { return pool.stats().written_pages - pool.stats().write_errors; };
  try {
    pool.checkpoint();
    ADD_FAILURE() << "a checkpoint without a log";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kIo);
    EXPECT_EQ(error.os_error(), EIO);
  }
  EXPECT_EQ(writes_left(), 0U);
  log.error = 0;  // a fake may recover: the pages are still there to be written
  pool.checkpoint();
  EXPECT_EQ(writes_left(), 10U);
}

}  // namespace
}  // namespace vmcache

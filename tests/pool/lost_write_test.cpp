// SPDX-License-Identifier: MIT
//
// A device that says it has written a page and has not, or has written it elsewhere: the old bytes
// have a right checksum.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "support/database.hpp"
#include "support/options.hpp"
#include "support/stepping_storage.hpp"
#include "support/wrapped_storage.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::TempFile;

constexpr std::uint64_t kFrames = 64;

//! What the device does with writes of one page.
struct Betrayal {
  std::atomic<PageId> lost{kNoPage};        //!< writes of that page end well and change nothing
  std::atomic<PageId> instead_of{kNoPage};  //!< writes of that page go to the one after it
};

class LyingStorage final : public test::WrappedStorage {
 public:
  LyingStorage(std::unique_ptr<Storage> inner, Betrayal& betrayal)
      : WrappedStorage(std::move(inner)), _betrayal(betrayal) {}
  //! Its transfers are this storage's own.
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool) override {
    return std::make_unique<test::SteppingQueue>(*this, depth, _uses);
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    int error = 0;
    for (; !bytes.empty() && error == 0; bytes = bytes.subspan(kPageSize), offset += kPageSize)
      error = write_page(offset, bytes.first(kPageSize));
    return error;
  }

 private:
  int write_page(std::uint64_t offset, std::span<const std::byte> page) {
    const PageId page_id = offset / kPageSize;
    if (page_id == kNoPage)
      return inner().write(offset, page);  // the header's, and the sign for "no page"
    if (page_id == _betrayal.lost) return 0;
    return inner().write(page_id == _betrayal.instead_of ? offset + kPageSize : offset, page);
  }

  Betrayal& _betrayal;
  test::Uses _uses;
};

PoolOptions checked(const TempFile& file, bool page_header = true) {
  PoolOptions options = test::small_pool(file, kFrames);
  options.page_header = page_header;
  options.lost_write_check = true;
  return options;
}

constexpr std::size_t kTextAt = sizeof(PageHeader);

void write_number(const ExclusiveGuard& guard, std::uint64_t number) {
  std::memcpy(guard.data() + kTextAt, &number, sizeof number);
}
std::uint64_t number_in(const SharedGuard& guard) {
  std::uint64_t number = 0;
  std::memcpy(&number, guard.data() + kTextAt, sizeof number);
  return number;
}

std::vector<PageId> make_pages(BufferPool& pool, unsigned pages) {
  std::vector<PageId> ids;
  for (unsigned i = 0; i < pages; ++i) {
    const ExclusiveGuard guard = pool.allocate();
    write_number(guard, guard.page_id());
    ids.push_back(guard.page_id());
  }
  return ids;
}

//! Reads them, more than the pool holds, so that others leave it.
void read_all(BufferPool& pool, const std::vector<PageId>& ids) {
  for (int round = 0; round < 2; ++round) {
    for (const PageId page_id : ids) (void)pool.fix_shared(page_id);
  }
}

Status status_of_fix(BufferPool& pool, PageId page_id) {
  try {
    (void)pool.fix_shared(page_id);
  } catch (const Error& error) {
    return error.status();
  }
  return {};
}

class LostWrite : public testing::TestWithParam<bool> {
 protected:
  LostWrite() : _pool(options()), _ids(make_pages(_pool, 4 * kFrames)) {
    _pool.checkpoint();
    evict();
  }
  //! Lets the first two pages leave the pool.
  void evict() { read_all(_pool, {_ids.begin() + 2, _ids.end()}); }

  Betrayal _betrayal;

 private:
  PoolOptions options() {
    PoolOptions options = checked(_file, GetParam());
    test::wrap_storage<LyingStorage>(options, _betrayal);
    return options;
  }

  const TempFile _file;

 protected:
  BufferPool _pool;
  const std::vector<PageId> _ids;
};

TEST_P(LostWrite, IsToldByTheNextLoad) {
  const PageId victim = _ids[0];
  _betrayal.lost = victim;
  write_number(_pool.fix_exclusive(victim), 42);
  _pool.checkpoint();
  EXPECT_EQ(number_in(_pool.fix_shared(victim)), 42U) << "it is in memory still";
  evict();
  const Status status = status_of_fix(_pool, victim);
  EXPECT_EQ(status.code, Errc::kLostWrite);
  EXPECT_EQ(status.page_id, victim);
  EXPECT_NE(status.expected, status.found);
  EXPECT_EQ(status_of_fix(_pool, victim).code, Errc::kLostWrite) << "the second time as well";
  EXPECT_TRUE(status_of_fix(_pool, _ids[1]).ok());
}

TEST_P(LostWrite, AMisdirectedOneIsToldAtBothPlaces) {
  _betrayal.instead_of = _ids[0];
  write_number(_pool.fix_exclusive(_ids[0]), 42);
  _pool.checkpoint();
  evict();
  EXPECT_EQ(status_of_fix(_pool, _ids[0]).code, Errc::kLostWrite);
  EXPECT_EQ(status_of_fix(_pool, _ids[1]).code, GetParam() ? Errc::kWrongPage : Errc::kLostWrite);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutHeaders, LostWrite, testing::Bool());

//! Four threads allocate, change, free and read in four times the pool, beside checkpoints.
TEST(LostWriteCheck, NeverCriesWolf) {
  const TempFile file;
  BufferPool pool(checked(file));
  std::atomic<bool> stop{false};
  const auto work = [&](unsigned seed) {
    std::mt19937_64 random(seed);
    std::vector<Extent> mine;
    for (int i = 0; i < 3000; ++i) {
      const unsigned what = random() % 8;
      if (mine.size() < kFrames && what < 3) {
        const unsigned order = random() % 8 == 0 ? 1 : 0;
        const ExclusiveGuard guard = pool.allocate(order);
        write_number(guard, guard.page_id());
        mine.push_back({guard.page_id(), order});
      } else if (!mine.empty()) {
        const std::size_t n = random() % mine.size();
        const Extent extent = mine[n];
        if (what == 3) {
          pool.free(pool.fix_exclusive(extent.page_id, extent.order));
          mine[n] = mine.back();
          mine.pop_back();
        } else if (what < 6) {
          const ExclusiveGuard guard = pool.fix_exclusive(extent.page_id, extent.order);
          guard.data()[kPageSize - 1] = static_cast<std::byte>(i);
        } else {
          EXPECT_EQ(number_in(pool.fix_shared(extent.page_id, extent.order)), extent.page_id);
        }
      }
    }
  };
  std::thread checkpoints([&] {
    while (!stop) pool.checkpoint();
  });
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  stop = true;
  checkpoints.join();
}

TEST(Digest, IsTheSameAfterTheNextOpen) {
  const TempFile file;
  std::uint64_t before = 0;
  {
    BufferPool pool(checked(file));
    const std::vector<PageId> ids = make_pages(pool, 3 * kFrames);
    for (std::size_t i = 0; i < ids.size(); i += 5) pool.free(pool.fix_exclusive(ids[i]));
    const ExclusiveGuard extent = pool.allocate(3);
    write_number(extent, 1);
  }
  {
    BufferPool pool(checked(file));
    before = pool.digest();
    EXPECT_EQ(pool.digest(), before);
  }
  BufferPool pool(checked(file));
  EXPECT_EQ(pool.digest(), before);
  write_number(pool.fix_exclusive(2), 42);
  const std::uint64_t changed = pool.digest();
  EXPECT_NE(changed, before);
  write_number(pool.fix_exclusive(2), 2);
  EXPECT_EQ(pool.digest(), before) << "with the bytes of before";
}

//! What checksums in the pages cannot tell: it is a whole page, with its checksum and
//! page id.
TEST(Digest, TellsAnOlderVersionOfAPage) {
  const TempFile file;
  Betrayal betrayal;
  std::uint64_t digest = 0;
  PoolOptions options = checked(file);
  test::wrap_storage<LyingStorage>(options, betrayal);
  {
    BufferPool pool(options);
    make_pages(pool, 3 * kFrames);
    pool.checkpoint();
    betrayal.lost = 7;
    write_number(pool.fix_exclusive(7), 42);
    digest = pool.digest();
  }
  BufferPool pool(options);
  EXPECT_TRUE(status_of_fix(pool, 7).ok()) << "its header is that of a sound page";
  EXPECT_NE(pool.digest(), digest);
}

TEST(Digest, NeedsTheOption) {
  const TempFile file;
  BufferPool pool(test::small_pool(file, kFrames));
  EXPECT_EQ(code_of([&] { (void)pool.digest(); }), Errc::kInvalidOption);
}

//! Of a database, whose pages are also written by its recovery.
TEST(Digest, OfADatabaseIsTheSameAfterTheNextOpen) {
  const TempFile pages;
  const TempFile log;
  DatabaseOptions options = test::on_files(pages, log);
  options.pool.lost_write_check = true;
  std::uint64_t digest = 0;
  {
    Database database(options);
    for (int i = 0; i < 2000; ++i) {
      Transaction transaction(database);
      transaction.put(0, std::to_string(i), std::string(100, 'v'));
      transaction.commit_no_wait();
    }
    digest = database.pool().digest();
  }
  Database database(options);
  EXPECT_EQ(database.pool().digest(), digest);
}

}  // namespace
}  // namespace vmcache

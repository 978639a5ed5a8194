// SPDX-License-Identifier: MIT
//
// Databases in a shared pool: what include/vmcache/paged_file.hpp says of one of them, and the
// rules T1 to T5 of libvmcache/pool/paged_store.hpp.
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pool/raw_files.hpp"
#include "support/code_of.hpp"
#include "support/in_child.hpp"
#include "vmcache/btree.hpp"
#include "vmcache/paged_file.hpp"
#include "vmcache/scan.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::fail_next_sync;
using test::files_only;
using test::get;
using test::pattern;
using test::put;
using test::read_all;
using test::small_pool;
using test::TempFile;
using test::write_all;

constexpr int kEntries = 400;

void fill(BufferPool& pages, const std::string& name) {
  pages.set_root(0, BTree::create(pages));
  BTree tree(pages, pages.root(0));
  for (int n = 0; n < kEntries; ++n)
    tree.insert(name + std::to_string(n), pattern(100, static_cast<unsigned>(n)));
}

void expect_filled(BufferPool& pages, const std::string& name) {
  BTree tree(pages, pages.root(0));
  EXPECT_EQ(tree.verify().entries, static_cast<std::uint64_t>(kEntries)) << name;
  EXPECT_EQ(tree.get(name + "7"), pattern(100, 7)) << name;
}

//! The options of a file of that pool, with another patience for the pool where a test waits.
PoolOptions impatient(std::uint64_t pages = 64) {
  PoolOptions options = files_only(pages);
  options.frame_wait = std::chrono::milliseconds(50);
  return options;
}

TEST(PagedFile, SeveralBesideADatabaseAndARawFileInAnyOrder) {
  const TempFile one;
  const TempFile two;
  const TempFile own;
  const TempFile raw;
  PoolOptions options = small_pool(own, 16);  // much less than there is
  options.files_bytes = 8 * test::kRange;
  {
    BufferPool pool(options);
    PagedFile first(pool, {.path = one.path()});
    PagedFile second(pool, {.path = two.path()});
    File bytes = pool.open_file({.path = raw.path()});
    bytes.resize(300'000);
    fill(first, "first");
    put(pool, bytes, 0, pattern(300'000, 5));
    fill(pool, "own");
    fill(second, "second");
    first.checkpoint();
    expect_filled(first, "first");
    EXPECT_EQ(pool.stats().open_files, 3U);
    second.close();
    expect_filled(first, "first");
    EXPECT_TRUE(get(pool, bytes, 0, 300'000) == pattern(300'000, 5));
  }  // the destructors close the rest
  EXPECT_TRUE(read_all(raw.path()) == pattern(300'000, 5));
  BufferPool pool(options);
  File bytes = pool.open_file({.path = raw.path()});
  PagedFile second(pool, {.path = two.path(), .create = false});
  PagedFile first(pool, {.path = one.path(), .create = false});
  expect_filled(first, "first");
  expect_filled(second, "second");
  expect_filled(pool, "own");
  EXPECT_TRUE(get(pool, bytes, 0, 300'000) == pattern(300'000, 5));
}

TEST(PagedFile, IsWhatAPoolMakesOfAFileOfItsOwn) {
  for (const bool page_header : {false, true}) {
    const TempFile file;
    PoolOptions alone = small_pool(file, 32);
    alone.page_header = page_header;
    BufferPool pool(files_only());
    const PagedFileOptions shared{.path = file.path(), .page_header = page_header};
    {
      PagedFile made(pool, shared);
      fill(made, "k");
      const PageId freed = made.allocate(2).page_id();
      ASSERT_TRUE(made.try_free({freed, 2}));
      EXPECT_EQ(code_of([&] { BufferPool other(alone); }), Errc::kInUse);
    }
    PageId next = kNoPage;
    {
      BufferPool own(alone);
      expect_filled(own, "k");
      next = own.allocate(2).page_id();  // what was freed there
      EXPECT_LT(next + 4, own.stats().database_pages + 1);
      BTree(own, own.root(0)).insert("x", "y");
    }
    PagedFile again(pool, shared);
    EXPECT_EQ(BTree(again, again.root(0)).get("x"), "y");
    EXPECT_TRUE(again.try_free({next, 2}));
    EXPECT_EQ(
        code_of([&] { PagedFile other(pool, {.path = file.path(), .page_header = !page_header}); }),
        Errc::kInUse);
  }
}

TEST(PagedFile, CountsItsPagesFromItsBegin) {
  const TempFile one;
  const TempFile two;
  BufferPool pool(files_only());
  PagedFile first(pool, {.path = one.path()});
  PagedFile second(pool, {.path = two.path()});
  ExclusiveGuard a = first.allocate();
  ExclusiveGuard b = second.allocate();
  EXPECT_EQ(a.page_id(), 1U);
  EXPECT_EQ(b.page_id(), 1U);
  EXPECT_NE(a.data(), b.data());
  EXPECT_EQ(a.data(), first.address(1));
  EXPECT_NE(first.pool_extent({1, 0}), second.pool_extent({1, 0}));
  EXPECT_EQ(first.pool_extent({first.capacity_pages(), 0}).page_id, kNoPage);
  // T1
  EXPECT_EQ(code_of([&] { second.free(std::move(a)); }), Errc::kInvalidPage);
  EXPECT_EQ(code_of([&] { pool.free(std::move(b)); }), Errc::kInvalidPage);
  ASSERT_TRUE(a);
  first.free(std::move(a));
  b = ExclusiveGuard();
  // Nothing beyond the file's pages is another file's.
  for (const PageId page : {PageId{0}, PageId{2}, PageId{1000}, first.capacity_pages(),
                            first.capacity_pages() + 1, ~PageId{0}}) {
    EXPECT_EQ(code_of([&] { (void)first.fix_shared(page); }), Errc::kInvalidPage) << page;
    EXPECT_EQ(code_of([&] { (void)first.fix_exclusive(page); }), Errc::kInvalidPage) << page;
    const Extent extent{page, 0};
    EXPECT_EQ(code_of([&] { first.prefetch({&extent, 1}); }), Errc::kInvalidPage) << page;
    EXPECT_EQ(code_of([&] { (void)first.try_free(extent); }), Errc::kInvalidPage) << page;
    EXPECT_EQ(code_of([&] { first.set_root(0, page == 0 ? 9 : page); }), Errc::kInvalidPage);
  }
  EXPECT_EQ(code_of([&] { first.resize(1 << 20); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { (void)first.open_file({.path = one.path()}); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { (void)first.open_temporary(); }), Errc::kInvalidOption);
  EXPECT_EQ(second.stats().database_pages, 2U);
  EXPECT_EQ(first.stats().freed_pages, 1U);
}

TEST(PagedFile, ARangeForgetsTheExtentsOfTheFileBefore) {  // T4
  const TempFile one;
  const TempFile two;
  BufferPool pool(files_only(256, 1));
  {
    PagedFile first(pool, {.path = one.path()});
    EXPECT_EQ(code_of([&] { PagedFile more(pool, {.path = two.path()}); }), Errc::kDatabaseFull);
    for (int n = 0; n < 8; ++n) first.allocate(3).as<int>()[0] = n;
    first.free(first.fix_exclusive(16, 3));
    first.free(first.allocate());
    first.close();
  }
  {
    PagedFile second(pool, {.path = two.path()});
    for (PageId page = 1; page < 60; ++page) second.allocate().as<PageId>()[0] = page;
    for (PageId page = 1; page < 60; ++page)
      EXPECT_EQ(second.fix_shared(page).as<PageId>()[0], page);
  }
  PagedFile second(pool, {.path = two.path()});
  for (PageId page = 1; page < 60; ++page) EXPECT_EQ(second.fix_shared(page).as<PageId>()[0], page);
  second.close();
  PagedFile first(pool, {.path = one.path()});
  EXPECT_EQ(first.fix_shared(24, 3).as<int>()[0], 2);
  EXPECT_EQ(code_of([&] { (void)first.fix_shared(25); }), Errc::kInvalidPage);
  first.close();
  PagedFile again(pool, {.path = two.path()});  // the pages that were inside of extents, too
  for (PageId page = 1; page < 60; ++page) EXPECT_EQ(again.fix_shared(page).as<PageId>()[0], page);
}

TEST(PagedFile, RefusesWhatItCannotOpenAndLeavesNothingBehind) {
  const TempFile temp;
  const TempFile foreign;
  BufferPool pool(files_only(64, 2));
  const auto code = [&](const PagedFileOptions& options) {
    return code_of([&] { PagedFile file(pool, options); });
  };
  write_all(foreign.path(), pattern(8192, 1));
  const std::filesystem::path missing = temp.path().string() + ".missing";
  for (int round = 0; round < 3; ++round) {  // a range that is not given back is missing then
    EXPECT_EQ(code({}), Errc::kInvalidOption);
    EXPECT_EQ(code({.path = missing, .create = false}), Errc::kInvalidOption);
    EXPECT_EQ(code({.path = temp.path(), .create = false}), Errc::kNotADatabase);
    EXPECT_EQ(code({.path = temp.path(), .read_only = true}), Errc::kNotADatabase);
    EXPECT_EQ(code({.path = foreign.path()}), Errc::kNotADatabase);
    EXPECT_EQ(code({.path = missing, .capacity_bytes = 31 * kPageSize}), Errc::kInvalidOption);
    EXPECT_EQ(code({.path = missing, .capacity_bytes = 3 * test::kRange}), Errc::kInvalidOption);
    EXPECT_EQ(code({.path = missing, .allow_unclean = true, .read_only = true}),
              Errc::kInvalidOption);
    EXPECT_EQ(code({.path = "/dev/null"}), Errc::kUnsupported);
  }
  EXPECT_EQ(read_all(foreign.path()), pattern(8192, 1));
  EXPECT_EQ(read_all(temp.path()), "");
  EXPECT_FALSE(std::filesystem::exists(missing));
  BufferPool none(small_pool(temp, 16));
  EXPECT_EQ(code_of([&] { PagedFile file(none, {.path = missing}); }), Errc::kInvalidOption);

  // Its capacity is its own.
  const TempFile small;
  PagedFile file(pool, {.path = small.path(), .capacity_bytes = 32 * kPageSize});
  EXPECT_EQ(code_of([&] {
              for (;;) (void)file.allocate();
            }),
            Errc::kDatabaseFull);
  EXPECT_EQ(file.stats().database_pages, 32U);
}

TEST(PagedFile, IsUncleanUntilItIsClosed) {
  const TempFile temp;
  BufferPool pool(files_only());
  EXPECT_EQ(test::in_child([&] {
              BufferPool mine(files_only());
              PagedFile file(mine, {.path = temp.path()});
              fill(file, "k");
              file.checkpoint();
              ::_exit(0);
              return 1;
            }),
            0);
  EXPECT_EQ(code_of([&] { PagedFile file(pool, {.path = temp.path()}); }), Errc::kUncleanShutdown);
  EXPECT_EQ(code_of([&] { PagedFile file(pool, {.path = temp.path(), .read_only = true}); }),
            Errc::kUncleanShutdown);
  {
    PagedFile file(pool, {.path = temp.path(), .allow_unclean = true});
    expect_filled(file, "k");
  }
  // From the open on, not from its first checkpoint.
  EXPECT_EQ(test::in_child([&] {
              BufferPool mine(files_only());
              PagedFile file(mine, {.path = temp.path()});
              ::_exit(0);
              return 1;
            }),
            0);
  EXPECT_EQ(code_of([&] { PagedFile file(pool, {.path = temp.path()}); }), Errc::kUncleanShutdown);
}

TEST(PagedFile, AFailedFlushIsFinalForThisFileAlone) {
  const TempFile one;
  const TempFile two;
  BufferPool pool(files_only());
  std::optional<PagedFile> broken(std::in_place, pool, PagedFileOptions{.path = one.path()});
  PagedFile whole(pool, {.path = two.path()});
  fill(*broken, "k");
  fill(whole, "w");
  const PageId root = broken->root(0);
  fail_next_sync(one.path());
  EXPECT_EQ(code_of([&] { broken->checkpoint(); }), Errc::kIo);
  EXPECT_EQ(code_of([&] { broken->checkpoint(); }), Errc::kIo);
  EXPECT_EQ(code_of([&] { (void)broken->fix_shared(root); }), Errc::kIo);
  EXPECT_EQ(code_of([&] { (void)broken->allocate(); }), Errc::kIo);
  EXPECT_EQ(code_of([&] { broken->set_root(1, root); }), Errc::kIo);
  expect_filled(whole, "w");
  whole.checkpoint();
  (void)whole.allocate();
  broken->close();
  EXPECT_EQ(code_of([&] { broken.emplace(pool, PagedFileOptions{.path = one.path()}); }),
            Errc::kUncleanShutdown);
  expect_filled(whole, "w");
  whole.close();
  PagedFile again(pool, {.path = two.path()});
  fail_next_sync(two.path());
  (void)again.allocate();
  EXPECT_EQ(code_of([&] { again.close(); }), Errc::kIo);  // its own flush
  EXPECT_EQ(code_of([&] { (void)again.fix_shared(1); }), Errc::kClosed);
  EXPECT_EQ(code_of([&] { PagedFile file(pool, {.path = two.path()}); }), Errc::kUncleanShutdown);
}

TEST(PagedFile, GuardsAndPinsKeepItOpen) {
  const TempFile temp;
  BufferPool pool(impatient());
  PagedFile file(pool, {.path = temp.path()});
  const PageId page = file.allocate().page_id();
  {
    const SharedGuard guard = file.fix_shared(page);
    EXPECT_EQ(code_of([&] { file.close(); }), Errc::kBusy);
  }
  {
    const Pin pin = file.pin(page);
    EXPECT_TRUE(file.pinned(page));
    EXPECT_FALSE(pool.pinned(page));
    EXPECT_EQ(code_of([&] { file.close(); }), Errc::kBusy);
    EXPECT_EQ(code_of([&] { file.free(file.fix_exclusive(page)); }), Errc::kBusy);
    EXPECT_FALSE(file.try_free({page, 0}));
  }
  EXPECT_FALSE(file.pinned(page));
  file.free(file.fix_exclusive(page));
  EXPECT_EQ(code_of([&] { (void)file.pin(page); }), Errc::kInvalidPage);
  file.close();
  file.close();
}

// From a Worker of the pool; and a file of another pool is refused.
TEST(PagedFile, ATaskMakesItsCheckpoint) {
  const TempFile temp;
  BufferPool pool(impatient());
  PagedFile file(pool, {.path = temp.path()});
  fill(file, "some");
  BufferPool other(impatient());
  Errc refused{};
  const std::uint64_t before = file.stats().flushes;
  Worker worker(pool);
  worker.spawn([](Worker& own, PagedFile& some, BufferPool& wrong, Errc& code) -> Task<> {
    co_await own.checkpoint(some);
    try {
      co_await own.checkpoint(wrong);
    } catch (const Error& error) {
      code = error.code();
    }
  }(worker, file, other, refused));
  worker.run();
  EXPECT_GT(file.stats().flushes, before);
  EXPECT_EQ(refused, Errc::kInvalidOption);
  expect_filled(file, "some");
}

TEST(PagedFile, SaysThatItWasClosed) {
  const TempFile temp;
  const TempFile other;
  BufferPool pool(files_only(64, 1));
  PagedFile file(pool, {.path = temp.path()});
  const PageId page = file.allocate().page_id();
  ASSERT_TRUE(file.contains(page));
  file.close();
  PagedFile next(pool, {.path = other.path()});  // in the same range
  next.allocate().as<int>()[0] = 1;
  const Extent extent{page, 0};
  std::vector<std::function<void()>> calls;
  calls.emplace_back([&] { (void)file.fix_shared(page); });
  calls.emplace_back([&] { (void)file.fix_exclusive(page); });
  calls.emplace_back([&] { (void)file.fix_optimistic(page); });
  calls.emplace_back([&] { (void)file.pin(page); });
  calls.emplace_back([&] { file.prefetch({&extent, 1}); });
  calls.emplace_back([&] { (void)file.allocate(); });
  calls.emplace_back([&] { (void)file.allocate_pages(2); });
  calls.emplace_back([&] { (void)file.try_free(extent); });
  calls.emplace_back([&] { (void)file.root(0); });
  calls.emplace_back([&] { file.set_root(0, page); });
  calls.emplace_back([&] { file.checkpoint(); });
  calls.emplace_back([&] { (void)file.digest(); });
  calls.emplace_back([&] { file.free_extents([](std::uint64_t, std::span<const Extent>) {}); });
  for (std::size_t n = 0; n < calls.size(); ++n) EXPECT_EQ(code_of(calls[n]), Errc::kClosed) << n;
  SharedGuard guard;
  EXPECT_EQ(file.try_fix(page, guard), TryFix::kMiss);
  // The pool closes what is open, as cleanly.
  pool.close();
  EXPECT_EQ(code_of([&] { (void)next.fix_shared(page); }), Errc::kClosed);
  EXPECT_EQ(next.try_fix(page, guard), TryFix::kMiss);
  next.close();
  BufferPool again(files_only(64, 1));
  PagedFile reopened(again, {.path = other.path()});
  EXPECT_EQ(reopened.fix_shared(page).as<int>()[0], 1);
}

TEST(PagedFile, OutlivesThePool) {
  const TempFile temp;
  auto pool = std::make_unique<BufferPool>(files_only());
  PagedFile file(*pool, {.path = temp.path()});
  fill(file, "k");
  pool.reset();
  EXPECT_EQ(code_of([&] { expect_filled(file, "k"); }), Errc::kClosed);
  EXPECT_EQ(code_of([&] { (void)file.allocate(); }), Errc::kClosed);
  file.close();
  BufferPool again(files_only());
  PagedFile reopened(again, {.path = temp.path()});
  expect_filled(reopened, "k");
}

TEST(PagedFile, BelongsToItsProcess) {
  const TempFile temp;
  BufferPool pool(files_only());
  auto file = std::make_unique<PagedFile>(pool, PagedFileOptions{.path = temp.path()});
  fill(*file, "k");
  EXPECT_EQ(test::in_child([&] {
              const bool refused =
                  code_of([&] { (void)file->allocate(); }) == Errc::kWrongProcess &&
                  code_of([&] { (void)file->fix_shared(1); }) == Errc::kWrongProcess &&
                  code_of([&] { file->close(); }) == Errc::kWrongProcess &&
                  code_of([&] { PagedFile more(pool, {.path = temp.path()}); }) ==
                      Errc::kWrongProcess;
              file.reset();
              return refused ? 0 : 1;
            }),
            0);
  expect_filled(*file, "k");
  file->close();
  PagedFile again(pool, {.path = temp.path()});
  expect_filled(again, "k");
}

TEST(PagedFile, IsReadOnlyForMany) {
  const TempFile temp;
  BufferPool pool(files_only());
  {
    PagedFile file(pool, {.path = temp.path()});
    fill(file, "k");
  }
  const std::string before = read_all(temp.path());
  PagedFile one(pool, {.path = temp.path(), .read_only = true});
  PagedFile two(pool, {.path = temp.path(), .read_only = true});
  EXPECT_EQ(test::in_child([&] {
              BufferPool mine(files_only());
              PagedFile file(mine, {.path = temp.path(), .read_only = true});
              return BTree(file, file.root(0)).count() == kEntries ? 0 : 1;
            }),
            0);
  EXPECT_EQ(code_of([&] { PagedFile writer(pool, {.path = temp.path()}); }), Errc::kInUse);
  expect_filled(one, "k");
  expect_filled(two, "k");
  EXPECT_EQ(code_of([&] { (void)one.allocate(); }), Errc::kReadOnly);
  EXPECT_EQ(code_of([&] { BTree(one, one.root(0)).insert("a", "b"); }), Errc::kReadOnly);
  EXPECT_EQ(code_of([&] { one.checkpoint(); }), Errc::kReadOnly);
  one.fix_exclusive(one.root(0)).data()[5] ^= std::byte{1};  // is never written
  one.close();
  two.close();
  EXPECT_TRUE(read_all(temp.path()) == before);
  PagedFile file(pool, {.path = temp.path()});
  expect_filled(file, "k");
}

TEST(PagedFile, ScansAndRowsOfPagesAreItsOwn) {
  const TempFile before;
  const TempFile temp;
  BufferPool pool(files_only(64));
  PagedFile other(pool, {.path = before.path()});
  PagedFile file(pool, {.path = temp.path()});
  for (int round = 0; round < 8; ++round) {
    std::vector<ExclusiveGuard> row = file.allocate_pages(20, BufferPool::Placement::kInARow);
    EXPECT_EQ(row.front().page_id(), static_cast<PageId>(1 + 20 * round));
    for (ExclusiveGuard& guard : row) *guard.as<PageId>() = guard.page_id();
  }
  file.checkpoint();
  for (int round = 0; round < 2; ++round) {
    PageId expected = 1;
    for (Scan scan(file, 1, 160); scan.next(); ++expected)
      EXPECT_EQ(*scan.page().as<PageId>(), expected);
    EXPECT_EQ(expected, 161U);
  }
  EXPECT_EQ(code_of([&] { Scan scan(file, 1, file.capacity_pages()); }), Errc::kInvalidOption);
}

}  // namespace
}  // namespace vmcache

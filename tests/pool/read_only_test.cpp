// SPDX-License-Identifier: MIT
//
// What was opened with read_only is not written, whatever its user does.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "pool/raw_files.hpp"
#include "support/code_of.hpp"
#include "support/in_child.hpp"
#include "vmcache/btree.hpp"
#include "vmcache/database.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::files_only;
using test::get;
using test::pattern;
using test::put;
using test::read_all;
using test::small_pool;
using test::TempFile;
using test::write_all;

//! Makes a database with a tree of `keys` entries under root 0, and closes it.
void make_database(const TempFile& file, int keys = 500) {
  BufferPool pool(small_pool(file, 64));
  const PageId root = BTree::create(pool);
  pool.set_root(0, root);
  BTree tree(pool, root);
  for (int n = 0; n < keys; ++n) {
    const std::string key = "key " + std::to_string(n);
    tree.insert(key, pattern(100, static_cast<unsigned>(n)));
  }
  pool.close();
}

PoolOptions read_only(const TempFile& file, std::uint64_t pages = 64) {
  PoolOptions options = small_pool(file, pages);
  options.read_only = true;
  return options;
}

//! When the file was last written.
std::pair<std::int64_t, std::int64_t> written(const TempFile& file) {
  struct stat info {};
  EXPECT_EQ(::stat(file.path().c_str(), &info), 0);
  return {info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
}

TEST(ReadOnly, ReadsADatabaseAndWritesNothing) {
  const TempFile file;
  make_database(file);
  const std::string before = read_all(file.path());
  const auto when = written(file);
  {
    BufferPool pool(read_only(file, 16));
    EXPECT_TRUE(pool.read_only());
    BTree tree(pool, pool.root(0));
    EXPECT_EQ(tree.count(), 500U);
    EXPECT_EQ(tree.get("key 77"), pattern(100, 77));
    EXPECT_EQ(tree.verify().entries, 500U);
    EXPECT_EQ(pool.stats().writes, 0U);
    // A second one at the same time, here and in another process.
    BufferPool second(read_only(file));
    EXPECT_EQ(BTree(second, second.root(0)).count(), 500U);
    EXPECT_EQ(test::in_child([&] {
                BufferPool third(read_only(file));
                return BTree(third, third.root(0)).count() == 500 ? 0 : 1;
              }),
              0);
    EXPECT_EQ(code_of([&] { BufferPool writer(small_pool(file, 16)); }), Errc::kInUse);
    second.close();
    EXPECT_EQ(code_of([&] { (void)second.fix_shared(second.root(0)); }), Errc::kClosed);
  }
  EXPECT_TRUE(read_all(file.path()) == before);
  EXPECT_EQ(written(file), when);
  BufferPool writer(small_pool(file, 16));  // it was closed cleanly all the time
  EXPECT_EQ(code_of([&] { BufferPool reader(read_only(file)); }), Errc::kInUse);
}

TEST(ReadOnly, RefusesWhatWouldChangeTheDatabase) {
  const TempFile file;
  make_database(file);
  const std::string before = read_all(file.path());
  BufferPool pool(read_only(file));
  const PageId root = pool.root(0);
  BTree tree(pool, root);
  std::vector<std::function<void()>> changes;
  changes.emplace_back([&] { (void)pool.allocate(); });
  changes.emplace_back([&] { (void)pool.allocate_pages(2); });
  changes.emplace_back([&] { pool.free(pool.fix_exclusive(root)); });
  changes.emplace_back([&] { (void)pool.try_free({root, 0}); });
  changes.emplace_back([&] { pool.set_root(1, root); });
  changes.emplace_back([&] { pool.checkpoint(); });
  changes.emplace_back([&] { (void)BTree::create(pool); });
  changes.emplace_back([&] { tree.insert("a", "b"); });
  changes.emplace_back([&] { tree.upsert("a", "b"); });
  changes.emplace_back([&] { tree.replace("key 1", "b"); });
  changes.emplace_back([&] { tree.erase("key 1"); });
  changes.emplace_back([&] { (void)tree.place(std::string(100'000, 'x')); });
  changes.emplace_back([&] { tree.update("key 1", [](std::span<std::byte>) {}); });
  changes.emplace_back([&] {
    Worker worker(pool);
    worker.spawn([](Worker& here) -> Task<void> { (void)co_await here.allocate(); }(worker));
    worker.run();
  });
  for (std::size_t n = 0; n < changes.size(); ++n)
    EXPECT_EQ(code_of(changes[n]), Errc::kReadOnly) << n;
  EXPECT_EQ(tree.get("key 1"), pattern(100, 1));
  pool.close();
  EXPECT_TRUE(read_all(file.path()) == before);
}

TEST(ReadOnly, NeedsADatabaseThatWasClosedCleanly) {
  const TempFile file;
  EXPECT_EQ(code_of([&] { BufferPool pool(read_only(file)); }), Errc::kNotADatabase);  // empty
  make_database(file);
  EXPECT_EQ(test::in_child([&] {
              BufferPool pool(small_pool(file, 16));
              pool.checkpoint();
              ::_exit(0);
              return 1;
            }),
            0);
  const std::string before = read_all(file.path());
  EXPECT_EQ(code_of([&] { BufferPool pool(read_only(file)); }), Errc::kUncleanShutdown);
  PoolOptions options = read_only(file);
  options.allow_unclean = true;
  EXPECT_EQ(code_of([&] { BufferPool pool(options); }), Errc::kInvalidOption);
  EXPECT_TRUE(read_all(file.path()) == before);
  options = read_only(file);
  options.path += ".missing";
  EXPECT_EQ(code_of([&] { BufferPool pool(options); }), Errc::kInvalidOption);
  EXPECT_FALSE(std::filesystem::exists(options.path));
}

TEST(ReadOnly, ADatabaseWithALogStaysTheLogs) {
  const TempFile pages;
  const TempFile log;
  DatabaseOptions options;
  options.pool = small_pool(pages, 64);
  options.log.path = log.path();
  options.log.capacity_bytes = 4 << 20;
  {
    Database database(options);
    Transaction change(database);
    change.put(0, "k", "v");
    change.commit();
    database.close();
  }
  PoolOptions reader = read_only(pages);
  reader.page_header = true;
  {
    BufferPool pool(reader);
    EXPECT_EQ(BTree(pool, pool.root(0)).get("k"), "v");
  }
  Database database(options);
  EXPECT_EQ(code_of([&] { BufferPool pool(reader); }), Errc::kInUse);
}

//! Reads more pages than the pool has.
void push_out(BufferPool& pool, const File& file) {
  for (std::uint64_t n = 0; n < file.pages(); ++n) (void)pool.fix_shared(file.page_id(n));
}

TEST(ReadOnly, ChangesOfAFilesPagesAreNeverWritten) {
  for (const StorageKind storage : {StorageKind::kAuto, StorageKind::kPread}) {
    const TempFile temp;
    const std::string before = pattern(100 * kPageSize + 100, 1);
    write_all(temp.path(), before);
    const auto when = written(temp);
    PoolOptions options = files_only(32);
    options.storage = storage;
    std::string log;
    options.logger = [&](LogLevel level, std::string_view text) {
      if (level == LogLevel::kError) log += text;
    };
    BufferPool pool(options);
    File file = pool.open_file({.path = temp.path(), .read_only = true});
    EXPECT_TRUE(file.read_only());
    File second = pool.open_file({.path = temp.path(), .read_only = true});
    EXPECT_TRUE(get(pool, file, 0, before.size()) == before);
    put(pool, file, 0, pattern(40 * kPageSize, 2));  // more than there is room for
    push_out(pool, second);
    EXPECT_NE(log.find(temp.path()), std::string::npos) << log;
    // Those that have left memory came back as they are in the file; one that is used much stays.
    const std::string now = get(pool, file, 0, before.size());
    int changed = 0;
    for (std::size_t at = 0; at < before.size(); at += kPageSize)
      changed += now.compare(at, kPageSize, before, at, kPageSize) != 0 ? 1 : 0;
    EXPECT_LT(changed, 20);
    file.close();
    file = pool.open_file({.path = temp.path(), .read_only = true});
    EXPECT_TRUE(get(pool, file, 0, before.size()) == before);
    put(pool, file, 0, "x");
    EXPECT_TRUE(get(pool, second, 0, before.size()) == before);
    EXPECT_EQ(code_of([&] { file.sync(); }), Errc::kReadOnly);
    EXPECT_EQ(code_of([&] { file.write_back(); }), Errc::kReadOnly);
    EXPECT_EQ(code_of([&] { file.write_back(std::array<std::uint64_t, 1>{0}); }), Errc::kReadOnly);
    EXPECT_EQ(code_of([&] { file.flush(); }), Errc::kReadOnly);
    EXPECT_EQ(code_of([&] { file.resize(0); }), Errc::kReadOnly);
    EXPECT_EQ(code_of([&] { file.remove(); }), Errc::kReadOnly);
    EXPECT_EQ(code_of([&] { (void)file.dirty_pages(); }), Errc::kReadOnly);
    file.close();
    second.close();
    EXPECT_EQ(pool.stats().writes, 0U);
    EXPECT_TRUE(read_all(temp.path()) == before);
    EXPECT_EQ(written(temp), when);
  }
}

TEST(ReadOnly, AFileKeepsWritersOutAndReadersNot) {
  const TempFile temp;
  write_all(temp.path(), pattern(5'000, 1));
  BufferPool pool(files_only());
  File file = pool.open_file({.path = temp.path(), .read_only = true});
  EXPECT_EQ(test::in_child([&] {
              BufferPool other(files_only());
              File reader = other.open_file({.path = temp.path(), .read_only = true});
              return get(other, reader, 0, 5'000) == pattern(5'000, 1) ? 0 : 1;
            }),
            0);
  EXPECT_EQ(code_of([&] { (void)pool.open_file({.path = temp.path()}); }), Errc::kInUse);
  file.close();
  File writer = pool.open_file({.path = temp.path()});
  EXPECT_EQ(code_of([&] { (void)pool.open_file({.path = temp.path(), .read_only = true}); }),
            Errc::kInUse);
  const std::filesystem::path missing = temp.path().string() + ".missing";
  EXPECT_EQ(code_of([&] { (void)pool.open_file({.path = missing, .read_only = true}); }),
            Errc::kInvalidOption);
  EXPECT_FALSE(std::filesystem::exists(missing));
}

}  // namespace
}  // namespace vmcache

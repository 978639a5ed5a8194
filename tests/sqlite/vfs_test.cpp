// SPDX-License-Identifier: MIT
//
// What docs/sqlite.md says of the VFS's databases: their bytes, their sizes, and many connections.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "sqlite/support.hpp"

namespace vmcache {
namespace {

using test::Folder;
using test::Sql;

const char* const kRows =
    "create table t(a integer primary key, b blob);"
    "with recursive c(i) as (select 1 union all select i+1 from c where i<1500)"
    " insert into t select i, randomblob(300) from c;"
    "create index ix on t(b);";

//! SQLite's own VFS, after all connections of ours are closed, has the same opinion.
void expect_sound(const std::string& path, const std::string& rows) {
  Sql stock(path, "", "unix");
  EXPECT_EQ(stock("pragma integrity_check"), "ok");
  EXPECT_EQ(stock("select count(*) from t"), rows);
}

class PageSizes : public testing::TestWithParam<int> {};

TEST_P(PageSizes, AreKeptByChangesVacuumAndTruncation) {
  const Folder folder;
  const std::string path = folder.file();
  for (const char* mode : {"delete", "wal"}) {
    for (const char* mmap_size : {"0", "1000000000"}) {
      Sql db(path, "pool_mib=8");
      db("drop table if exists t");
      db("pragma journal_mode=delete");
      db("pragma page_size=" + std::to_string(GetParam()));
      db("pragma auto_vacuum=full");
      db("vacuum");
      db("pragma cache_size=20");
      ASSERT_EQ(db(std::string("pragma journal_mode=") + mode), mode);
      db(std::string("pragma mmap_size=") + mmap_size);
      db(kRows);
      EXPECT_EQ(db.code(), SQLITE_OK);
      EXPECT_EQ(db("pragma page_size"), std::to_string(GetParam()));
      db("begin; update t set b=zeroblob(900) where a%3=0; delete from t where a>1000; rollback");
      EXPECT_EQ(db("select count(*), sum(length(b)) from t"), "1500");
      db("delete from t where a>500");
      db("update t set b=randomblob(700) where a%7=0");
      EXPECT_EQ(db("select count(*) from t"), "500");
      EXPECT_EQ(db("pragma integrity_check"), "ok");
      db("vacuum");
      EXPECT_EQ(db("pragma integrity_check"), "ok");
    }
    expect_sound(path, "500");
  }
}
INSTANTIATE_TEST_SUITE_P(, PageSizes, testing::Values(512, 1024, 4096, 8192, 65536),
                         testing::PrintToStringParamName());

TEST(Connections, OfManyThreadsSeeWholeTransactionsOnly) {
  for (const char* mode : {"delete", "wal"}) {
    const Folder folder;
    const std::string path = folder.file();
    Sql first(path, "pool_mib=4");
    first(std::string("pragma journal_mode=") + mode);
    first("pragma synchronous=off");
    first(kRows);
    first("create table sum(x); insert into sum values(0);");
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (int n = 0; n < 4; ++n) {
      threads.emplace_back([&, n] {
        Sql db(path);
        sqlite3_busy_timeout(db.db(), 60'000);
        if (n % 2 == 0) db("pragma mmap_size=1000000000");
        for (int i = 0; i < 40; ++i) {
          if (n < 2) {
            db("begin immediate; update sum set x=x+1;"
               "update t set b=randomblob(250) where a%100=abs(random()%100); commit");
          } else if (db("select count(*) from t where length(b) in (250, 300)") != "1500") {
            ++failures;
          }
          if (db.code() != SQLITE_OK) ++failures;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(failures, 0) << mode;
    EXPECT_EQ(first("select x from sum"), "80") << mode;
    EXPECT_EQ(first("pragma integrity_check"), "ok") << mode;
  }
}

TEST(Fetch, GivesAllConnectionsTheSameBytesWithoutACopy) {
  const Folder folder;
  Sql one(folder.file(), "pool_mib=8");
  Sql other(folder.file());
  one("pragma page_size=16384");
  one(kRows);
  std::vector<void*> found;
  for (Sql* db : {&one, &other}) {
    (*db)("pragma mmap_size=1000000000");
    (*db)("begin");
    (*db)("select * from t");
    sqlite3_file* const file = db->file();
    void* page = nullptr;
    ASSERT_EQ(file->pMethods->xFetch(file, 16384, 16384, &page), SQLITE_OK);
    ASSERT_NE(page, nullptr);
    found.push_back(page);
    std::string copy(16384, '\0');
    ASSERT_EQ(file->pMethods->xRead(file, copy.data(), 16384, 16384), SQLITE_OK);
    EXPECT_EQ(std::string(static_cast<const char*>(page), 16384), copy);
    EXPECT_EQ(file->pMethods->xUnfetch(file, 16384, page), SQLITE_OK);
    ASSERT_EQ(file->pMethods->xFetch(file, std::int64_t{1} << 40, 16384, &page), SQLITE_OK);
    EXPECT_EQ(page, nullptr) << "it lies after the end";
  }
  EXPECT_EQ(found[0], found[1]);
}

TEST(Fetch, LeavesPagesToReadsWhenTooManyArePinned) {
  const Folder folder;
  Sql db(folder.file(), "pool_mib=1");
  db("pragma page_size=65536");
  db("create table t(a integer primary key, b blob)");
  db("with recursive c(i) as (select 1 union all select i+1 from c where i<40)"
     " insert into t select i, randomblob(60000) from c");
  db("pragma mmap_size=1000000000");
  db("begin");
  db("select a from t");
  sqlite3_file* const file = db.file();
  std::vector<void*> pages;
  void* page = nullptr;
  // A pool of 16 such pages; half of them can be pinned.
  for (int i = 1; i <= 20; ++i) {
    ASSERT_EQ(file->pMethods->xFetch(file, i * 65536, 65536, &page), SQLITE_OK);
    pages.push_back(page);
  }
  EXPECT_NE(pages.front(), nullptr);
  EXPECT_EQ(pages.back(), nullptr);
  EXPECT_EQ(db("select sum(length(b)) from t"), "2400000");
  for (int i = 1; i <= 20; ++i) file->pMethods->xUnfetch(file, i * 65536, pages[i - 1]);
}

TEST(Databases, CanBeAttachedEmptyMissingAndRemoved) {
  const Folder folder;
  Sql db(folder.file(), "pool_mib=8");
  db(kRows);
  db("attach '" + folder.file("other.db") + "' as other");
  EXPECT_EQ(db.code(), SQLITE_OK);
  db("begin; create table other.u as select * from t; delete from t where a>10; commit");
  EXPECT_EQ(db("select count(*) from other.u"), "1500");
  db("detach other");
  EXPECT_EQ(
      Sql(folder.file("missing.db"), "", "vmcache", SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI).code(),
      SQLITE_CANTOPEN);
  EXPECT_FALSE(std::filesystem::exists(folder.file("missing.db")));
  sqlite3_vfs* const vfs = sqlite3_vfs_find("vmcache");
  EXPECT_EQ(vfs->xDelete(vfs, folder.file("other.db").c_str(), 0), SQLITE_OK);
  EXPECT_FALSE(std::filesystem::exists(folder.file("other.db")));
  {
    Sql again(folder.file("other.db"));
    EXPECT_EQ(again("select count(*) from sqlite_schema"), "0");
  }
  // A database that was removed while it is open is written to no more.
  std::filesystem::remove(folder.file());
  db("insert into t values(-1, 'x')");
  EXPECT_EQ(db.code(), SQLITE_READONLY_DBMOVED);
}

TEST(Databases, AreReadOnlyForThoseWhoAskForThat) {
  const Folder folder;
  Sql writer(folder.file(), "pool_mib=8");
  writer(kRows);
  Sql reader(folder.file(), "mode=ro");
  EXPECT_EQ(reader("select count(*) from t"), "1500");
  reader("delete from t");
  EXPECT_EQ(reader.code(), SQLITE_READONLY);
  writer("delete from t where a>3");
  EXPECT_EQ(reader("select count(*) from t"), "3");
}

}  // namespace
}  // namespace vmcache

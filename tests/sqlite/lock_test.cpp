// SPDX-License-Identifier: MIT
//
// Locks among connections of this process, against other processes and other VFSes, and fork().
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <string>

#include "sqlite/support.hpp"
#include "support/in_child.hpp"

namespace vmcache {
namespace {

using test::Folder;
using test::in_child;
using test::Sql;
using test::take_log;

const char* const kRows = "create table t(a); insert into t values(1)";

int stock_code(const std::string& path, const char* sql) {
  return in_child([&] {
    Sql stock(path, "", "unix");
    stock(sql);
    return stock.code() & 0xff;
  });
}

TEST(Locks, KeepOtherProcessesOutWhileADatabaseIsOpen) {
  const Folder folder;
  for (const char* mode : {"delete", "wal"}) {
    {
      Sql db(folder.file(), "pool_mib=8");
      db(std::string("pragma journal_mode=") + mode);
      db("create table if not exists t(a); insert into t values(1)");
      EXPECT_EQ(stock_code(folder.file(), "select * from t"), SQLITE_BUSY) << mode;
      EXPECT_EQ(stock_code(folder.file(), "insert into t values(2)"), SQLITE_BUSY) << mode;
      // Of a lock of the process, rather than of the open file, nothing would be left now.
      ::close(::open(folder.file().c_str(), O_RDWR | O_CLOEXEC));
      EXPECT_EQ(stock_code(folder.file(), "insert into t values(2)"), SQLITE_BUSY) << mode;
      Sql stock(folder.file(), "", "unix");
      stock("insert into t values(3)");
      EXPECT_EQ(stock.code() & 0xff, SQLITE_BUSY) << "another VFS of the same process, " << mode;
    }
    EXPECT_EQ(stock_code(folder.file(), "insert into t values(4)"), SQLITE_OK) << mode;
  }
}

TEST(Locks, OfAnotherProcessAreRespectedAndNamed) {
  const Folder folder;
  { Sql(folder.file(), "pool_mib=8")(kRows); }
  std::array<int, 2> ready{};
  std::array<int, 2> done{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  ASSERT_EQ(::pipe(done.data()), 0);
  const pid_t other = ::fork();
  if (other == 0) {
    ::alarm(100);
    Sql stock(folder.file(), "", "unix");
    stock("begin; select * from t");
    char byte = 'x';
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(done[0], &byte, 1);
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  Sql db(folder.file());
  (void)take_log();
  db("select * from t");
  EXPECT_EQ(db.code(), SQLITE_BUSY);
  db("select * from t");
  const std::string log = take_log();
  EXPECT_NE(log.find("process " + std::to_string(other)), std::string::npos) << log;
  EXPECT_EQ(log.find("process"), log.find("process " + std::to_string(other))) << "said once";
  ASSERT_EQ(::write(done[1], &byte, 1), 1);
  int status = 0;
  ::waitpid(other, &status, 0);
  EXPECT_EQ(db("select * from t"), "1");
  for (const int fd : {ready[0], ready[1], done[0], done[1]}) ::close(fd);
}

TEST(Locks, AmongConnectionsAreThoseOfSqlite) {
  const Folder folder;
  Sql a(folder.file(), "pool_mib=8");
  Sql b(folder.file());
  a(kRows);
  a("begin immediate");
  EXPECT_EQ(b("select * from t"), "1") << "RESERVED admits readers";
  b("begin immediate");
  EXPECT_EQ(b.code(), SQLITE_BUSY) << "and no other writer";
  a("insert into t values(2)");
  b("begin; select * from t");
  a("commit");
  EXPECT_EQ(a.code(), SQLITE_BUSY) << "EXCLUSIVE waits for readers";
  Sql c(folder.file());
  c("select * from t");
  EXPECT_EQ(c.code(), SQLITE_BUSY) << "PENDING admits no new one";
  b("commit");
  a("commit");
  EXPECT_EQ(a.code(), SQLITE_OK);
  EXPECT_EQ(c("select count(*) from t"), "2");
}

TEST(Locks, AreTakenByTheChildOfAForkOnlyForWhatItOpens) {
  const Folder folder;
  Sql db(folder.file(), "pool_mib=8");
  db(kRows);
  EXPECT_EQ(in_child([&] {
              db("insert into t values(2)");
              if (db.code() == SQLITE_OK) return 1;
              Sql same(folder.file());
              same("insert into t values(3)");
              if ((same.code() & 0xff) != SQLITE_BUSY) return 2;
              Sql own(folder.file("own.db"));
              own(kRows);
              return own("select * from t") == "1" ? 0 : 3;
            }),
            0);
  EXPECT_EQ(stock_code(folder.file(), "select * from t"), SQLITE_BUSY)
      << "the child's end has not taken the lock away";
  db("insert into t values(4)");
  EXPECT_EQ(db("select a from t"), "1 4");
  EXPECT_EQ(db("pragma integrity_check"), "ok");
}

}  // namespace
}  // namespace vmcache

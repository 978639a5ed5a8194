// SPDX-License-Identifier: MIT
//
// Bad parameters, full disks and I/O errors: SQLite's codes, a line in its log, and nothing lost.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>

#include "sqlite/support.hpp"
#include "support/in_child.hpp"

namespace {

std::atomic<int> failing_syncs{0};
//! No write succeeds, and blocks cannot be had in advance: a file system such as ext2, and full.
std::atomic<bool> full_at_write{false};

}  // namespace

// The linker puts these in the library's way (--wrap).
extern "C" ssize_t __real_pwrite(int fd, const void* bytes, size_t n, off_t at);   // NOLINT
extern "C" ssize_t __wrap_pwrite(int fd, const void* bytes, size_t n, off_t at) {  // NOLINT
  if (!full_at_write) return __real_pwrite(fd, bytes, n, at);
  errno = ENOSPC;
  return -1;
}
extern "C" int __real_fallocate(int fd, int mode, off_t at, off_t bytes);   // NOLINT
extern "C" int __wrap_fallocate(int fd, int mode, off_t at, off_t bytes) {  // NOLINT
  if (!full_at_write) return __real_fallocate(fd, mode, at, bytes);
  errno = EOPNOTSUPP;
  return -1;
}
extern "C" int __real_fdatasync(int fd);   // NOLINT: the linker's names
extern "C" int __wrap_fdatasync(int fd) {  // NOLINT
  int left = failing_syncs.load();
  while (left > 0) {
    if (!failing_syncs.compare_exchange_weak(left, left - 1)) continue;
    errno = EIO;
    return -1;
  }
  return __real_fdatasync(fd);
}

namespace vmcache {
namespace {

using test::Folder;
using test::in_child;
using test::Sql;
using test::take_log;

const char* const kRows =
    "create table t(a integer primary key, b blob);"
    "with recursive c(i) as (select 1 union all select i+1 from c where i<1000)"
    " insert into t select i, randomblob(300) from c;";

TEST(Parameters, AreRefusedWithTheirValueAndWhatIsAllowed) {
  const Folder folder;
  for (const auto& [parameters, said] : {
           std::pair{"pool_mib=0", "pool_mib=0: allowed are 1 to 67108864"},
           std::pair{"pool_mib=12x", "pool_mib=12x: allowed"},
           std::pair{"pool_mib=", "pool_mib=: allowed"},
           std::pair{"pool_mib=-1", "pool_mib=-1: allowed"},
           std::pair{"pool_mib=99999999999999999999", "allowed are 1 to 67108864"},
           std::pair{"pool_space_gib=65537", "allowed are 1 to 65536"},
           std::pair{"pool_memory=disk", "pool_memory=disk: allowed are auto, anonymous and exmap"},
           std::pair{"pool_storage=nvme", "pool_storage=nvme: allowed are auto, io_uring and"},
           std::pair{"file_max_gib=1.5", "file_max_gib=1.5: allowed"},
           std::pair{"file_direct_io=yes", "file_direct_io=yes: allowed are 0 and 1"},
           std::pair{"pool_mb=5", "pool_mb: unknown"},
       }) {
    (void)take_log();
    EXPECT_EQ(Sql(folder.file(), parameters).code(), SQLITE_CANTOPEN) << parameters;
    const std::string log = take_log();
    EXPECT_NE(log.find(said), std::string::npos) << parameters << " said: " << log;
    EXPECT_FALSE(std::filesystem::exists(folder.file())) << parameters;
  }
}

TEST(Parameters, ThatConflictWithThePoolAreRefusedWhileItIsInUse) {
  const Folder folder;
  {
    Sql db(folder.file(), "pool_mib=8&file_max_gib=2");
    (void)take_log();
    EXPECT_EQ(Sql(folder.file("b.db"), "pool_mib=9").code(), SQLITE_CANTOPEN);
    EXPECT_NE(take_log().find("pool_mib=9: the pool of this process has 8"), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(folder.file("b.db")));
    EXPECT_EQ(Sql(folder.file("b.db"), "pool_storage=pread").code(), SQLITE_CANTOPEN);
    EXPECT_NE(take_log().find("pool_storage=pread: the pool of this process has auto"),
              std::string::npos);
    EXPECT_EQ(Sql(folder.file(), "file_max_gib=3").code(), SQLITE_CANTOPEN);
    EXPECT_NE(take_log().find("file_max_gib=3: the file is open with 2"), std::string::npos);
    EXPECT_EQ(Sql(folder.file(), "pool_mib=8&file_max_gib=2").code(), SQLITE_OK);
    EXPECT_EQ(Sql(folder.file("b.db")).code(), SQLITE_OK)
        << "who names nothing takes what is there";
  }
  EXPECT_EQ(Sql(folder.file("b.db"), "pool_mib=9").code(), SQLITE_OK) << "nobody uses the old one";
}

TEST(Errors, OfWhatIsNoDatabaseFileAreTold) {
  const Folder folder;
  (void)take_log();
  EXPECT_EQ(Sql(folder.file(""), "").code() & 0xff, SQLITE_CANTOPEN);
  EXPECT_EQ(Sql(folder.file("none/x.db"), "").code() & 0xff, SQLITE_CANTOPEN);
  EXPECT_EQ(Sql("/dev/zero", "").code() & 0xff, SQLITE_CANTOPEN);
  EXPECT_NE(take_log().find("/dev/zero: not a regular file"), std::string::npos);
}

TEST(Errors, OfAFileThatReachesItsBoundAreFull) {
  const Folder folder;
  Sql db(folder.file(), "pool_mib=8&file_max_gib=1");
  db(kRows);
  db("begin; select * from t");
  sqlite3_file* const file = db.file();
  EXPECT_EQ(file->pMethods->xTruncate(file, std::int64_t{2} << 30), SQLITE_FULL);
  db("commit");
  EXPECT_EQ(db("select count(*) from t"), "1000");
}

TEST(Errors, OfAFullDiskAreFullAndLoseNothing) {
  const Folder folder;
  EXPECT_EQ(in_child([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              Sql db(folder.file(), "pool_mib=8");
              db("pragma journal_mode=memory");
              db(kRows);
              struct stat info {};
              if (::stat(folder.file().c_str(), &info) != 0) return 1;
              const rlimit limit{static_cast<rlim_t>(info.st_size + 65536), RLIM_INFINITY};
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
              db("insert into t select a+1000, randomblob(300) from t");
              if (db.code() != SQLITE_FULL) return 3;
              db("rollback");
              if (db("select count(*) from t") != "1000") return 4;
              db("delete from t where a>500; insert into t values(9999, 'x')");
              if (db.code() != SQLITE_OK) return 5;
              return db("pragma integrity_check") == "ok" ? 0 : 6;
            }),
            0);
  Sql stock(folder.file(), "", "unix");
  EXPECT_EQ(stock("select count(*) from t"), "501");
  EXPECT_EQ(stock("pragma integrity_check"), "ok");
}

//! Pages that cannot be written fail the commit, and the journal is there until they can.
TEST(Errors, OfADiskThatIsFoundFullWhenThePoolMustWriteAreFull) {
  const Folder folder;
  Sql db(folder.file(), "pool_mib=1&pool_storage=pread");
  db(kRows);
  full_at_write = true;
  db("insert into t select a+1000, randomblob(3000) from t");
  full_at_write = false;
  EXPECT_EQ(db.code(), SQLITE_FULL);
  EXPECT_EQ(db("select count(*) from t"), "1000");
  EXPECT_EQ(db("pragma integrity_check"), "ok");
  db("insert into t values(9999, 'x')");
  EXPECT_EQ(db.code(), SQLITE_OK);
}

TEST(Errors, OfWritesFailTheCommitAndAreRolledBack) {
  const Folder folder;
  EXPECT_EQ(in_child([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              Sql db(folder.file(), "pool_mib=8");
              db("pragma synchronous=off");
              db(kRows);
              const std::string before = db("select sum(length(b)) from t");
              // The journal of such a transaction is smaller, the database is larger.
              rlimit limit{};
              ::getrlimit(RLIMIT_FSIZE, &limit);
              const rlimit small{65536, limit.rlim_max};
              if (::setrlimit(RLIMIT_FSIZE, &small) != 0) return 1;
              (void)take_log();
              db("update t set b='new' where a between 900 and 920");
              if ((db.code() & 0xff) != SQLITE_IOERR) return 2;
              if (take_log().find("writing back") == std::string::npos) return 3;
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 4;
              if (db("select sum(length(b)) from t") != before) return 5;
              db("update t set b='new' where a between 900 and 920");
              if (db.code() != SQLITE_OK) return 6;
              return db("pragma integrity_check") == "ok" ? 0 : 7;
            }),
            0);
  Sql stock(folder.file(), "", "unix");
  EXPECT_EQ(stock("select count(*) from t where b='new'"), "21");
  EXPECT_EQ(stock("pragma integrity_check"), "ok");
}

TEST(Errors, OfReadsAreErrorsAndNoSignalWithZeroCopyToo) {
  const Folder folder;
  for (const char* mmap_size : {"0", "1000000000"}) {
    EXPECT_EQ(in_child([&] {
                std::filesystem::remove(folder.file());
                Sql db(folder.file(), "pool_mib=1");
                db("create table t(a integer primary key, b blob);"
                   "with recursive c(i) as (select 1 union all select i+1 from c where i<9000)"
                   " insert into t select i, randomblob(300) from c;");
                db("pragma cache_size=10");
                db(std::string("pragma mmap_size=") + mmap_size);
                // Somebody who cares for no lock.
                if (::truncate(folder.file().c_str(), 65536) != 0) return 1;
                db("select sum(length(b)) from t");
                return db.code() == SQLITE_IOERR_READ ? 0 : 2;
              }),
              0)
        << mmap_size;
  }
}

//! A failed flush is final for the file until it is opened again. The VFS does that as soon as no
//! connection has a lock.
TEST(Errors, OfASyncFailTheCommitAndTheNextOneIsSound) {
  for (const char* mode : {"delete", "persist"}) {
    const Folder folder;
    Sql db(folder.file(), "pool_mib=8");
    db(std::string("pragma journal_mode=") + mode);
    db(kRows);
    db("begin; update t set b='new'");
    Sql bystander(folder.file());
    // SQLite's own VFS calls it for the journal first, and more of them may follow.
    failing_syncs = 1;
    sqlite3_file* const file = db.file();
    EXPECT_EQ(file->pMethods->xSync(file, SQLITE_SYNC_NORMAL), SQLITE_IOERR_FSYNC);
    (void)take_log();
    db("commit");
    EXPECT_NE(db.code(), SQLITE_OK) << "nothing later is durable either";
    EXPECT_NE(take_log().find("final"), std::string::npos);
    db("rollback");
    EXPECT_EQ(bystander("select count(*) from t where b='new'"), "0");
    EXPECT_EQ(bystander("pragma integrity_check"), "ok");
    db("update t set b='newer'");
    EXPECT_EQ(db.code(), SQLITE_OK);
    EXPECT_EQ(bystander("select count(*) from t where b='newer'"), "1000");
  }
}

TEST(Errors, OfPermissionsLeaveTheFileToTheDefaultVfs) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, to become a user who may not write";
  const Folder folder;
  { Sql(folder.file(), "pool_mib=8")(kRows); }
  ASSERT_EQ(::chmod(folder.file().c_str(), 0444), 0);
  EXPECT_EQ(in_child([&] {
              if (::seteuid(65534) != 0) return 1;
              Sql db(folder.file());
              if (db.code() != SQLITE_OK) return 20;  // the folders' permissions are in the way
              if (take_log().find("no permission to write") == std::string::npos) return 2;
              if (db("select count(*) from t") != "1000") return 3;
              db("delete from t");
              return db.code() == SQLITE_READONLY ? 0 : 4;
            }) % 20,
            0);
}

}  // namespace
}  // namespace vmcache

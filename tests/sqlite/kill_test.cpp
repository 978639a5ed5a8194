// SPDX-License-Identifier: MIT
//
// A process that is killed while it writes corrupts nothing and loses no commit, at any setting of
// `synchronous`: the pages are in the kernel's hands before SQLite calls them committed.
//
// VMCACHE_SQLITE_KILLS=N kills N times in each mode (3). VMCACHE_SQLITE_SEED=N is the seed of the
// moments.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "sqlite/below.hpp"
#include "sqlite/support.hpp"
#include "support/in_child.hpp"

namespace vmcache {
namespace {

using test::Folder;
using test::in_child;
using test::Sql;

struct Mode {
  const char* journal;
  const char* synchronous;
};

unsigned long number_from(const char* variable, unsigned long otherwise) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? std::strtoul(text, nullptr, 10) : otherwise;
}

void make(const std::string& path, const Mode& mode) {
  Sql db(path, "pool_mib=1");
  db("pragma page_size=4096");
  db(std::string("pragma journal_mode=") + mode.journal);
  // More than the pool's 1 MiB, so that pages are written and read again in between.
  db("create table rows(a integer primary key, n int, b blob);"
     "with recursive c(i) as (select 0 union all select i+1 from c where i<1999)"
     " insert into rows select i, 0, randomblob(800) from c;"
     "create table done(n integer primary key);");
}

//! Transactions without end: number n sets a hundred rows that lie far apart to n. Says n, as four
//! bytes, when it is committed.
[[noreturn]] void write_for_ever(const std::string& path, const Mode& mode, int told) {
  Sql db(path, "pool_mib=1");
  db(std::string("pragma synchronous=") + mode.synchronous);
  db("pragma cache_size=20; pragma wal_autocheckpoint=60");
  std::int32_t n = std::stoi(db("select coalesce(max(n), 0) from done"));
  for (;;) {
    ++n;
    const std::string number = std::to_string(n);
    db(std::string("begin immediate; update rows set n=") + number +
       ", b=randomblob(700+abs(random()%200))" + " where a%20=" + std::to_string(n % 20) +
       "; insert into done values(" + number + "); commit");
    if (db.code() != SQLITE_OK) ::_exit(1);
    if (::write(told, &n, sizeof n) != sizeof n) ::_exit(2);
  }
}

//! 0, or what is wrong. `vfs`: SQLite's own or this one must both find it sound.
int check(const std::string& path, const char* vfs, std::int32_t committed) {
  Sql db(path, "", vfs);
  if (db("pragma integrity_check") != "ok") return 1;
  const std::string found = db("select coalesce(max(n), 0) from done");
  if (db.code() != SQLITE_OK) return 2;
  if (std::stoi(found) < committed) return 3;
  // Each row has the number of the last transaction that sets it, of those that are there.
  const std::string wrong =
      "select count(*) from rows where n <> coalesce("
      "(select max(n) from done where n%20=a%20), 0)";
  return db(wrong) == "0" ? 0 : 4;
}

class Killed : public testing::TestWithParam<Mode> {};

TEST_P(Killed, ProcessLosesNoCommit) {
  const Mode mode = GetParam();
  const unsigned long kills = number_from("VMCACHE_SQLITE_KILLS", 3);
  const unsigned long seed = number_from("VMCACHE_SQLITE_SEED", 1);
  SCOPED_TRACE("VMCACHE_SQLITE_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  const Folder folder;
  const std::string path = folder.file();
  // This process has no connection of its own while it forks.
  ASSERT_EQ(in_child([&] {
              make(path, mode);
              return 0;
            }),
            0);
  for (unsigned long kill = 1; kill <= kills; ++kill) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    const pid_t writer = ::fork();
    if (writer == 0) {
      ::close(pipe[0]);
      ::alarm(100);
      write_for_ever(path, mode, pipe[1]);
    }
    ::close(pipe[1]);
    // A random transaction, and a random moment of it, if it takes as long as the one before.
    std::int32_t committed = 0;
    std::int32_t n = 0;
    std::chrono::nanoseconds took{};
    auto before = std::chrono::steady_clock::now();
    for (std::uint64_t left = 2 + random() % 12; left > 0; --left) {
      ASSERT_EQ(::read(pipe[0], &n, sizeof n), static_cast<ssize_t>(sizeof n)) << "the writer died";
      committed = n;
      const auto now = std::chrono::steady_clock::now();
      took = now - std::exchange(before, now);
    }
    std::this_thread::sleep_for(took * (random() % 1000) / 1000);
    ::kill(writer, SIGKILL);
    while (::read(pipe[0], &n, sizeof n) == static_cast<ssize_t>(sizeof n)) committed = n;
    int status = 0;
    ::waitpid(writer, &status, 0);
    ::close(pipe[0]);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    const char* const vfs = kill % 2 == 0 ? "unix" : "vmcache";
    ASSERT_EQ(in_child([&] { return check(path, vfs, committed); }), 0)
        << "kill " << kill << ", " << committed << " commits, checked by " << vfs;
  }
}

//! A kill at the very moment that counts: what SQLite's own VFS finds in a copy of the file.
std::string found_in_copy(const std::string& path) {
  const std::string copy = path + ".copy";
  std::filesystem::copy_file(path, copy, std::filesystem::copy_options::overwrite_existing);
  Sql stock(copy, "", "unix");
  if (stock("pragma integrity_check") != "ok") return "damaged";
  return stock("select count(*) from rows where n=1");
}

TEST(Commit, HasAllPagesInTheFileBeforeItsJournalIsDeleted) {
  for (const char* synchronous : {"off", "full"}) {
    const Folder folder;
    const std::string path = folder.file();
    make(path, {"delete", synchronous});
    Sql db(path, "pool_mib=1");
    db(std::string("pragma synchronous=") + synchronous);
    std::string found;
    test::before_delete([&](const std::string& file) {
      if (file == path + "-journal") found = found_in_copy(path);
    });
    db("update rows set n=1, b=randomblob(700)");
    EXPECT_EQ(found, "2000") << synchronous;
    db("begin; update rows set n=1-n; update rows set b=zeroblob(9); rollback");
    EXPECT_EQ(found, "2000") << "rolled back, " << synchronous;
    test::before_delete({});
  }
}

TEST(Checkpoint, HasAllPagesInTheFileBeforeTheWalIsUsedAgain) {
  const Folder folder;
  const std::string path = folder.file();
  make(path, {"wal", "off"});
  Sql db(path, "pool_mib=1");
  db("pragma synchronous=off");
  db("update rows set n=1, b=randomblob(700)");
  EXPECT_EQ(db("pragma wal_checkpoint"), "0");
  // A copy without the WAL and in its own mode.
  EXPECT_EQ(found_in_copy(path), "2000");
}

INSTANTIATE_TEST_SUITE_P(, Killed,
                         testing::Values(Mode{"delete", "off"}, Mode{"delete", "full"},
                                         Mode{"truncate", "off"}, Mode{"wal", "off"},
                                         Mode{"wal", "full"}),
                         [](const auto& test) {
                           return std::string(test.param.journal) + "_" + test.param.synchronous;
                         });

}  // namespace
}  // namespace vmcache

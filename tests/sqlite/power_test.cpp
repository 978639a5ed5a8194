// SPDX-License-Identifier: MIT
//
// A power cut at any point leaves a sound database with all commits that were acknowledged. What
// reaches the kernel is recorded once; then each point is looked at with SQLite's own VFS.
//
// VMCACHE_SQLITE_CUTS=N looks at N points of each mode (500). VMCACHE_SQLITE_SEED=N is the seed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "sqlite/recording.hpp"
#include "sqlite/support.hpp"
#include "support/sanitizer.hpp"

namespace vmcache {
namespace {

using test::Event;
using test::Folder;
using test::Sql;
using test::Storage;

unsigned long number_from(const char* variable, unsigned long otherwise) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? std::strtoul(text, nullptr, 10) : otherwise;
}

struct Mode {
  const char* journal;
  //! The least that makes a commit durable in this mode.
  const char* synchronous;
};

class PowerCut : public testing::TestWithParam<Mode> {
 protected:
  static constexpr std::uint64_t kTransactions = 60;

  //! Transaction n sets some rows to n, makes the table longer and shorter, and is told.
  void record_work() {
    Sql db(_folder.file(), "pool_mib=1&pool_storage=pread");
    db("pragma page_size=1024; pragma auto_vacuum=full");
    db(std::string("pragma journal_mode=") + GetParam().journal);
    db(std::string("pragma synchronous=") + GetParam().synchronous);
    // Pages are written, and the journal synced, in the middle of a transaction.
    db("pragma cache_size=5; pragma wal_autocheckpoint=30");
    db("create table rows(a integer primary key, n int, b blob);"
       "with recursive c(i) as (select 0 union all select i+1 from c where i<199)"
       " insert into rows select i, 0, randomblob(200) from c;"
       "create table done(n integer primary key);"
       "create table more(b blob);");
    db("pragma wal_checkpoint(truncate)");
    ASSERT_EQ(db.code(), SQLITE_OK);
    _before = test::read_folder(_folder.file(""));
    test::start_recording(_folder.file(""));
    for (std::uint64_t n = 1; n <= kTransactions; ++n) {
      const std::string number = std::to_string(n);
      db("begin; update rows set n=" + number +
         ", b=randomblob(200) where a%10=" + std::to_string(n % 10) +
         (n % 3 == 0 ? "; delete from more" : "; insert into more values(randomblob(9000))") +
         "; insert into done values(" + number + "); commit");
      ASSERT_EQ(db.code(), SQLITE_OK);
      test::record_acknowledged(n);
    }
    _events = test::stop_recording();
  }

  //! Empty, or what is wrong with these files.
  std::string check(const Storage::Files& files, std::uint64_t acknowledged) {
    const Folder folder;
    for (const auto& [name, bytes] : files)
      std::ofstream(folder.file(name), std::ios::binary) << bytes;
    Sql db(folder.file(), "", "unix");
    const std::string sound = db("pragma integrity_check");
    if (sound != "ok") return "integrity_check: " + sound + sqlite3_errmsg(db.db());
    const std::string found = db("select coalesce(max(n), 0) from done");
    if (std::stoul(found) < acknowledged)
      return "transaction " + std::to_string(acknowledged) + " is lost, there is " + found;
    const char* const wrong =
        "select count(*) from rows where n <> coalesce("
        "(select max(n) from done where n%10=a%10), 0)";
    return db(wrong) == "0" ? "" : "a transaction is there in part";
  }

  Folder _folder;
  Storage::Files _before;
  std::vector<Event> _events;
};

TEST_P(PowerCut, LeavesASoundDatabaseWithAllCommits) {
  ASSERT_NO_FATAL_FAILURE(record_work());
  const unsigned long cuts = number_from("VMCACHE_SQLITE_CUTS", test::tries(500));
  const unsigned long seed = number_from("VMCACHE_SQLITE_SEED", 1);
  SCOPED_TRACE("VMCACHE_SQLITE_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  ASSERT_GT(_events.size(), 500U);
  Storage storage(_before);
  std::uint64_t acknowledged = 0;
  unsigned long looked_at = 0;
  for (std::size_t i = 0; i < _events.size(); ++i) {
    storage.apply(_events[i]);
    if (_events[i].kind == Event::Kind::kAcknowledged) acknowledged = _events[i].offset;
    // Spread over all events.
    while (looked_at * _events.size() < (i + 1) * cuts) {
      ++looked_at;
      ASSERT_EQ(check(storage.cut(random), acknowledged), "")
          << "after event " << i << " of " << _events.size();
    }
  }
  EXPECT_EQ(looked_at, cuts);
}

INSTANTIATE_TEST_SUITE_P(, PowerCut,
                         testing::Values(Mode{"delete", "extra"}, Mode{"truncate", "full"},
                                         Mode{"wal", "full"}),
                         [](const auto& test) { return std::string(test.param.journal); });

}  // namespace
}  // namespace vmcache

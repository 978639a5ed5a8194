// SPDX-License-Identifier: MIT
//
// What tests/crash/power_cuts cuts the power under: transactions on the VFS vmcache. Prints the
// number of each one that SQLite has acknowledged. check_power.sh says whether they are there.
// usage: power_work FOLDER JOURNAL_MODE SYNCHRONOUS TRANSACTIONS
#include <sqlite3.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "vmcache_sqlite.h"

namespace {

sqlite3* db = nullptr;

void check(int code) {
  if (code == SQLITE_OK) return;
  std::fprintf(stderr, "power_work: %s\n", db != nullptr ? sqlite3_errmsg(db) : "no database");
  std::exit(1);
}

void run(const std::string& sql) {
  check(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr));
}

void tell(int number) {
  std::printf("%d\n", number);
  std::fflush(stdout);
}

//! Transaction n sets a tenth of the rows to n, and makes the file longer or shorter.
void transaction(int n) {
  const std::string number = std::to_string(n);
  run("begin; update rows set n=" + number +
      ", b=randomblob(200) where a%10=" + std::to_string(n % 10) +
      (n % 3 == 0 ? "; delete from more" : "; insert into more values(randomblob(9000))") +
      "; insert into done values(" + number + "); commit");
  tell(n);
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int kArguments = 5;
  if (argc != kArguments) {
    std::fputs("usage: power_work FOLDER JOURNAL_MODE SYNCHRONOUS TRANSACTIONS\n", stderr);
    return 2;
  }
  check(vmcache_sqlite_register(0));
  // With pread every write is a call that the recorder sees.
  const std::string uri =
      "file:" + std::string(argv[1]) + "/test.db?vfs=vmcache&pool_mib=1&pool_storage=pread";
  check(sqlite3_open_v2(uri.c_str(), &db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, nullptr));
  run("pragma page_size=1024; pragma auto_vacuum=full");
  run(std::string("pragma journal_mode=") + argv[2]);
  run(std::string("pragma synchronous=") + argv[3]);
  // Pages are written, and the journal synced, in the middle of a transaction.
  run("pragma cache_size=5; pragma wal_autocheckpoint=30");
  run("begin; create table rows(a integer primary key, n int, b blob);"
      "with recursive c(i) as (select 0 union all select i+1 from c where i<199)"
      " insert into rows select i, 0, randomblob(200) from c;"
      "create table done(n integer primary key); create table more(b blob); commit");
  tell(0);
  const int transactions = std::atoi(argv[4]);
  for (int n = 1; n <= transactions; ++n) transaction(n);
  sqlite3_close(db);
}

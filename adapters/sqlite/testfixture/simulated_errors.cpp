// SPDX-License-Identifier: MIT
#include "simulated_errors.hpp"

#include <cstdio>
#include <cstdlib>

// testfixture's own, which its scripts set and read.
extern "C" {
extern int sqlite3_io_error_hit;
extern int sqlite3_io_error_hardhit;
extern int sqlite3_io_error_pending;
extern int sqlite3_io_error_persist;
extern int sqlite3_io_error_benign;
extern int sqlite3_diskfull_pending;
extern int sqlite3_diskfull;
extern int sqlite3_sync_count;
extern int sqlite3_fullsync_count;
extern int sqlite3_open_file_count;
}

//! The linker puts it in the library's way (--wrap): SQLite's test build does not flush either
//! (SQLITE_NO_SYNC).
extern "C" int __wrap_fdatasync(int) {  // NOLINT: the linker's name
  return 0;
}

namespace vmcache::sqlite::simulated {
namespace {

//! Errors so far, told at the end: the suite's report says how many hit this VFS.
struct Count {
  unsigned long errors = 0;
  ~Count() {
    if (errors > 0) std::fprintf(stderr, "vmcache: %lu simulated errors\n", errors);
  }
} count;

void note_hit() noexcept {
  ++sqlite3_io_error_hit;
  if (sqlite3_io_error_benign == 0) ++sqlite3_io_error_hardhit;
  ++count.errors;
}

}  // namespace

bool io_error() noexcept {
  const bool persists = sqlite3_io_error_persist != 0 && sqlite3_io_error_hit != 0;
  if (!persists && sqlite3_io_error_pending-- != 1) return false;
  note_hit();
  return true;
}

bool disk_full() noexcept {
  if (sqlite3_diskfull_pending == 0) return false;
  if (sqlite3_diskfull_pending > 1) {
    --sqlite3_diskfull_pending;
    return false;
  }
  note_hit();
  sqlite3_diskfull = 1;
  sqlite3_io_error_hit = 1;
  return true;
}

void set_benign(bool benign) noexcept {
  sqlite3_io_error_benign = benign ? 1 : 0;
}

void count_sync(bool full) noexcept {
  if (full) ++sqlite3_fullsync_count;
  ++sqlite3_sync_count;
}

void count_open(int more) noexcept {
  sqlite3_open_file_count += more;
}

}  // namespace vmcache::sqlite::simulated

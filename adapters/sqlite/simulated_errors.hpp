// SPDX-License-Identifier: MIT
//
// I/O errors and full disks that SQLite's test suite asks for, through the counters that its test
// build has (VMCACHE_SQLITE_TESTFIXTURE). In every other build these functions are constants.
#pragma once

namespace vmcache::sqlite::simulated {

#ifdef VMCACHE_SQLITE_TESTFIXTURE
//! True if this call has to fail: its turn has come.
[[nodiscard]] bool io_error() noexcept;
[[nodiscard]] bool disk_full() noexcept;
//! Errors of calls that SQLite makes as a hint do not count as hard ones while it is set.
void set_benign(bool benign) noexcept;
//! For tests that count syncs, and open files.
void count_sync(bool full) noexcept;
void count_open(int more) noexcept;
#else
[[nodiscard]] constexpr bool io_error() noexcept {
  return false;
}
[[nodiscard]] constexpr bool disk_full() noexcept {
  return false;
}
constexpr void set_benign(bool) noexcept {}
constexpr void count_sync(bool) noexcept {}
constexpr void count_open(int) noexcept {}
#endif

}  // namespace vmcache::sqlite::simulated

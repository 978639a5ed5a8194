// SPDX-License-Identifier: MIT
//
// From exceptions to SQLite's codes, with a line in sqlite3_log() that says what a code cannot.
#pragma once

#include <string>

#include "vmcache/error.hpp"

namespace vmcache::sqlite {

//! Writes "vmcache: `what`" to SQLite's log, and returns `code`.
int report(int code, const std::string& what) noexcept;

//! The code for a failure of the pool in a call whose own code for I/O errors is `io_code`:
//! SQLITE_FULL, SQLITE_BUSY, SQLITE_IOERR_NOMEM or `io_code`.
[[nodiscard]] int code_of(const Error& error, int io_code) noexcept;

//! For the exception that is being handled; see guarded().
int report_exception(int io_code, const char* doing, const std::string& path) noexcept;

//! Runs `call`, which returns one of SQLite's codes or throws. What it throws is reported as
//! "`doing` `path`: ...".
template <typename Call>
int guarded(int io_code, const char* doing, const std::string& path, Call call) noexcept {
  try {
    return call();
  } catch (...) {
    return report_exception(io_code, doing, path);
  }
}

}  // namespace vmcache::sqlite

// SPDX-License-Identifier: MIT
//
// For tests of the SQLite VFS: folders, connections, and what SQLite's log says. Public headers
// only.
#pragma once

#include <sqlite3.h>

#include <filesystem>
#include <string>

namespace vmcache::test {

//! A folder in the working directory that is gone with the object.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string file(const std::string& name = "test.db") const { return _path / name; }

 private:
  std::filesystem::path _path;
};

//! A connection. Statements that fail show in code().
class Sql {
 public:
  static constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI;

  //! `parameters` as in a URI: "pool_mib=8&...".
  explicit Sql(const std::string& path, const std::string& parameters = "",
               const char* vfs = "vmcache", int flags = kFlags);
  ~Sql() { sqlite3_close(_db); }
  Sql(const Sql&) = delete;
  Sql& operator=(const Sql&) = delete;

  //! The first column of all rows, a space between them. Empty if the statement failed.
  std::string operator()(const std::string& sql);
  //! Extended code of the last statement, or of the open.
  [[nodiscard]] int code() const noexcept { return _code; }
  [[nodiscard]] sqlite3* db() const noexcept { return _db; }
  //! SQLite's file of the main database.
  [[nodiscard]] sqlite3_file* file() const;

 private:
  sqlite3* _db = nullptr;
  int _code = SQLITE_OK;
};

//! What has come through sqlite3_log() since the last call.
[[nodiscard]] std::string take_log();

}  // namespace vmcache::test

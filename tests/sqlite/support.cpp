// SPDX-License-Identifier: MIT
#include "sqlite/support.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "sqlite/below.hpp"

namespace vmcache::test {
namespace {

std::mutex log_mutex;
std::string log_lines;

void keep_line(void*, int code, const char* line) {
  const std::lock_guard lock(log_mutex);
  log_lines += std::to_string(code) + " " + line + "\n";
}

}  // namespace

std::string take_log() {
  const std::lock_guard lock(log_mutex);
  return std::exchange(log_lines, {});
}

Folder::Folder() {
  std::string name = std::filesystem::current_path() / "sqlite-test-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
  _path = name;
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(_path, ignored);
}

Sql::Sql(const std::string& path, const std::string& parameters, const char* vfs, int flags) {
  const std::string uri = "file:" + path + "?" + parameters;
  _code = sqlite3_open_v2(uri.c_str(), &_db, flags, vfs);
  if (_db != nullptr) sqlite3_extended_result_codes(_db, 1);  // null: no memory
}

std::string Sql::operator()(const std::string& sql) {
  std::string rows;
  const auto row = [](void* to, int columns, char** values, char**) {
    std::string& text = *static_cast<std::string*>(to);
    if (!text.empty()) text += ' ';
    if (columns > 0 && values[0] != nullptr) text += values[0];
    return 0;
  };
  _code = sqlite3_exec(_db, sql.c_str(), row, &rows, nullptr);
  return _code == SQLITE_OK ? rows : std::string();
}

sqlite3_file* Sql::file() const {
  sqlite3_file* file = nullptr;
  EXPECT_EQ(sqlite3_file_control(_db, "main", SQLITE_FCNTL_FILE_POINTER, &file), SQLITE_OK);
  return file;
}

}  // namespace vmcache::test

extern "C" int register_from_c(void);  // register.c

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  sqlite3_config(SQLITE_CONFIG_LOG, vmcache::test::keep_line, nullptr);
  if (vmcache::test::register_below() != SQLITE_OK) return 2;
  if (register_from_c() != SQLITE_OK) return 2;
  return RUN_ALL_TESTS();
}

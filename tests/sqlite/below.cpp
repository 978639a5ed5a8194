// SPDX-License-Identifier: MIT
#include "sqlite/below.hpp"

#include <functional>
#include <string>
#include <utility>

namespace vmcache::test {
namespace {

std::function<void(const std::string&)> delete_hook;
sqlite3_vfs* stock = nullptr;

int remove(sqlite3_vfs*, const char* path, int sync_folder) {
  if (delete_hook) delete_hook(path);
  return stock->xDelete(stock, path, sync_folder);
}

}  // namespace

void before_delete(std::function<void(const std::string&)> hook) {
  delete_hook = std::move(hook);
}

int register_below() {
  static sqlite3_vfs below{};
  stock = sqlite3_vfs_find(nullptr);
  below = *stock;
  below.zName = "below";
  below.pNext = nullptr;
  below.xDelete = remove;
  return sqlite3_vfs_register(&below, 1);
}

}  // namespace vmcache::test

// SPDX-License-Identifier: MIT
//
// The VFS below ours: SQLite's own, which also calls a hook.
#pragma once

#include <sqlite3.h>

#include <functional>
#include <string>

namespace vmcache::test {

//! Makes the VFS "below" the default one. For main(), before ours is registered.
[[nodiscard]] int register_below();

//! Calls `hook` before it deletes a file. Not thread-safe.
void before_delete(std::function<void(const std::string& path)> hook);

}  // namespace vmcache::test

// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <memory>
#include <span>

#include "storage/layout.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache {

class Log;

//! Opens the file or block device of `options`, and locks it against a second opening. Throws Error:
//! kInvalidOption (no such file and not to be created), kInUse, kIo, kUnsupported.
[[nodiscard]] std::unique_ptr<Storage> open_storage(const PoolOptions& options, Log& log);

struct ReadOnlyStorage {
  std::unique_ptr<Storage> storage;
  Layout layout;  //!< says which of the paths a byte is on
};
//! Opens what is there without ever writing to it, locked against those that write. Writes to it fail with EBADF.
//! Throws Error: the same, and kCorrupt, kNotADatabase for stripe labels.
[[nodiscard]] ReadOnlyStorage open_storage_read_only(std::span<const std::filesystem::path> paths, Log& log);

}  // namespace vmcache

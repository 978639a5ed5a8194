// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <memory>
#include <span>

#include "storage/layout.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache {

class Logger;

//! Opens the file or block device of `options`, and locks it against a second opening. Throws
//! Error: kInvalidOption (no such file and not to be created), kInUse, kIo, kUnsupported.
[[nodiscard]] std::unique_ptr<Storage> open_storage(const PoolOptions& options, Logger& logger);

struct ReadOnlyStorage {
  std::unique_ptr<Storage> storage;
  Layout layout;  //!< says which of the paths a byte is on
};
//! Opens existing files or devices for reading, and locks them against writers. Writes to the
//! storage fail with EBADF. Throws Error as open_storage() does, and kCorrupt or kNotADatabase for
//! stripe labels.
[[nodiscard]] ReadOnlyStorage open_storage_read_only(std::span<const std::filesystem::path> paths,
                                                     Logger& logger);

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <memory>

#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache {

class Log;

//! Opens the file or block device of `options`, and locks it against a second opening. Throws Error:
//! kInvalidOption (no such file and not to be created), kInUse, kIo, kUnsupported.
[[nodiscard]] std::unique_ptr<Storage> open_storage(const PoolOptions& options, Log& log);

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "vmcache/options.hpp"

namespace vmcache {

//! Throws Error kInvalidOption that names the option, its value and what is allowed.
void check_options(const PoolOptions& options);
//! The same for a pool size alone.
void check_pool_bytes(std::uint64_t pool_bytes, const PoolOptions& options);

//! The same for what concerns a database, whatever pool it is in.
void check_database_options(const PoolOptions& options);

}  // namespace vmcache

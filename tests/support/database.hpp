// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "support/code_of.hpp"
#include "support/options.hpp"
#include "vmcache/database.hpp"

namespace vmcache::test {

//! A database on two files, with the smallest log.
inline DatabaseOptions on_files(const TempFile& pages, const TempFile& log,
                                std::uint64_t pool_pages = 64) {
  DatabaseOptions options;
  options.pool = small_pool(pages, pool_pages);
  options.log.path = log.path();
  options.log.capacity_bytes = std::uint64_t{1} << 20;
  return options;
}

}  // namespace vmcache::test

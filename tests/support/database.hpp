// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "support/options.hpp"
#include "vmcache/database.hpp"

namespace vmcache::test {

//! A database on two files, with the smallest log.
inline DatabaseOptions on_files(const TempFile& pages, const TempFile& log, std::uint64_t pool_pages = 64) {
  DatabaseOptions options;
  options.pool = small_pool(pages, pool_pages);
  options.log.path = log.path();
  options.log.capacity_bytes = std::uint64_t{1} << 20;
  return options;
}

//! How `call` ends.
Errc code_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return Errc::kOk;
}

}  // namespace vmcache::test

// SPDX-License-Identifier: MIT
//
// The drives of tests/guest/devices.sh, and pools on them.
//   data0  with poll queues
//   data1  is taken from its driver
//   data2  fails: once to read page 500 and to write page 501; always reads of page 1000 (EIO),
//          writes of page 1001 (EIO) and of page 1002 (ENOSPC)
//   data3  fails every flush
//   data4  is pulled out of its slot
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmcache::test {

constexpr const char* kGood = "/dev/vm/data0-char";
constexpr PageId kFull = 1002;  // cannot be written on the failing drive: ENOSPC

inline PoolOptions pool_on(const std::string& path) {
  PoolOptions options;
  options.path = path;
  options.pool_bytes = 64 * kPageSize;
  options.capacity_bytes = 65536 * kPageSize;
  options.memory = default_memory;
  options.allow_unclean = true;
  return options;
}

inline PoolOptions polled_pool_on(const std::string& path) {
  PoolOptions options = pool_on(path);
  options.io_uring.polled = Switch::kOn;
  return options;
}

inline void wipe(const std::string& path) {
  default_devices = {path};
  wipe_devices();
  default_devices.clear();
}

inline Error error_of_open(const PoolOptions& options) {
  try {
    const BufferPool pool(options);
  } catch (const Error& error) {
    return error;
  }
  return Error(Status{});
}

inline std::uint64_t number_of(PageId page_id) {
  return page_id * 31;
}

//! Fills pages up to kFull + 100; those that fail to be written stay where they are.
inline void fill(BufferPool& pool) {
  for (PageId id = 0; id < kFull + 100;) {
    const ExclusiveGuard guard = pool.allocate();
    id = guard.page_id();
    *guard.as<std::uint64_t>() = number_of(id);
  }
}

//! "nvmeX" of the block device /dev/nvmeXn1.
inline std::string controller_of(const std::string& path) {
  std::string name = std::filesystem::read_symlink(path).filename();
  name.resize(name.rfind('n'));
  return name;
}

}  // namespace vmcache::test

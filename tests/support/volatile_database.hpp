// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <memory>

#include "support/options.hpp"
#include "support/volatile_device.hpp"
#include "vmcache/database.hpp"

namespace vmcache::test {

//! A database of up to 256 MiB on two devices that can lose power. `pages` and `log` outlive it.
inline DatabaseOptions on_devices(VolatileDevice& pages, VolatileDevice& log,
                                  std::uint64_t pool_bytes, std::uint64_t log_bytes) {
  DatabaseOptions options;
  options.pool.make_storage = [&pages] { return std::make_unique<VolatileStorage>(pages); };
  options.pool.pool_bytes = pool_bytes;
  options.pool.capacity_bytes = std::uint64_t{1} << 28;
  options.pool.memory = default_memory;
  options.log.make_storage = [&log] { return std::make_unique<VolatileStorage>(log); };
  options.log.capacity_bytes = log_bytes;
  return options;
}

}  // namespace vmcache::test

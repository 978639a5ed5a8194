// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>

#include "support/temp_file.hpp"
#include "vmcache/options.hpp"

namespace vmcache::test {

//! What tests open their pools on, unless they are about a certain memory:
//! --memory=auto|anonymous|exmap (support/main.cpp).
inline MemoryKind default_memory = MemoryKind::kAuto;

//! A small pool on `file`. Patient, because test machines are slow, above all under a sanitizer or
//! in emulation.
inline PoolOptions small_pool(const TempFile& file, std::uint64_t pages,
                              std::uint64_t capacity_pages = 1 << 16) {
  PoolOptions options;
  if (file.on_devices()) {
    options.paths = default_devices;
  } else {
    options.path = file.path();
  }
  options.pool_bytes = pages * kPageSize;
  options.capacity_bytes = capacity_pages * kPageSize;
  options.frame_wait = std::chrono::seconds(20);
  options.memory = default_memory;
  return options;
}

}  // namespace vmcache::test

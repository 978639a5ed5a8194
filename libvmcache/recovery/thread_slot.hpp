// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <functional>
#include <thread>

namespace vmcache {

//! A number that stays the same for a thread and differs between most threads. In an array with one
//! element a cache line, a thread begins at its slot, so that few threads write to the same line.
[[nodiscard]] inline std::size_t thread_slot() noexcept {
  static thread_local const std::size_t slot =
      std::hash<std::thread::id>{}(std::this_thread::get_id());
  return slot;
}

}  // namespace vmcache

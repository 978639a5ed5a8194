// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <functional>
#include <thread>

namespace vmcache {

//! A number that stays the same for a thread and differs between most threads: where in an array of counters or places,
//! one a cache line, a thread begins to look, so that threads do not meet in one line.
[[nodiscard]] inline std::size_t place_of_thread() noexcept {
  static thread_local const std::size_t place = std::hash<std::thread::id>{}(std::this_thread::get_id());
  return place;
}

}  // namespace vmcache

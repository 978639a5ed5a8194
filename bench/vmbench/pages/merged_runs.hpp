// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <system_error>
#include <vector>

#include "pages/area.hpp"

namespace vmbench {

//! Calls function(first, count) for each run of neighbours among `pages`.
template <typename Function>
void for_each_run(std::span<const PageIndex> pages, Function&& function) {
  thread_local std::vector<PageIndex> sorted;
  sorted.assign(pages.begin(), pages.end());
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < sorted.size();) {
    std::size_t end = i + 1;
    while (end < sorted.size() && sorted[end] == sorted[end - 1] + 1) end++;
    function(sorted[i], end - i);
    i = end;
  }
}

//! One madvise a run of neighbours. Throws std::system_error.
inline void advise_runs(const AnonymousArea& area, std::span<const PageIndex> pages, int advice) {
  for_each_run(pages, [&](PageIndex first, std::size_t count) {
    if (madvise(area.page(first), count * kPage, advice) != 0)
      throw std::system_error(errno, std::generic_category(), "madvise of a run");
  });
}

}  // namespace vmbench

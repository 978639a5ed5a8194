// SPDX-License-Identifier: MIT
#pragma once

#include "common/report.hpp"
#include "pages/ways.hpp"

namespace vmbench {

//! One row of `vmbench pages`.
struct PagesRun {
  const WayEntry* way = nullptr;
  unsigned batch = 1;
  unsigned threads = 1;
  bool spinner = false;
  unsigned locality = 1;  //!< pages come in clusters of so many neighbours
  std::size_t pages = 0;
  double seconds = 0.5;
  bool icount_clock = false;
};

//! Measures it. A way that is refused gives a row of nulls with "refused" set to the reason.
[[nodiscard]] Json measure(const PagesRun& run);

}  // namespace vmbench

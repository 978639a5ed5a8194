// SPDX-License-Identifier: MIT
#include "common/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace vmbench {

Progress::Progress() : _terminal(isatty(STDERR_FILENO) == 1) {}

void Progress::show(const std::string& line) {
  if (!_terminal) return;
  fmt::print(stderr, "\r\033[K{}", line);
  std::fflush(stderr);
  _shown = true;
}

void Progress::clear() {
  if (!_shown) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  _shown = false;
}

}  // namespace vmbench

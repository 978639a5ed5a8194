// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "common/report.hpp"

namespace vmbench {

//! Kernel, CPU, memory, date and command line: what a reader must know to judge a figure.
[[nodiscard]] Json machine_context(const std::vector<std::string>& arguments);

}  // namespace vmbench

// SPDX-License-Identifier: MIT
#pragma once

#include <functional>

#include "common/report.hpp"

namespace vmbench {

//! Runs `work` in a forked process and returns what it returned: memory, page cache charges, CPU
//! time and counters then belong to that run alone. The calling process must have one thread.
//! Throws std::runtime_error with the child's message, or with how it was killed.
Json run_in_child(const std::function<Json()>& work);

}  // namespace vmbench

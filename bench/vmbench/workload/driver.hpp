// SPDX-License-Identifier: MIT
#pragma once

#include "common/report.hpp"
#include "workload/options.hpp"

namespace vmbench {

//! Opens the system, warms it up until its cache is full, measures, and returns the row. Called in
//! a process of its own. Throws on any failed or wrong operation.
[[nodiscard]] Json run_workload(const WorkloadOptions& options);

}  // namespace vmbench

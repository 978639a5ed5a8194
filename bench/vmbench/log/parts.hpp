// SPDX-License-Identifier: MIT
//
// The questions that `vmbench log` answers. Each is asked in a process of its own and gives an
// array of rows, its baseline among them or in them.
#pragma once

#include "common/report.hpp"
#include "log/options.hpp"

namespace vmbench {

//! Commits that are waited for, by number of threads, beside the device's own write + flush.
[[nodiscard]] Json measure_commits(const LogBenchOptions& options);
//! YCSB-A in memory on a plain pool and on a database with a log.
[[nodiscard]] Json measure_ycsb_a(const LogBenchOptions& options);
//! Updates while a checkpoint runs and while none does.
[[nodiscard]] Json measure_checkpoint(const LogBenchOptions& options);
//! Lookups larger than memory with and without sealed pages.
[[nodiscard]] Json measure_checksums(const LogBenchOptions& options);
//! Opening after an unclean stop, by what was written to the log.
[[nodiscard]] Json measure_recovery(const LogBenchOptions& options);

}  // namespace vmbench

// SPDX-License-Identifier: MIT
#pragma once

#include "io/io_run.hpp"

namespace vmbench {

//! Runs fio with the run's settings and fills reference_iops, reference_instructions_per_io (with
//! run.icount_clock) and reference_command, or reference_reason where fio is not to be had or
//! fails.
void add_reference(const IoRun& run, Json& row);

}  // namespace vmbench

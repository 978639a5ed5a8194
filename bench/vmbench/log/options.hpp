// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "workload/options.hpp"

namespace vmbench {

//! What `vmbench log` was asked for.
struct LogBenchOptions {
  std::vector<std::string> parts;
  //! Made and removed, as are FILE.log, FILE.plain, FILE.sealed.
  std::string file = "vmbench-log.db";
  std::string log_file;  //!< FILE.log, if not given
  std::vector<unsigned> threads;
  double seconds = 0.5;  //!< a slice
  unsigned rounds = 5;   //!< slices of each system
  std::uint64_t data_bytes = 0;
  std::uint64_t log_bytes = 0;  //!< capacity of the log
  unsigned group = 0;           //!< commits that are waited for together
  unsigned waiters = 0;         //!< threads that wait for each commit of theirs
  unsigned tasks = 0;           //!< in flight a thread, in larger-than-memory lookups
  unsigned cpus = 1;            //!< of this machine: more busy threads than these are not compared
  double theta = 0.99;
  std::vector<std::uint64_t> intervals;  //!< between checkpoints, for recovery
  std::uint64_t seed = 1;
  std::string json;
  std::string recovery_tsv;

  [[nodiscard]] std::string log_path() const { return log_file.empty() ? file + ".log" : log_file; }
  [[nodiscard]] std::uint64_t records() const { return data_bytes / kRecordSize; }
  //! YCSB's workload A on these records.
  [[nodiscard]] WorkloadOptions workload_a() const {
    WorkloadOptions run;
    run.workload = "ycsb-a";
    run.data_bytes = data_bytes;
    run.mix = {50, 50, 0, 0, 0};
    run.distribution = Distribution::kZipf;
    run.theta = theta;
    return run;
  }
};

}  // namespace vmbench

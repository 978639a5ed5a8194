// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "workload/records.hpp"

namespace vmbench {

class IdleClock;

enum class Distribution : std::uint8_t { kUniform, kZipf, kLatest };

//! Shares of the operations in percent (Cooper et al., "Benchmarking cloud serving systems with
//! YCSB", SoCC 2010).
struct Mix {
  unsigned read = 100;
  unsigned update = 0;
  unsigned insert = 0;
  unsigned scan = 0;
  unsigned read_modify_write = 0;

  [[nodiscard]] bool changes_data() const { return read + scan < 100; }
};

//! One run of one system.
struct WorkloadOptions {
  std::string workload = "lookup";  //!< lookup, or ycsb a..f
  std::string system;
  //! Of the vmcache systems: the library's B+tree, or the peers' page format.
  std::string index = "btree";
  std::string file;  //!< a suffix tells the formats apart
  //! Of the vmcache systems, instead of a file: empty, or left by --keep.
  std::vector<std::string> devices;
  std::uint64_t data_bytes = 0;  //!< keys and values
  std::uint64_t pool_bytes = 0;
  unsigned threads = 1;
  unsigned tasks = 128;  //!< in flight a thread, where the system can
  unsigned evict_batch = 64;
  unsigned io_depth = 256;
  std::string memory = "auto";
  std::string anonymous_release = "auto";
  double seconds = 10;
  double warmup_max_seconds = 120;
  Distribution distribution = Distribution::kUniform;
  double theta = 0.99;
  Mix mix;
  std::uint64_t seed = 1;
  //! The machine's clock counts instructions, and this tells those of waiting; null elsewhere.
  const IdleClock* idle_clock = nullptr;

  [[nodiscard]] std::uint64_t records() const { return data_bytes / kRecordSize; }
};

}  // namespace vmbench

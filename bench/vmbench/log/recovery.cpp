// SPDX-License-Identifier: MIT
//
// How long opening takes after a process was cut off, by how much it had written to its log: it
// grows up to what fits between two checkpoints, and no further.
#include <fmt/format.h>

#include <memory>

#include "common/child.hpp"
#include "common/clock.hpp"
#include "common/progress.hpp"
#include "common/random.hpp"
#include "log/bench_database.hpp"
#include "log/parts.hpp"

namespace vmbench {

namespace {

//! A database makes a checkpoint when half of its log is in use.
constexpr std::uint64_t kIntervalsInLog = 2;
//! What is written before the cut, in intervals.
constexpr double kWritten[] = {0.25, 0.5, 0.75, 0.95, 1.5, 1.95, 2.95, 3.95};

vmcache::DatabaseOptions options_for(const LogBenchOptions& options, std::uint64_t interval) {
  vmcache::DatabaseOptions database = database_options(options);
  database.log.capacity_bytes = interval * kIntervalsInLog;
  database.checkpoint_thread = false;  // so that one begins where the interval ends
  return database;
}

//! Updates until so many bytes are in the log, and ends without a close, as if killed.
Json write_and_be_cut_off(const LogBenchOptions& options, std::uint64_t interval,
                          std::uint64_t bytes) {
  // Never destroyed: closing is what must not happen.
  auto& database = *new vmcache::Database(options_for(options, interval));
  const KeySpace keys(options.records());
  SplitMix64 random(options.seed);
  const vmcache::Lsn begin = database.log().end();
  std::uint64_t commits = 0;
  for (; database.log().end() - begin < bytes; commits++)
    update_no_wait(database, keys.key(random.below(keys.loaded())), random.next());
  database.log().flush();
  return Json{{"commits", commits}, {"checkpoints", database.checkpoints()}};
}

Json open_again(const LogBenchOptions& options, std::uint64_t interval) {
  const std::uint64_t start = now_ns();
  vmcache::Database database(options_for(options, interval));
  const double open_ms = static_cast<double>(now_ns() - start) * 1e-6;
  const vmcache::RecoveryStats& stats = database.recovery();
  const double log_mib = static_cast<double>(stats.log_bytes) / (1 << 20);
  Json row{{"open_ms", open_ms},       {"log_bytes_found", stats.log_bytes},
           {"records", stats.records}, {"pages_from_images", stats.pages},
           {"changes", stats.changes}, {"log_mib_per_s", log_mib / open_ms * 1000}};
  database.close();
  return row;
}

}  // namespace

Json measure_recovery(const LogBenchOptions& options) {
  Progress progress;
  Json rows = Json::array();
  for (const std::uint64_t interval : options.intervals) {
    remove_files(options);
    run_in_child([&] {
      vmcache::Database database(options_for(options, interval));
      load(database, options);
      database.close();
      return Json(nullptr);
    });
    for (const double written : kWritten) {
      const auto bytes = static_cast<std::uint64_t>(static_cast<double>(interval) * written);
      progress.show(fmt::format("recovery: {} MiB between checkpoints, {} MiB written",
                                interval >> 20, bytes >> 20));
      const Json cut = run_in_child([&] { return write_and_be_cut_off(options, interval, bytes); });
      Json row{{"part", "recovery"}, {"interval_bytes", interval}, {"log_bytes_written", bytes}};
      row.update(cut);
      row.update(run_in_child([&] { return open_again(options, interval); }));
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

}  // namespace vmbench

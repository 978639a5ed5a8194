// SPDX-License-Identifier: MIT
//
// vmbench log: what transactional safety costs, each figure beside its baseline in the same run.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <thread>

#include "commands.hpp"
#include "common/child.hpp"
#include "common/report.hpp"
#include "log/bench_database.hpp"
#include "log/parts.hpp"

namespace vmbench {

namespace {

struct Part {
  const char* name;
  const char* question;
  Json (*measure)(const LogBenchOptions&);
  std::vector<Column> columns;
};

const std::vector<Part>& all_parts() {
  static const std::vector<Part> parts{
      {"commits",
       "one update a commit, each waited for; the device: its own write + flush of as many bytes",
       measure_commits,
       {{"threads", "threads"},
        {"commits_per_s", "commits/s"},
        {"p50_us", "p50 us"},
        {"p99_us", "p99 us"},
        {"max_us", "max us"},
        {"commits_per_flush", "commits/flush", 1},
        {"log_bytes_per_commit", "log B/commit"},
        {"log_mib_per_s", "log MiB/s", 2},
        {"flushes_per_s", "flushes/s"},
        {"device_flushes_per_s", "device's"},
        {"of_device", "ratio", 2}}},
      {"ycsb",
       "YCSB-A in memory (Zipf), against a plain pool with as many threads (the most, for those "
       "that wait "
       "each time)",
       measure_ycsb_a,
       {{"system", "system"},
        {"threads", "threads"},
        {"group", "group"},
        {"tasks", "tasks"},
        {"ops_per_s", "ops/s"},
        {"ratio", "of no log", 2},
        {"durable_p50_us", "durable p50 us"},
        {"durable_p99_us", "p99 us"},
        {"commits_per_flush", "commits/flush", 1},
        {"log_bytes_per_update", "log B/update"},
        {"checkpoints", "checkpoints"}}},
      {"checkpoint",
       "YCSB-A, groups awaited, while no checkpoint runs, while one does, and as long after it",
       measure_checkpoint,
       {{"threads", "threads"},
        {"ops_per_s_without", "ops/s without"},
        {"ops_per_s_during", "during"},
        {"ratio", "ratio", 2},
        {"ratio_after", "after", 2},
        {"checkpoint_s", "a checkpoint s", 2},
        {"pages_written", "pages written"},
        {"log_bytes_per_op_without", "log B/op without"},
        {"log_bytes_per_op_during", "during"}}},
      {"checksums",
       "lookups in data 4 x the pool, with pages sealed and checked or not",
       measure_checksums,
       {{"system", "pages"},
        {"threads", "threads"},
        {"tasks", "tasks"},
        {"lookups_per_s", "lookups/s"},
        {"ratio", "ratio", 3},
        {"page_reads", "page reads"}}},
      {"recovery",
       "opening after an unclean stop, by what was written to the log",
       measure_recovery,
       {{"interval_bytes", "interval MiB", 1, 1 << 20},
        {"log_bytes_written", "written MiB", 1, 1 << 20},
        {"commits", "commits"},
        {"checkpoints", "checkpoints"},
        {"log_bytes_found", "found MiB", 1, 1 << 20},
        {"pages_from_images", "pages"},
        {"changes", "changes"},
        {"open_ms", "open ms", 1},
        {"log_mib_per_s", "MiB/s", 1}}},
  };
  return parts;
}

void check(const LogBenchOptions& options) {
  if (options.data_bytes < (1u << 20)) throw CLI::ValidationError("--data", "at least 1MiB");
  for (const std::string& path : {options.file, options.log_path()}) {
    if (std::filesystem::exists(path))
      throw CLI::ValidationError("--file",
                                 path + " exists; name a file that can be made and removed");
  }
  for (const std::uint64_t interval : options.intervals) {
    if (interval < (1u << 19) || interval % 4096 != 0)
      throw CLI::ValidationError("--intervals", "at least 512KiB, multiples of 4KiB");
  }
}

//! For bench/plots/recovery.gp: a block of lines an interval, with two empty lines between.
void write_recovery_tsv(const Report& report, const std::string& path) {
  std::ofstream out(path);
  out << "interval_mib\twritten_mib\tfound_mib\topen_ms\n";
  double last = 0;
  for (const Json& row : report.rows()) {
    if (row["part"] != "recovery") continue;
    const auto mib = [&](const char* key) { return row[key].get<double>() / (1 << 20); };
    if (last != 0 && mib("interval_bytes") != last) out << "\n\n";
    last = mib("interval_bytes");
    out << fmt::format("{:.1f}\t{:.2f}\t{:.2f}\t{:.2f}\n", last, mib("log_bytes_written"),
                       mib("log_bytes_found"), row["open_ms"].get<double>());
  }
  out.close();
  if (!out)
    throw std::runtime_error(fmt::format("--tsv {}: cannot write: {}", path, std::strerror(errno)));
}

void set_context(Report& report, const LogBenchOptions& options) {
  report.set_context("data_bytes", options.data_bytes);
  report.set_context("log_capacity_bytes", options.log_bytes);
  report.set_context("slice_seconds", options.seconds);
  report.set_context("rounds", options.rounds);
  report.set_context("theta", options.theta);
  report.set_context("seed", options.seed);
}

void run(const LogBenchOptions& options, const std::vector<std::string>& arguments) {
  check(options);
  Report all(arguments);
  set_context(all, options);
  for (const Part& part : all_parts()) {
    if (std::find(options.parts.begin(), options.parts.end(), part.name) == options.parts.end())
      continue;
    Report report(arguments);
    Json rows;
    try {
      // Which has processes of its own.
      rows = std::string(part.name) == "recovery"
                 ? part.measure(options)
                 : run_in_child([&] { return part.measure(options); });
    } catch (...) {
      remove_files(options);
      throw;
    }
    remove_files(options);
    for (Json& row : rows) {
      report.add_row(row);
      all.add_row(std::move(row));
    }
    fmt::print("{}: {}\n", part.name, part.question);
    report.print_table(part.columns);
    fmt::print("\n");
  }
  if (!options.json.empty()) all.write_json(options.json);
  if (!options.recovery_tsv.empty()) write_recovery_tsv(all, options.recovery_tsv);
}

void add_size(CLI::App& command, const std::string& name, std::uint64_t& target, const char* text,
              const char* shown) {
  command.add_option(name, target, text)->transform(CLI::AsSizeValue(false))->default_val(shown);
}

void add_options(CLI::App& command, LogBenchOptions& options) {
  command.add_option("--parts", options.parts, "with commas")
      ->delimiter(',')
      ->check(CLI::IsMember(options.parts))
      ->default_str("all");
  command
      .add_option(
          "--threads", options.threads,
          "with commas; where threads never wait, those above the number of CPUs are left out")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command
      .add_option("--group", options.group,
                  "ycsb, checkpoint: commits that a client waits for together")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      .add_option("--waiters", options.waiters, "ycsb: threads that wait for each of their commits")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      .add_option(
          "--tasks", options.tasks,
          "ycsb: a thread's tasks, each of which awaits its commits; checksums: lookups in flight")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command.add_option("--seconds", options.seconds, "a slice")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command
      .add_option("--rounds", options.rounds, "slices of each system, by turns; medians are shown")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  add_size(command, "--data", options.data_bytes, "bytes of keys and values", "256MiB");
  add_size(command, "--log-capacity", options.log_bytes, "of the log; recovery makes its own",
           "4GiB");
  command
      .add_option("--intervals", options.intervals,
                  "recovery: log between two checkpoints, with commas")
      ->delimiter(',')
      ->transform(CLI::AsSizeValue(false))
      ->default_val("8MiB,16MiB,32MiB,64MiB");
  command.add_option("--theta", options.theta, "ycsb: skew of the Zipf distribution")
      ->check(CLI::Range(0.01, 10.0))
      ->capture_default_str();
  command.add_option("--seed", options.seed, "of keys and operations")->capture_default_str();
  command
      .add_option("--file", options.file,
                  "made and removed, as are others whose names begin like it")
      ->capture_default_str();
  command.add_option("--log-file", options.log_file, "the log, made and removed")
      ->default_str("FILE.log");
  command.add_option("--json", options.json, "write context and rows as JSON to this file");
  command.add_option("--tsv", options.recovery_tsv,
                     "write recovery's figures as columns to this file (bench/plots/recovery.gp)");
}

}  // namespace

void add_log_command(CLI::App& app, const std::vector<std::string>& arguments) {
  auto options = std::make_shared<LogBenchOptions>();
  std::string listing = "\nParts:";
  for (const Part& part : all_parts()) {
    options->parts.emplace_back(part.name);
    listing += fmt::format("\n  {:<12} {}", part.name, part.question);
  }
  options->cpus = std::max(1u, std::thread::hardware_concurrency());
  options->threads = {1, 2, 4, 8, 16, 32};
  options->group = 4096;
  options->waiters = 64;
  options->tasks = 128;
  CLI::App* command = app.add_subcommand(
      "log",
      "What transactional safety costs, and how long a recovery takes; each beside its baseline." +
          listing);
  add_options(*command, *options);
  command->callback([options, &arguments] { run(*options, arguments); });
}

}  // namespace vmbench

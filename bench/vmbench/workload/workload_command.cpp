// SPDX-License-Identifier: MIT
//
// vmbench lookup and vmbench ycsb: the same systems, options and report; they differ in the mix.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <optional>

#include "commands.hpp"
#include "common/child.hpp"
#include "common/memory_limit.hpp"
#include "common/report.hpp"
#include "io/idle_clock.hpp"
#include "systems/system.hpp"
#include "workload/driver.hpp"

namespace vmbench {

namespace {

struct CommandOptions {
  WorkloadOptions run;
  std::vector<std::string> systems;
  std::vector<std::string> workloads{"a"};
  std::string memory_limit = "auto";
  bool keep = false;
  bool icount_clock = false;
  std::string json;
  std::string samples;
};

struct YcsbWorkload {
  Mix mix;
  Distribution distribution;
};
const std::map<std::string, YcsbWorkload> kYcsb{
    {"a", {{50, 50, 0, 0, 0}, Distribution::kZipf}},
    {"b", {{95, 5, 0, 0, 0}, Distribution::kZipf}},
    {"c", {{100, 0, 0, 0, 0}, Distribution::kZipf}},
    {"d", {{95, 0, 5, 0, 0}, Distribution::kLatest}},
    {"e", {{0, 0, 5, 95, 0}, Distribution::kZipf}},
    {"f", {{50, 0, 0, 0, 50}, Distribution::kZipf}},
};

void drop_page_cache(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  fdatasync(fd);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
}

//! The group to run in, or nothing where none is wanted or to be had; then `reason` says why.
std::optional<MemoryGroup> make_group(const CommandOptions& command, std::string& reason) {
  if (command.memory_limit == "none") {
    reason = "none, as asked for: mmap and lmdb use all free memory, so this is no comparison";
    return std::nullopt;
  }
  try {
    return std::optional<MemoryGroup>(std::in_place, memory_limit_for(command.run.pool_bytes));
  } catch (const std::runtime_error& error) {
    if (command.memory_limit == "cgroup") throw;
    reason = error.what();
    return std::nullopt;
  }
}

//! Builds what is missing and measures, each in a process of its own.
Json run_system(const WorkloadOptions& options, const CommandOptions& command, Report& report) {
  const SystemEntry& entry = find_system(options.system);
  std::string reason;
  const std::optional<MemoryGroup> group = make_group(command, reason);
  report.set_context("memory_limit", group ? group->description() : reason);
  if (!group && command.memory_limit == "auto" && entry.page_cache)
    return Json{{"system", options.system}, {"workload", options.workload}, {"refused", reason}};
  run_in_child([&] {
    entry.prepare(options);
    return Json(nullptr);
  });
  // Page cache belongs to the group that first read it, so nothing may be left from building.
  drop_page_cache(entry.data_file(options));
  return run_in_child([&] {
    if (group) group->enter();
    return run_workload(options);
  });
}

//! Throughput over time, a line a tick, a column a row of the report: what a plotting program
//! reads.
void write_samples(const Report& report, const std::string& path) {
  std::ofstream out(path);
  out << "time_s";
  std::size_t ticks = 0;
  for (const Json& row : report.rows()) {
    if (!row.contains("samples_ops_per_s")) continue;
    out << '\t' << row["system"].get<std::string>();
    ticks = std::max(ticks, row["samples_ops_per_s"].size());
  }
  for (std::size_t tick = 0; tick < ticks; tick++) {
    out << fmt::format("\n{:.1f}", static_cast<double>(tick + 1) * 0.1);
    for (const Json& row : report.rows()) {
      if (!row.contains("samples_ops_per_s")) continue;
      const Json& samples = row["samples_ops_per_s"];
      out << '\t'
          << (tick < samples.size() ? fmt::format("{:.0f}", samples[tick].get<double>()) : "NaN");
    }
  }
  out << '\n';
  out.close();
  if (!out)
    throw std::runtime_error(
        fmt::format("--samples {}: cannot write: {}", path, std::strerror(errno)));
}

void remove_files(const CommandOptions& options) {
  for (const std::string& name : options.systems) {
    WorkloadOptions run = options.run;
    run.system = name;
    const std::string path = find_system(name).data_file(run);
    unlink(path.c_str());
    unlink((path + "-lock").c_str());
  }
}

void check(const CommandOptions& options) {
  const WorkloadOptions& run = options.run;
  if (run.data_bytes < (1u << 20)) throw CLI::ValidationError("--data", "at least 1MiB");
  if (run.index == "plain" && options.workloads.front() != "lookup")
    throw CLI::ValidationError("--index", "plain is for lookups; allowed here: btree");
  if (options.icount_clock && run.threads > 1)
    throw CLI::ValidationError("--icount-clock", "needs --threads 1: it counts on one processor");
  if (run.pool_bytes < (1u << 20)) throw CLI::ValidationError("--pool", "at least 1MiB");
  for (const std::string& system : options.systems)
    if (!run.devices.empty() && system != "vmcache" && system != "vmcache-sync")
      throw CLI::ValidationError("--devices",
                                 "not for " + system + "; allowed here: vmcache, vmcache-sync");
}

const std::vector<Column> kColumns{{"system", "system"},
                                   {"workload", "workload"},
                                   {"threads", "threads"},
                                   {"tasks", "tasks"},
                                   {"ops_per_s", "ops/s"},
                                   {"page_reads_per_s", "page reads/s"},
                                   {"page_writes", "page writes"},
                                   {"op_p50_us", "op p50 us", 1},
                                   {"op_p99_us", "op p99 us", 1},
                                   {"read_p50_us", "read p50 us", 1},
                                   {"cpu_us_per_op", "CPU us/op", 2},
                                   {"instructions_per_page_read", "instr/read"},
                                   {"refused", "refused"}};

void run_command(CommandOptions& options, const std::vector<std::string>& arguments) {
  check(options);
  std::optional<IdleClock> idle_clock;
  if (options.icount_clock) options.run.idle_clock = &idle_clock.emplace();
  Report report(arguments);
  report.set_context("record_bytes", Json{{"key", sizeof(Key)}, {"value", kValueSize}});
  report.set_context("seed", options.run.seed);
  for (const std::string& workload : options.workloads) {
    if (workload != "lookup") {
      options.run.mix = kYcsb.at(workload).mix;
      options.run.distribution = kYcsb.at(workload).distribution;
    }
    options.run.workload = workload == "lookup" ? workload : "ycsb-" + workload;
    for (const std::string& system : options.systems) {
      options.run.system = system;
      report.add_row(run_system(options.run, options, report));
    }
  }
  if (!options.keep && options.run.devices.empty()) remove_files(options);
  report.print_table(kColumns);
  if (!options.json.empty()) report.write_json(options.json);
  if (!options.samples.empty()) write_samples(report, options.samples);
}

void add_size(CLI::App& command, const std::string& name, std::uint64_t& target,
              const std::string& text) {
  command.add_option(name, target, text + " (suffixes KiB, MiB, GiB, TiB)")
      ->transform(CLI::AsSizeValue(false))
      ->required();
}

//! Of `vmcache` alone but for the index; vmcache-sync is what it is.
void add_pool_options(CLI::App& command, WorkloadOptions& run) {
  command
      .add_option("--index", run.index,
                  "vmcache and vmcache-sync: the library's B+tree, or (lookups) the page format of "
                  "mmap and pread")
      ->check(CLI::IsMember({"btree", "plain"}))
      ->capture_default_str();
  command.add_option("--evict-batch", run.evict_batch, "vmcache: extents evicted together")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--io-depth", run.io_depth, "vmcache: transfers in flight a thread")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--memory", run.memory, "vmcache: what backs a page")
      ->check(CLI::IsMember({"auto", "anonymous", "exmap"}))
      ->capture_default_str();
  command
      .add_option("--release", run.anonymous_release,
                  "vmcache: how anonymous memory gives frames back")
      ->check(CLI::IsMember({"auto", "move", "process_madvise", "madvise_runs", "madvise_pages"}))
      ->capture_default_str();
}

void add_common_options(CLI::App& command, CommandOptions& options, bool lookup) {
  std::vector<std::string> names;
  for (const SystemEntry& entry : all_systems())
    if (lookup || !entry.run) names.emplace_back(entry.name);
  WorkloadOptions& run = options.run;
  command
      .add_option("--system", options.systems, "systems to run one after the other, with commas")
      ->delimiter(',')
      ->check(CLI::IsMember(names))
      ->required();
  add_size(command, "--data", run.data_bytes, "bytes of keys and values");
  add_size(command, "--pool", run.pool_bytes, "bytes of memory for pages");
  command.add_option("--threads", run.threads, "threads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command.add_option("--tasks", run.tasks, "operations in flight a thread, where the system can")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command.add_option("--seconds", run.seconds, "seconds measured")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  command
      .add_option("--warmup", run.warmup_max_seconds,
                  "longest warm-up; it ends when the cache is full")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  command.add_option("--theta", run.theta, "skew of the Zipf distribution")
      ->check(CLI::Range(0.01, 10.0))
      ->capture_default_str();
  command.add_option("--seed", run.seed, "seed of keys and operations")->capture_default_str();
  command.add_option("--file", run.file, "data files are this path with .plain, .lmdb or .vmcache")
      ->default_val("vmbench.db");
  command
      .add_option(
          "--devices", run.devices,
          "vmcache and vmcache-sync: empty block devices or NVMe character devices, with commas, "
          "instead of a file")
      ->delimiter(',');
  command.add_flag("--keep", options.keep,
                   "keep the data files; the next run with the same --data uses them");
  command
      .add_option("--memory-limit", options.memory_limit,
                  "what holds each system to the pool's memory (and 1/16 + 32 MiB for what stands "
                  "beside it)")
      ->check(CLI::IsMember({"auto", "cgroup", "none"}))
      ->capture_default_str();
  command.add_flag(
      "--icount-clock", options.icount_clock,
      "the clock counts instructions (QEMU -icount shift=0): report them, less those of waiting");
  add_pool_options(command, run);
  command.add_option("--samples", options.samples,
                     "write throughput over time as columns to this file");
  command.add_option("--json", options.json, "write context and rows as JSON to this file");
}

std::string listing(bool lookup) {
  std::string text = "\nSystems:";
  for (const SystemEntry& entry : all_systems())
    if (lookup || !entry.run) text += fmt::format("\n  {:<14} {}", entry.name, entry.description);
  return text;
}

}  // namespace

void add_lookup_command(CLI::App& app, const std::vector<std::string>& arguments) {
  auto options = std::make_shared<CommandOptions>();
  options->workloads = {"lookup"};
  CLI::App* command = app.add_subcommand(
      "lookup", "Lookups of random keys (8 bytes, values of 120) in a B+tree larger than memory." +
                    listing(true));
  add_common_options(*command, *options, true);
  command
      ->add_option_function<std::string>(
          "--distribution",
          [options](const std::string& name) {
            options->run.distribution =
                name == "zipf" ? Distribution::kZipf : Distribution::kUniform;
          },
          "of the keys (default uniform)")
      ->check(CLI::IsMember({"uniform", "zipf"}));
  command->callback([options, &arguments] { run_command(*options, arguments); });
}

void add_ycsb_command(CLI::App& app, const std::vector<std::string>& arguments) {
  auto options = std::make_shared<CommandOptions>();
  CLI::App* command = app.add_subcommand("ycsb",
                                         "YCSB's core workloads on records of 8 + 120 bytes: a 50 "
                                         "% reads, 50 % updates; b 95/5; c reads;\n"
                                         "d 95 % reads of the latest, 5 % inserts; e 95 % scans of "
                                         "up to 100, 5 % inserts; f 50 % reads, 50 % "
                                         "read-modify-writes." +
                                             listing(false));
  std::vector<std::string> letters;
  for (const auto& [letter, workload] : kYcsb) letters.push_back(letter);
  command->add_option("--workload", options->workloads, "a to f, with commas")
      ->delimiter(',')
      ->check(CLI::IsMember(letters))
      ->required();
  add_common_options(*command, *options, false);
  command->callback([options, &arguments] { run_command(*options, arguments); });
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
//
// vmbench io: what each layer between a database and its SSD costs.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>

#include "commands.hpp"
#include "common/median.hpp"
#include "common/progress.hpp"
#include "common/report.hpp"
#include "io/errors.hpp"
#include "io/fio_reference.hpp"
#include "io/io_run.hpp"
#include "io/number_blocks.hpp"

namespace vmbench {

namespace {

struct IoOptions {
  LayerOptions layers;
  std::vector<std::string> rungs;
  std::vector<unsigned> threads;
  IoRun run;  //!< what all rows have in common
  unsigned rounds = 1;
  bool icount_clock = false;
  bool no_reference = false;
  bool keep = false;
  std::string json;
  std::string tsv;
};

const Layer* layer_for(const Rung& rung, const Layers& layers) {
  switch (rung.on) {
    case Rung::On::kTop:
      return layers.top();
    case Rung::On::kFile:
      return layers.file ? &*layers.file : nullptr;
    case Rung::On::kArray:
      return layers.array ? &*layers.array : nullptr;
    case Rung::On::kDisks:
      return layers.bottom();
  }
  return nullptr;
}

std::vector<IoRun> plan(const IoOptions& options, const Layers& layers) {
  std::vector<IoRun> runs;
  for (const Rung& rung : all_rungs()) {
    if (std::find(options.rungs.begin(), options.rungs.end(), rung.name) == options.rungs.end())
      continue;
    for (const unsigned threads : options.threads) {
      IoRun run = options.run;
      run.rung = &rung;
      run.layer = layer_for(rung, layers);
      run.threads = threads;
      runs.push_back(run);
    }
  }
  return runs;
}

void check(const IoOptions& options) {
  const IoRun& run = options.run;
  if (run.io_bytes == 0 || run.io_bytes % kBlock != 0 || run.io_bytes > (1u << 20))
    throw CLI::ValidationError(
        "--size", fmt::format("{} bytes: a multiple of 4KiB, at most 1MiB", run.io_bytes));
  if (options.layers.stripe_bytes == 0 || options.layers.stripe_bytes % run.io_bytes != 0)
    throw CLI::ValidationError(
        "--stripe", fmt::format("{} bytes: a multiple of --size ({}), so that no transfer is split",
                                options.layers.stripe_bytes, run.io_bytes));
  const unsigned max = *std::max_element(options.threads.begin(), options.threads.end());
  if (run.ios != 0 && run.ios < std::uint64_t{max} * run.depth)
    throw CLI::ValidationError(
        "--ios",
        fmt::format("{}: at least {}, which are in flight at once ({} threads x --depth {})",
                    run.ios, std::uint64_t{max} * run.depth, max, run.depth));
  if (options.icount_clock && (run.ios == 0 || max > 1))
    throw CLI::ValidationError("--icount-clock",
                               "needs --ios (equal work, not equal time) and --threads 1");
}

//! Rows as columns with tabs between: what a plotting program reads.
void write_tsv(const Report& report, const std::string& path) {
  static const char* const keys[] = {"rung",
                                     "op",
                                     "threads",
                                     "depth",
                                     "iops",
                                     "cycles_per_io",
                                     "instructions_per_io",
                                     "cores",
                                     "p50_us",
                                     "p99_us",
                                     "reference_iops",
                                     "reference_instructions_per_io"};
  std::ofstream out(path);
  for (const char* key : keys) out << (key == keys[0] ? "" : "\t") << key;
  for (const Json& row : report.rows()) {
    for (const char* key : keys) {
      out << (key == keys[0] ? '\n' : '\t');
      const Json& value = row.at(key);
      out << (value.is_null()     ? "NaN"
              : value.is_string() ? value.get<std::string>()
                                  : value.dump());
    }
  }
  out << '\n';
  out.close();
  if (!out)
    throw std::runtime_error(fmt::format("--tsv {}: cannot write: {}", path, std::strerror(errno)));
}

const std::vector<Column> kColumns{{"rung", "rung"},
                                   {"on", "on"},
                                   {"op", "op"},
                                   {"threads", "threads"},
                                   {"depth", "depth"},
                                   {"iops", "kIOPS", 1, 1000},
                                   {"cycles_per_io", "kcycles/IO", 1, 1000},
                                   {"instructions_per_io", "instr/IO"},
                                   {"own_instructions_per_io", "of these the bench's own"},
                                   {"cores", "cores", 2},
                                   {"p50_us", "p50 us", 1},
                                   {"p99_us", "p99 us", 1},
                                   {"reference_iops", "fio kIOPS", 1, 1000},
                                   {"reference_instructions_per_io", "fio instr/IO"},
                                   {"reference_own_instructions_per_io", "of these fio's own"},
                                   {"empty_poll_instructions_per_io", "empty polls"},
                                   {"reason", "not here because"}};

void set_context(Report& report, const IoOptions& options) {
  report.set_context("span_bytes", options.layers.span_bytes);
  report.set_context("stripe_bytes", options.layers.stripe_bytes);
  report.set_context("seconds_a_row",
                     options.run.ios == 0 ? Json(options.run.seconds) : Json(nullptr));
  report.set_context("ios_a_row", options.run.ios != 0 ? Json(options.run.ios) : Json(nullptr));
  report.set_context("seed", options.run.seed);
  report.set_context("instructions_from",
                     options.icount_clock
                         ? "the clock of an emulated machine with -icount, less idle time"
                         : "hardware counters, where there are any");
}

//! Takes away what was made, and numbers again what fio has written over.
void tidy(const IoOptions& options, Layers& layers) {
  for (std::optional<Layer>* layer : {&layers.file, &layers.array, &layers.disks}) {
    if (!*layer) continue;
    const bool made = (*layer)->devices.front().made;
    if (made && !options.keep) {
      for (const Device& device : (*layer)->devices) unlink(device.path.c_str());
    } else if (options.run.write && !options.no_reference) {
      number_blocks(**layer);
    }
  }
}

//! One row of several: the last one with the medians of its figures. One round that failed is the
//! row.
Json medians(const std::vector<Json>& rounds) {
  Json row = rounds.back();
  if (rounds.size() == 1 || row.contains("reason")) return row;
  Json from, to;
  for (auto& [key, value] : row.items()) {
    if (!value.is_number_float()) continue;
    std::vector<double> figures;
    for (const Json& round : rounds)
      if (round.contains(key) && round[key].is_number()) figures.push_back(round[key]);
    std::sort(figures.begin(), figures.end());
    value = median(figures);
    from[key] = figures.front();
    to[key] = figures.back();
  }
  row["rounds"] = rounds.size();
  row["rounds_from"] = std::move(from);
  row["rounds_to"] = std::move(to);
  return row;
}

Json measure_round(const IoOptions& options, const IoRun& run) {
  Json row = empty_row(run);
  measure(run, row);
  if (!options.no_reference && !row.contains("reason")) add_reference(run, row);
  return row;
}

void measure_all(const IoOptions& options, const Layers& layers, Report& report) {
  const std::vector<IoRun> runs = plan(options, layers);
  Progress progress;
  for (std::size_t i = 0; i < runs.size(); i++) {
    progress.show(fmt::format("[{}/{}] {} threads {}", i + 1, runs.size(), runs[i].rung->name,
                              runs[i].threads));
    std::vector<Json> rounds;
    while (rounds.size() < options.rounds && (rounds.empty() || !rounds.back().contains("reason")))
      rounds.push_back(measure_round(options, runs[i]));
    Json row = medians(rounds);
    // A rung that is missing is missing for any number of threads: said once.
    const bool said = row.contains("reason") && !report.rows().empty() &&
                      report.rows().back().value("reason", "") == row["reason"] &&
                      report.rows().back()["rung"] == row["rung"];
    if (!said) report.add_row(std::move(row));
  }
}

void run_io(IoOptions& options, const std::vector<std::string>& arguments) {
  check(options);
  options.layers.io_bytes = options.run.io_bytes;
  options.layers.write = options.run.write;
  std::optional<IdleClock> idle_clock;
  if (options.icount_clock) options.run.idle_clock = &idle_clock.emplace();
  Report report(arguments);
  set_context(report, options);
  Layers layers = open_layers(options.layers);
  try {
    measure_all(options, layers, report);
  } catch (...) {
    tidy(options, layers);
    throw;
  }
  tidy(options, layers);
  report.print_table(kColumns);
  if (!options.json.empty()) report.write_json(options.json);
  if (!options.tsv.empty()) write_tsv(report, options.tsv);
}

void add_io_options(CLI::App& command, IoOptions& options) {
  command
      .add_option("--devices", options.layers.paths,
                  "files, md arrays, block devices, NVMe character devices (/dev/ngXnY), with "
                  "commas; those of one\n"
                  "kind are striped. A file that does not exist is made, and removed at the end")
      ->delimiter(',')
      ->required();
  command.add_option("--rungs", options.rungs, "with commas")
      ->delimiter(',')
      ->check(CLI::IsMember(options.rungs))
      ->default_str("all");
  command
      .add_option("--depth", options.run.depth, "transfers in flight a thread, where the rung can")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      .add_option("--batch", options.run.batch, "transfers submitted, and waited for, in one call")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--threads", options.threads, "with commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command.add_flag("--write", options.run.write, "random writes instead of reads");
  command.add_option("--size", options.run.io_bytes, "bytes a transfer")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("4KiB");
  command
      .add_option("--span", options.layers.span_bytes,
                  "bytes of all devices of one kind together that are used")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("1GiB");
  command
      .add_option("--stripe", options.layers.stripe_bytes,
                  "bytes on one device before the next has its turn")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("64KiB");
  command.add_option("--seconds", options.run.seconds, "a row")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command.add_option("--ios", options.run.ios, "transfers a row, instead of --seconds")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40));
  command.add_option("--seed", options.run.seed, "of the places")->capture_default_str();
  command.add_flag(
      "--content-will-be-lost", options.layers.content_will_be_lost,
      "write the bench's own blocks over whatever the devices and files hold: reads are then\n"
      "verified, and --write is allowed");
}

void add_run_options(CLI::App& command, IoOptions& options) {
  command.add_flag("--icount-clock", options.icount_clock,
                   "the clock counts instructions (QEMU -icount shift=0): report them, and fio's");
  command
      .add_option("--rounds", options.rounds,
                  "of each row and its fio, which take turns; medians are reported")
      ->check(CLI::Range(1, 99))
      ->capture_default_str();
  command.add_flag("--no-reference", options.no_reference, "do without fio");
  command.add_flag("--keep", options.keep, "keep files that were made");
  command.add_option("--json", options.json, "write context and rows as JSON to this file");
  command.add_option("--tsv", options.tsv,
                     "write the figures as columns to this file (bench/plots/ladder.gp)");
}

}  // namespace

void add_io_command(CLI::App& app, const std::vector<std::string>& arguments) {
  auto options = std::make_shared<IoOptions>();
  std::string listing;
  for (const Rung& rung : all_rungs()) {
    options->rungs.emplace_back(rung.name);
    listing += fmt::format("\n  {:<20} {}", rung.name, rung.description);
  }
  options->threads = {1};
  if (const unsigned cpus = std::thread::hardware_concurrency(); cpus > 1)
    options->threads.push_back(cpus);
  options->layers.span_bytes = std::uint64_t{1} << 30;
  options->layers.stripe_bytes = 64 << 10;
  CLI::App* command = app.add_subcommand("io",
                                         "The I/O ladder: random transfers through one layer after "
                                         "the other, each beside fio with the same "
                                         "settings.\nRungs:" +
                                             listing);
  add_io_options(*command, *options);
  add_run_options(*command, *options);
  command->callback([options, &arguments] { run_io(*options, arguments); });
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "commands.hpp"
#include "common/child.hpp"
#include "common/clock.hpp"
#include "common/report.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmbench {

namespace {

struct OpenOptions {
  std::vector<std::uint64_t> capacities{std::uint64_t{1} << 30, std::uint64_t{1} << 40,
                                        std::uint64_t{16} << 40};
  std::uint64_t pool_bytes = std::uint64_t{1} << 30;
  std::string file = "vmbench-open.db";
  std::string json;
};

std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

double ms_since(std::uint64_t start) {
  return static_cast<double>(now_ns() - start) * 1e-6;
}

//! Makes the database in an empty file, then opens it again; each as the only thing its process
//! does.
Json open_once(const OpenOptions& options, std::uint64_t capacity, bool create) {
  vmcache::PoolOptions pool_options;
  pool_options.path = options.file;
  pool_options.pool_bytes = options.pool_bytes;
  pool_options.capacity_bytes = capacity;
  const std::uint64_t before = resident_bytes();
  std::uint64_t start = now_ns();
  vmcache::BufferPool pool(pool_options);
  const double open_ms = ms_since(start);
  const std::uint64_t after = resident_bytes();
  start = now_ns();
  if (create) static_cast<void>(pool.allocate());
  const double first_page_ms = ms_since(start);
  start = now_ns();
  pool.close();
  return Json{{"step", create ? "create" : "reopen"},
              {"capacity_bytes", capacity},
              {"pool_bytes", options.pool_bytes},
              {"open_ms", open_ms},
              {"resident_bytes", after},
              {"resident_grown_bytes", after - std::min(before, after)},
              {"first_page_ms", create ? Json(first_page_ms) : Json(nullptr)},
              {"close_ms", ms_since(start)}};
}

void run(const OpenOptions& options, const std::vector<std::string>& arguments) {
  Report report(arguments);
  if (std::filesystem::exists(options.file))
    throw CLI::ValidationError("--file",
                               options.file + " exists; name a file that can be made and removed");
  for (const std::uint64_t capacity : options.capacities) {
    for (const bool create : {true, false})
      report.add_row(run_in_child([&] { return open_once(options, capacity, create); }));
    std::filesystem::remove(options.file);
  }
  report.print_table({{"step", "step"},
                      {"capacity_bytes", "capacity GiB", 0, 1 << 30},
                      {"open_ms", "open ms", 2},
                      {"resident_bytes", "resident MiB", 1, 1 << 20},
                      {"resident_grown_bytes", "of it new MiB", 1, 1 << 20},
                      {"first_page_ms", "first page ms", 2},
                      {"close_ms", "close ms", 2}});
  if (!options.json.empty()) report.write_json(options.json);
}

}  // namespace

void add_open_command(CLI::App& app, const std::vector<std::string>& arguments) {
  auto options = std::make_shared<OpenOptions>();
  CLI::App* command = app.add_subcommand(
      "open", "Time and memory that opening a database takes, by its capacity, on an empty file.");
  command
      ->add_option("--capacity", options->capacities, "capacities, with commas (suffixes GiB, TiB)")
      ->delimiter(',')
      ->transform(CLI::AsSizeValue(false))
      ->default_str("1GiB,1TiB,16TiB");
  command->add_option("--pool", options->pool_bytes, "bytes of memory for pages")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("1GiB");
  command->add_option("--file", options->file, "made and removed")->capture_default_str();
  command->add_option("--json", options->json, "write context and rows as JSON to this file");
  command->callback([options, &arguments] { run(*options, arguments); });
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "commands.hpp"
#include "common/progress.hpp"
#include "common/report.hpp"
#include "pages/pages_run.hpp"

namespace vmbench {

namespace {

struct PagesOptions {
  std::vector<std::string> ways;
  std::vector<unsigned> batches{1, 8, 64, 512};
  std::vector<unsigned> threads{1};
  std::vector<unsigned> localities{1};
  std::string spinner = "both";
  std::size_t area_bytes = 512u << 20;
  double seconds = 0.5;
  bool icount_clock = false;
  std::string json;
};

std::vector<PagesRun> plan(const PagesOptions& options) {
  std::vector<PagesRun> runs;
  for (const WayEntry& way : all_ways()) {
    if (std::find(options.ways.begin(), options.ways.end(), way.name) == options.ways.end())
      continue;
    for (const unsigned locality : options.localities)
      for (const unsigned batch : way.batched ? options.batches : std::vector<unsigned>{1})
        for (const unsigned threads : options.threads)
          for (const bool spinner : {false, true}) {
            if ((spinner && options.spinner == "off") || (!spinner && options.spinner == "on"))
              continue;
            runs.push_back({&way, batch, threads, spinner, locality, options.area_bytes / kPage,
                            options.seconds, options.icount_clock});
          }
  }
  return runs;
}

void check(const PagesOptions& options) {
  const std::size_t pages = options.area_bytes / kPage;
  for (const unsigned threads : options.threads)
    for (const unsigned batch : options.batches)
      for (const unsigned locality : options.localities)
        if (pages / threads / locality * locality < std::size_t{4} * batch)
          throw CLI::ValidationError(
              "--area",
              fmt::format("{} pages are too few for {} threads with batches of {} (at least {})",
                          pages, threads, batch, std::size_t{4} * batch * threads));
}

void run_pages(const PagesOptions& options, const std::vector<std::string>& arguments) {
  check(options);
  Report report(arguments);
  report.set_context("area_bytes", options.area_bytes);
  report.set_context("resident_bytes", options.area_bytes / 2);
  report.set_context("seconds_a_row", options.seconds);
  const std::vector<PagesRun> runs = plan(options);
  Progress progress;
  for (std::size_t i = 0; i < runs.size(); i++) {
    progress.show(fmt::format("[{}/{}] {} batch {} threads {}", i + 1, runs.size(),
                              runs[i].way->name, runs[i].batch, runs[i].threads));
    report.add_row(measure(runs[i]));
  }
  progress.clear();
  report.print_table({{"way", "way"},
                      {"batch", "batch"},
                      {"threads", "threads"},
                      {"spinner", "spinner"},
                      {"locality", "locality"},
                      {"pages_per_s", "kpages/s", 1, 1000},
                      {"ns_per_page", "us/page", 2, 1000},
                      {"give_back_ns_per_page", "give back us", 2, 1000},
                      {"get_ns_per_page", "get us", 2, 1000},
                      {"ipis_per_page", "IPIs/page", 3},
                      {"instructions_per_page", "instr/page", 0},
                      {"refused", "refused"}});
  if (!options.json.empty()) report.write_json(options.json);
}

}  // namespace

void add_pages_command(CLI::App& app, const std::vector<std::string>& arguments) {
  auto options = std::make_shared<PagesOptions>();
  std::string listing;
  for (const WayEntry& way : all_ways()) {
    options->ways.emplace_back(way.name);
    listing += fmt::format("\n  {:<16} {}", way.name, way.description);
  }
  CLI::App* command = app.add_subcommand(
      "pages",
      "What giving back one 4 KiB page and getting another costs.\n"
      "Half of an area is resident. Each thread gives back a batch of its resident pages and gets "
      "as many "
      "others,\n"
      "in random order; a page in the figures is one given back and one got, written to. Ways:" +
          listing);
  command->add_option("--ways", options->ways, "ways to measure, with commas")
      ->delimiter(',')
      ->check(CLI::IsMember(options->ways))
      ->capture_default_str();
  command->add_option("--batch", options->batches, "pages a call, with commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "worker threads, with commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command
      ->add_option("--locality", options->localities,
                   "pages come in clusters of so many neighbours, with commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  command
      ->add_option("--spinner", options->spinner,
                   "a further thread of the process spins on another core")
      ->check(CLI::IsMember({"off", "on", "both"}))
      ->capture_default_str();
  command
      ->add_option("--area", options->area_bytes, "bytes of the page area (suffixes KiB, MiB, GiB)")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command->add_option("--seconds", options->seconds, "seconds a row")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  command->add_flag(
      "--icount-clock", options->icount_clock,
      "the clock counts instructions (QEMU -icount shift=0): report its nanoseconds as such");
  command->add_option("--json", options->json, "write context and rows as JSON to this file");
  command->callback([options, &arguments] { run_pages(*options, arguments); });
}

}  // namespace vmbench

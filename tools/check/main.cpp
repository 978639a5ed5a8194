// SPDX-License-Identifier: MIT
//
// vmcache-check: is this database sound? Only reads.
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "check.hpp"
#include "logger.hpp"
#include "storage/open.hpp"
#include "vmcache/error.hpp"

namespace {

using namespace vmcache;

constexpr int kSound = 0;
constexpr int kDamaged = 1;
constexpr int kNotChecked = 2;

constexpr const char* kUsage =
    "usage: vmcache-check FILE [FILE...] [--log LOG] [--json] [--most N]\n"
    "  Reads a database (a file or block device, or several that it is striped over, in their "
    "order) and its "
    "log,\n"
    "  never writes, and says what is damaged. At most N (default 20) findings of each kind are "
    "printed.\n"
    "  Exit status: 0 sound, 1 damage found, 2 could not be checked.\n";

struct Arguments {
  std::vector<std::filesystem::path> paths;
  std::filesystem::path log;
  std::uint64_t max = 20;
  bool json = false;
  bool help = false;
};

//! Says what is wrong, empty if nothing is.
std::string parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--json") {
      arguments.json = true;
    } else if (argument == "--help" || argument == "-h") {
      arguments.help = true;
    } else if (argument == "--log") {
      if (!has_value) return "--log needs a file";
      arguments.log = argv[++i];
    } else if (argument == "--most") {
      const std::string_view value = has_value ? argv[++i] : "";
      const auto [end, error] =
          std::from_chars(value.data(), value.data() + value.size(), arguments.max);
      if (error != std::errc{} || end != value.data() + value.size() || arguments.max == 0) {
        return fmt::format("--most '{}': a number from 1 is allowed", value);
      }
    } else if (argument.starts_with("-")) {
      return fmt::format("unknown option '{}' (allowed: --log LOG, --json, --most N)", argument);
    } else {
      arguments.paths.emplace_back(argument);
    }
  }
  return arguments.paths.empty() && !arguments.help ? "no FILE" : "";
}

//! On a terminal, after two seconds, five times a second.
class Progress {
 public:
  explicit Progress(std::uint64_t pages) : _pages(pages), _shown(::isatty(STDERR_FILENO) == 1) {}
  ~Progress() {
    if (_printed) std::fputs("\r\033[K", stderr);
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void tick() {
    ++_done;
    if (!_shown || _done % 64 != 0) return;
    const auto now = std::chrono::steady_clock::now();
    if (now < _next) return;
    _next = now + std::chrono::milliseconds(200);
    _printed = true;
    std::fputs(fmt::format("\r{} of at most {} pages read", _done, _pages).c_str(), stderr);
  }

 private:
  const std::uint64_t _pages;
  const bool _shown;
  bool _printed = false;
  std::uint64_t _done = 0;
  std::chrono::steady_clock::time_point _next =
      std::chrono::steady_clock::now() + std::chrono::seconds(2);
};

//! Which of the files an error is about.
std::string file_in(const Arguments& arguments, const std::string& what) {
  for (const auto& path : arguments.paths) {
    if (what.starts_with(path.string() + ":")) return path.string();
  }
  return arguments.paths[0].string();
}

int check_files(const Arguments& arguments) {
  Logger silent({});
  check::Report report(arguments.max);
  ReadOnlyStorage pages;
  try {
    pages = open_storage_read_only(arguments.paths, silent);
  } catch (const Error& error) {
    if (error.code() != Errc::kCorrupt) throw;
    report.add({.region = check::Region::kStripeLabel,
                .file = file_in(arguments, error.what()),
                .place = {},
                .what = error.what()});
  }
  if (pages.storage) {
    ReadOnlyStorage log;
    if (!arguments.log.empty()) log = open_storage_read_only({&arguments.log, 1}, silent);
    Progress progress(pages.storage->size_bytes() / kPageSize);
    const check::Sources sources{
        .pages = *pages.storage,
        .file_of =
            [&](std::uint64_t offset) {
              return arguments.paths[pages.layout.piece(offset, 1).device].string();
            },
        .log = log.storage.get(),
        .log_file = arguments.log.string(),
        .tick = [&] { progress.tick(); }};
    check::check_database(sources, report);
  }
  std::fputs((arguments.json ? report.json() : report.text()).c_str(), stdout);
  if (!report.sound()) return kDamaged;
  return report.counts.complete ? kSound : kNotChecked;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (const std::string wrong = parse(argc, argv, arguments); !wrong.empty()) {
    std::fputs(fmt::format("vmcache-check: {}\n{}", wrong, kUsage).c_str(), stderr);
    return kNotChecked;
  }
  if (arguments.help) {
    std::fputs(kUsage, stdout);
    return kSound;
  }
  try {
    return check_files(arguments);
  } catch (const std::exception& error) {
    std::fputs(fmt::format("vmcache-check: {}\n", error.what()).c_str(), stderr);
    return kNotChecked;
  }
}

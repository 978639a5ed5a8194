// SPDX-License-Identifier: MIT
#include "io/fio_reference.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

#include "common/median.hpp"

namespace vmbench {

namespace {

constexpr unsigned kFioLimitSeconds = 240;
// Starting fio varies by some million instructions.
constexpr std::uint64_t kLonger = 3;

std::string read_back(int fd) {
  std::string text(static_cast<std::size_t>(std::max<off_t>(lseek(fd, 0, SEEK_END), 0)), '\0');
  const ssize_t got = pread(fd, text.data(), text.size(), 0);
  text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return text;
}

//! A program's standard output or error, kept in memory.
class Captured {
 public:
  Captured() : _fd(memfd_create("vmbench", MFD_CLOEXEC)) {
    if (_fd < 0) throw std::runtime_error(fmt::format("memfd_create: {}", std::strerror(errno)));
  }
  ~Captured() { close(_fd); }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  [[nodiscard]] int fd() const { return _fd; }
  [[nodiscard]] std::string text() const { return read_back(_fd); }

 private:
  int _fd;
};

std::string last_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

struct Outcome {
  Json job;
  double busy_ticks = 0;  //!< in which the processor was busy meanwhile; with an idle clock
};

Outcome run_fio(const std::vector<std::string>& arguments, const IdleClock* idle_clock) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const Captured output, errors;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output.fd(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors.fd(), STDERR_FILENO);
  const std::uint64_t idle = idle_clock != nullptr ? idle_clock->ticks() : 0;
  const std::uint64_t start = __rdtsc();
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0)
    throw std::runtime_error(fmt::format("{}: {}", arguments.front(), std::strerror(error)));
  int status = 0;
  waitpid(child, &status, 0);
  const std::uint64_t elapsed = __rdtsc() - start;
  const std::uint64_t idle_meanwhile = idle_clock != nullptr ? idle_clock->ticks() - idle : 0;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    const std::string said = last_line(errors.text().empty() ? output.text() : errors.text());
    throw std::runtime_error(
        fmt::format("fio ended with status {}: {}",
                    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), said));
  }
  // Notes may stand before the JSON.
  const std::string text = output.text();
  const Json parsed =
      Json::parse(text.substr(std::min(text.find('{'), text.size())), nullptr, false);
  if (parsed.is_discarded()) throw std::runtime_error("fio wrote no JSON that can be read");
  return {parsed.at("jobs").at(0), static_cast<double>(elapsed - idle_meanwhile)};
}

std::vector<std::string> engine_options(const Rung& rung) {
  if (rung.via == Rung::Via::kMmap) return {"--ioengine=mmap", "--direct=0"};
  if (rung.synchronous()) return {"--ioengine=psync", rung.direct() ? "--direct=1" : "--direct=0"};
  std::vector<std::string> options{"--ioengine=io_uring", "--direct=1"};
  if (rung.ring.passthrough) options = {"--ioengine=io_uring_cmd", "--cmd_type=nvme"};
  if (rung.ring.files) options.emplace_back("--registerfiles=1");
  if (rung.ring.buffers) options.emplace_back("--fixedbufs=1");
  if (rung.ring.polled) options.emplace_back("--hipri=1");
  if (rung.ring.sqpoll) options.emplace_back("--sqthread_poll=1");
  return options;
}

//! In what fio cannot be told to do as the rung does.
std::string difference(const IoRun& run) {
  const RingOptions& ring = run.rung->ring;
  if (run.rung->synchronous()) return "";
  std::vector<const char*> notes;
  // As seen by strace of fio 3.33.
  if (!ring.deferred && !ring.sqpoll)
    notes.push_back("fio's ring is always SINGLE_ISSUER|DEFER_TASKRUN");
  if (ring.files) notes.push_back("fio registers files, but not its ring");
  return fmt::format("{}", fmt::join(notes, "; "));
}

std::vector<std::string> fio_command(const IoRun& run, std::uint64_t ios) {
  std::string files;
  for (const Device& device : run.layer->devices) {
    if (!files.empty()) files += ':';
    for (const char c : run.rung->ring.passthrough ? device.char_path : device.path)
      files += c == ':' ? "\\:" : std::string(1, c);
  }
  const unsigned depth = depth_of(run);
  std::vector<std::string> command{
      "timeout", fmt::format("{}", kFioLimitSeconds), "fio", "--name=reference",
      "--output-format=json", "--eta=never", "--filename=" + files,
      run.write ? "--rw=randwrite" : "--rw=randread", fmt::format("--bs={}", run.io_bytes),
      fmt::format("--size={}", run.layer->span_bytes), fmt::format("--iodepth={}", depth),
      "--norandommap",
      // What it would do beside the I/O itself: clocks for each, histograms.
      "--gtod_reduce=1", "--thread", fmt::format("--numjobs={}", run.threads), "--group_reporting",
      fmt::format("--randseed={}", run.seed)};
  if (!run.write) command.emplace_back("--readonly");
  if (!run.rung->synchronous()) {
    // Waits for a batch, then fills all places that are free and submits them in one call, as the
    // rungs do.
    command.push_back(fmt::format("--iodepth_batch={}", depth));
    command.push_back(fmt::format("--iodepth_batch_complete_min={}", std::min(run.batch, depth)));
    command.push_back(fmt::format("--iodepth_batch_complete_max={}", depth));
  }
  if (polls_apart(run)) {
    command.push_back(fmt::format("--cpus_allowed=0-{}", run.threads - 1));
    command.emplace_back("--cpus_allowed_policy=split");
  }
  for (std::string& option : engine_options(*run.rung)) command.push_back(std::move(option));
  if (ios != 0) {
    command.push_back(fmt::format("--io_size={}", ios / run.threads * run.io_bytes));
  } else {
    command.emplace_back("--time_based");
    command.push_back(fmt::format("--runtime={}ms", std::lround(run.seconds * 1000)));
  }
  return command;
}

double iops_of(const IoRun& run, const Outcome& outcome) {
  return outcome.job.at(run.write ? "write" : "read").at("iops").get<double>();
}

struct Counted {
  double instructions = 0;
  double switches = 0;
};

//! Of two runs of different length the difference is I/O alone: starting fio costs more than a
//! thousand I/Os.
Counted count_an_io(const IoRun& run, const std::string& engine) {
  const std::uint64_t few = std::max<std::uint64_t>(run.ios / 4, run.depth);
  auto counted = [&](std::uint64_t ios) {
    std::vector<std::string> command = fio_command(run, ios);
    if (!engine.empty()) command.push_back("--ioengine=" + engine);  // the last one counts
    const Outcome outcome = run_fio(command, run.idle_clock);
    return std::array{outcome.busy_ticks, outcome.job.at("ctx").get<double>(),
                      outcome.job.at(run.write ? "write" : "read").at("total_ios").get<double>()};
  };
  static_cast<void>(counted(run.depth));  // the first start reads the program from disk
  const auto [first_ticks, first_switches, first_ios] = counted(few);
  const auto [second_ticks, second_switches, second_ios] = counted(few + kLonger * run.ios);
  const double ios = second_ios - first_ios;
  return {(second_ticks - first_ticks) / ios,
          (second_switches - first_switches) / ios};  // a tick: an instruction
}

//! fio's own work for one I/O, seen with its engine that does none; once for each depth. The median
//! of several counts, because it is taken from every rung's and starting fio varies.
double own_instructions(const IoRun& run) {
  constexpr std::size_t kCounts = 5;
  static std::map<unsigned, double> known;
  const auto [place, is_new] = known.try_emplace(depth_of(run), 0);
  if (is_new) {
    std::vector<double> counts(kCounts);
    for (double& count : counts) count = count_an_io(run, "null").instructions;
    place->second = median(std::move(counts));
  }
  return place->second;
}

void count_instructions(const IoRun& run, Json& row) {
  if (run.rung->ring.polled)
    throw std::runtime_error("fio's empty polls cannot be told from the rest of its work");
  const Counted counted = count_an_io(run, "");
  row["reference_instructions_per_io"] = counted.instructions;
  row["reference_switches_per_io"] = counted.switches;
  IoRun plain = run;
  static const Rung kPlain{"null", "", Rung::On::kTop};
  if (!run.rung->synchronous()) plain.rung = &kPlain;  // without options that only a ring has
  row["reference_own_instructions_per_io"] = own_instructions(plain);
}

}  // namespace

void add_reference(const IoRun& run, Json& row) {
  const std::vector<std::string> command = fio_command(run, run.ios);
  row["reference_command"] = fmt::format("{}", fmt::join(command.begin() + 2, command.end(), " "));
  if (const std::string note = difference(run); !note.empty()) row["reference_note"] = note;
  try {
    if (run.idle_clock != nullptr)
      count_instructions(run, row);
    else
      row["reference_iops"] = iops_of(run, run_fio(command, nullptr));
  } catch (const std::exception& error) {
    row["reference_reason"] = error.what();
  }
}

}  // namespace vmbench

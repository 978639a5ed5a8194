// SPDX-License-Identifier: MIT
#include "io/io_run.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <barrier>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <exception>
#include <fstream>
#include <map>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "common/child.hpp"
#include "common/clock.hpp"
#include "common/median.hpp"
#include "io/errors.hpp"
#include "io/machine_times.hpp"
#include "pages/counters.hpp"

namespace vmbench {

namespace {

constexpr double kWarmupShare = 0.2;
// A completion that never comes must not hold up the ladder.
constexpr unsigned kRunLimitSeconds = 240;

struct ThreadResult {
  std::exception_ptr error;
  std::uint64_t ios = 0;
  std::uint64_t empty_poll_ticks = 0;
  std::uint64_t empty_poll_ns = 0;
  Histogram latency_ticks;
  std::optional<std::uint64_t> instructions;
};

void drop_page_cache(const Layer& layer) {
  for (const Device& device : layer.devices) {
    const int fd = open(device.path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    fdatasync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
  }
}

//! What this process made the devices read (or will make them write), or nothing if the kernel does
//! not say.
std::optional<std::uint64_t> storage_bytes(bool write) {
  std::ifstream io("/proc/self/io");
  const std::string wanted = write ? "write_bytes:" : "read_bytes:";
  std::string key;
  for (std::uint64_t value; io >> key >> value;)
    if (key == wanted) return value;
  return std::nullopt;
}

struct Measured {
  MachineTimes before, after;
  std::uint64_t idle_before_ticks = 0, idle_after_ticks = 0;
  std::optional<std::uint64_t> storage_before, storage_after;
  std::vector<ThreadResult> threads;
};

//! A poll queue belongs to CPUs, and on passthrough to one ring: threads that poll stay where
//! theirs is.
void pin(unsigned cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  if (sched_setaffinity(0, sizeof cpus, &cpus) != 0)
    throw RungMissing(fmt::format("pinning thread {} to a CPU: {}", cpu, std::strerror(errno)));
}

//! A phase to warm up, then the measured one.
void work(const IoRun& run, unsigned thread, double per_ns, std::uint64_t salt,
          std::barrier<>& line, ThreadResult& result) {
  std::unique_ptr<IoLane> lane;
  std::unique_ptr<IoWay> way;
  std::optional<InstructionCounter> counter;
  const std::uint64_t ios = run.ios / run.threads;
  const double ticks = run.seconds * 1e9 * per_ns;
  try {
    if (polls_apart(run)) pin(thread);
    lane = std::make_unique<IoLane>(LaneConfig{run.layer, depth_of(run), run.batch, run.io_bytes,
                                               run.write, run.seed + 1000 * thread, salt});
    way = make_way(*run.rung, *lane);
    counter.emplace();
    lane->begin(static_cast<std::uint64_t>(std::ceil(static_cast<double>(ios) * kWarmupShare)),
                static_cast<std::uint64_t>(ticks * kWarmupShare));
    way->run();
  } catch (...) {
    result.error = std::current_exception();
  }
  line.arrive_and_wait();
  line.arrive_and_wait();
  try {
    if (!result.error) {
      const std::optional<std::uint64_t> instructions = counter->read();
      lane->begin(ios, static_cast<std::uint64_t>(ticks));
      way->run();
      if (instructions) result.instructions = *counter->read() - *instructions;
      result.ios = lane->ios();
      result.empty_poll_ticks = lane->empty_poll_ticks();
      result.empty_poll_ns = lane->empty_poll_ns();
      result.latency_ticks = lane->latency_ticks();
    }
  } catch (...) {
    result.error = std::current_exception();
  }
  line.arrive_and_wait();
  try {
    if (result.error || !run.write) return;
    const OpenLayer open(*run.layer, O_RDONLY | (run.rung->direct() ? O_DIRECT : 0));
    lane->check_written(open.fds());
  } catch (...) {
    result.error = std::current_exception();
  }
}

Measured run_threads(const IoRun& run, double per_ns) {
  Measured measured;
  measured.threads.resize(run.threads);
  const std::uint64_t salt = now_ns();
  std::barrier<> line(static_cast<std::ptrdiff_t>(run.threads) + 1);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < run.threads; i++)
    threads.emplace_back([&, i] { work(run, i, per_ns, salt, line, measured.threads[i]); });
  line.arrive_and_wait();
  if (run.idle_clock != nullptr) measured.idle_before_ticks = run.idle_clock->ticks();
  measured.storage_before = storage_bytes(run.write);
  measured.before = machine_times();
  line.arrive_and_wait();
  line.arrive_and_wait();
  measured.after = machine_times();
  measured.storage_after = storage_bytes(run.write);
  if (run.idle_clock != nullptr) measured.idle_after_ticks = run.idle_clock->ticks();
  for (std::thread& thread : threads) thread.join();
  for (const ThreadResult& thread : measured.threads)
    if (thread.error) std::rethrow_exception(thread.error);
  return measured;
}

//! The clock counted instructions: those of the whole machine, less what was only waiting (no CPU
//! had anything to run, or a poll found nothing). How long that is depends on the emulator's host,
//! so no time is a figure.
void count_by_clock(const Measured& measured, bool polled, double ios, double per_ns, Json& row) {
  double empty_polls = 0;
  for (const ThreadResult& thread : measured.threads)
    empty_polls += static_cast<double>(thread.empty_poll_ticks) / per_ns +
                   static_cast<double>(thread.empty_poll_ns);
  const double elapsed = static_cast<double>(measured.after.wall_ns - measured.before.wall_ns);
  // Who polls is never idle: what little the idle process got then, it got in the middle of an
  // empty poll.
  const double idle =
      polled ? 0
             : static_cast<double>(measured.idle_after_ticks - measured.idle_before_ticks) / per_ns;
  row["instructions_per_io"] = (elapsed - idle - empty_polls) / ios;
  if (empty_polls > 0) row["empty_poll_instructions_per_io"] = empty_polls / ios;
  row["switches_per_io"] =
      static_cast<double>(measured.after.switches - measured.before.switches) / ios;
}

void count_by_hardware(const Measured& measured, double ios, Json& row) {
  double instructions = 0;
  for (const ThreadResult& thread : measured.threads) {
    if (!thread.instructions) {
      row["instructions_reason"] =
          "no hardware counter for instructions (perf_event_open), and no --icount-clock";
      return;
    }
    instructions += static_cast<double>(*thread.instructions);
  }
  row["instructions_per_io"] = instructions / ios;
}

void add_times(const Measured& measured, double ios, double per_ns, Json& row) {
  Histogram latency;
  for (const ThreadResult& thread : measured.threads) latency += thread.latency_ticks;
  const double elapsed_ns = static_cast<double>(measured.after.wall_ns - measured.before.wall_ns);
  const double cores =
      static_cast<double>(measured.after.process_ns - measured.before.process_ns) / elapsed_ns;
  row["iops"] = ios * 1e9 / elapsed_ns;
  row["cores"] = cores;
  row["cycles_per_io"] =
      static_cast<double>(measured.after.ticks - measured.before.ticks) * cores / ios;
  row["p50_us"] = latency.quantile_ns(0.5) / per_ns / 1000;
  row["p99_us"] = latency.quantile_ns(0.99) / per_ns / 1000;
}

Json figures(const IoRun& run) {
  const double per_ns = ticks_per_ns();
  if (!run.rung->direct()) drop_page_cache(*run.layer);
  const Measured measured = run_threads(run, per_ns);
  double ios = 0;
  for (const ThreadResult& thread : measured.threads) ios += static_cast<double>(thread.ios);
  if (ios == 0) throw RungMissing("no transfer completed in the time given");
  Json row;
  row["ios"] = static_cast<std::uint64_t>(ios);
  if (run.idle_clock != nullptr) {
    count_by_clock(measured, run.rung->ring.polled, ios, per_ns, row);
  } else {
    add_times(measured, ios, per_ns, row);
    count_by_hardware(measured, ios, row);
  }
  if (!run.rung->direct() && measured.storage_before && measured.storage_after)
    row["storage_bytes_per_io"] =
        static_cast<double>(*measured.storage_after - *measured.storage_before) / ios;
  return row;
}

//! What stands against the rung on this machine before anything is tried; empty: nothing.
std::string reason_against(const IoRun& run) {
  if (run.layer == nullptr)
    return run.rung->on == Rung::On::kFile    ? "no file among --devices"
           : run.rung->on == Rung::On::kArray ? "no md array among --devices"
                                              : "no block device among --devices";
  if (run.rung->ring.sqpoll && std::thread::hardware_concurrency() < 2)
    return "the thread that polls for submissions needs a processor of its own; this machine has "
           "one";
  if (run.rung->ring.passthrough)
    for (const Device& device : run.layer->devices)
      if (device.char_path.empty())
        return fmt::format("{} is no NVMe namespace with a character device (/dev/ngXnY)",
                           device.path);
  return "";
}

}  // namespace

bool polls_apart(const IoRun& run) {
  return run.threads > 1 && run.rung->ring.polled && run.rung->ring.passthrough;
}

unsigned depth_of(const IoRun& run) {
  return run.rung->synchronous() ? 1 : run.depth;
}

Json empty_row(const IoRun& run) {
  return Json{{"rung", run.rung->name},
              {"op", run.write ? "write" : "read"},
              {"on", run.layer != nullptr ? Json(run.layer->description()) : Json(nullptr)},
              {"threads", run.threads},
              {"depth", depth_of(run)},
              {"batch", run.rung->synchronous() ? 1 : std::min(run.batch, run.depth)},
              {"io_bytes", run.io_bytes},
              {"verified", run.layer != nullptr && run.layer->verified},
              {"ios", nullptr},
              {"iops", nullptr},
              {"cycles_per_io", nullptr},
              {"instructions_per_io", nullptr},
              {"cores", nullptr},
              {"p50_us", nullptr},
              {"p99_us", nullptr},
              {"reference_iops", nullptr},
              {"reference_instructions_per_io", nullptr}};
}

namespace {

//! The bench's own work for one I/O, of the same depth; null if it could not be counted. The median
//! of several long counts, because it is taken from every rung's, and whatever else the kernel does
//! meanwhile is in it.
Json own_instructions_per_io(const IoRun& run) {
  constexpr std::size_t kCounts = 5;
  constexpr std::uint64_t kTimesAsLong = 10;
  static std::map<unsigned, Json> known;
  const auto [place, is_new] = known.try_emplace(depth_of(run), nullptr);
  if (is_new) {
    static const Rung kNull{"null", "", Rung::On::kTop, Rung::Via::kNull};
    IoRun null = run;
    null.depth = depth_of(run);
    null.rung = &kNull;
    null.ios *= kTimesAsLong;
    std::vector<double> counts(kCounts);
    for (double& count : counts)
      count = run_in_child([&] { return figures(null).at("instructions_per_io"); }).get<double>();
    place->second = median(std::move(counts));
  }
  return place->second;
}

}  // namespace

void measure(const IoRun& run, Json& row) {
  if (const std::string reason = reason_against(run); !reason.empty()) {
    row["reason"] = reason;
    return;
  }
  Json answer;
  try {
    answer = run_in_child([&]() -> Json {
      // That clock runs as fast as it likes; tools/vm has a limit of its own.
      if (run.idle_clock == nullptr)
        alarm(kRunLimitSeconds + static_cast<unsigned>(3 * run.seconds));
      try {
        return figures(run);
      } catch (const RungMissing& missing) {
        return Json{{"reason", missing.what()}};
      } catch (const WrongData& wrong) {
        return Json{{"wrong_data", wrong.what()}};
      }
    });
  } catch (const std::runtime_error& error) {
    answer["reason"] = error.what();
  }
  if (answer.contains("wrong_data"))
    throw WrongData(fmt::format("{}: {}", run.rung->name, answer["wrong_data"].get<std::string>()));
  for (const auto& [key, value] : answer.items()) row[key] = value;
  if (run.idle_clock != nullptr && !row.contains("reason"))
    row["own_instructions_per_io"] = own_instructions_per_io(run);
}

}  // namespace vmbench

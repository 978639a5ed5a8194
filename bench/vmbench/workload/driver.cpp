// SPDX-License-Identifier: MIT
#include "workload/driver.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/progress.hpp"
#include "io/idle_clock.hpp"
#include "systems/system.hpp"

namespace vmbench {

namespace {

constexpr std::uint64_t kTickNs = 100'000'000;
//! Systems that block on each miss are warmed up by so many threads; one would need a minute for
//! what a disk with a queue does in seconds.
constexpr unsigned kWarmupThreads = 32;

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

//! The threads of one phase of a run: started together, stopped by the driver or by the first that
//! fails.
class Crew {
 public:
  Crew(System& system, SharedWorkload& shared, unsigned threads, std::uint64_t seed)
      : _counters(threads) {
    for (unsigned i = 0; i < threads; i++)
      _threads.emplace_back([this, &system, &shared, seed, i] {
        ThreadContext context{i, OpSource(shared, SplitMix64::mix(seed + i)), _counters[i], _stop};
        try {
          system.run_thread(context);
        } catch (...) {
          const std::lock_guard lock(_error_lock);
          if (!_error) _error = std::current_exception();
          _failed.store(true);
        }
      });
  }
  ~Crew() { join(); }
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  [[nodiscard]] bool failed() const { return _failed.load(); }
  [[nodiscard]] std::uint64_t ops() const {
    std::uint64_t sum = 0;
    for (const ThreadCounters& counters : _counters)
      sum += counters.ops.load(std::memory_order_relaxed);
    return sum;
  }
  [[nodiscard]] std::uint64_t not_found() const {
    std::uint64_t sum = 0;
    for (const ThreadCounters& counters : _counters)
      sum += counters.not_found.load(std::memory_order_relaxed);
    return sum;
  }
  [[nodiscard]] Histogram sum(Histogram ThreadCounters::*member) const {
    Histogram all;
    for (const ThreadCounters& counters : _counters) all += counters.*member;
    return all;
  }
  //! Throws what the first failed thread threw.
  void finish() {
    join();
    if (_error) std::rethrow_exception(_error);
  }

 private:
  void join() {
    _stop.store(true);
    for (std::thread& thread : _threads)
      if (thread.joinable()) thread.join();
  }

  std::vector<ThreadCounters> _counters;
  std::atomic<bool> _stop{false};
  std::atomic<bool> _failed{false};
  std::mutex _error_lock;
  std::exception_ptr _error;
  std::vector<std::thread> _threads;
};

//! Who polls is never idle: what little the idle process got then, it got in the middle of an empty
//! poll.
std::uint64_t waited(const IdleClock& clock, const System& system) {
  if (const std::uint64_t polling_ns = system.empty_poll_ns(); polling_ns > 0) return polling_ns;
  static const double per_ns = ticks_per_ns();
  return static_cast<std::uint64_t>(static_cast<double>(clock.ticks()) / per_ns);
}

//! Everything that is counted, at one moment.
struct Snapshot {
  std::uint64_t time_ns;
  double cpu_s;
  std::uint64_t waited_ns;  // with nothing to do, or polling for nothing; 0 without an idle clock
  std::uint64_t ops;
  IoCounters io;
  Histogram op_ns;
  Histogram read_ns;

  Snapshot(const System& system, const Crew& crew, const IdleClock* idle_clock)
      : time_ns(now_ns()),
        cpu_s(cpu_seconds()),
        waited_ns(idle_clock == nullptr ? 0 : waited(*idle_clock, system)),
        ops(crew.ops()),
        io(system.io()),
        op_ns(crew.sum(&ThreadCounters::op_ns)),
        read_ns(system.read_ns().value_or(crew.sum(&ThreadCounters::read_ns))) {}
};

//! Ticks on a grid of 100 ms.
class Ticker {
 public:
  void wait() {
    _next += kTickNs;
    const std::uint64_t now = now_ns();
    if (_next > now) std::this_thread::sleep_for(std::chrono::nanoseconds(_next - now));
  }

 private:
  std::uint64_t _next = now_ns();
};

//! A cache is warm when as many pages were read as it, or the data, has; or when reads have become
//! rare.
class WarmCheck {
 public:
  explicit WarmCheck(const WorkloadOptions& options)
      : _pages(std::min(options.pool_bytes, options.data_bytes * 9 / 8) / 4096) {}

  [[nodiscard]] unsigned percent(const IoCounters& io) const {
    return static_cast<unsigned>(std::min<std::uint64_t>(io.page_reads * 100 / _pages, 100));
  }
  bool warm(const IoCounters& io, std::uint64_t ops) {
    if (io.page_reads >= _pages) return true;
    const std::uint64_t new_reads = io.page_reads - _last_reads, new_ops = ops - _last_ops;
    _last_reads = io.page_reads;
    _last_ops = ops;
    _rare = new_ops > 1000 && new_reads * 100 < new_ops ? _rare + 1 : 0;
    return _rare >= 10;
  }

 private:
  std::uint64_t _pages;
  std::uint64_t _last_reads = 0;
  std::uint64_t _last_ops = 0;
  unsigned _rare = 0;
};

//! Returns the seconds it took.
double warm_up(System& system, SharedWorkload& shared, const WorkloadOptions& options,
               bool blocking) {
  Progress progress;
  WarmCheck check(options);
  const std::uint64_t start = now_ns();
  const auto limit = static_cast<std::uint64_t>(options.warmup_max_seconds * 1e9);
  if (limit == 0) return 0;
  Crew crew(system, shared, blocking ? std::max(kWarmupThreads, options.threads) : options.threads,
            options.seed + 0x1000);
  Ticker ticker;
  while (!crew.failed() && now_ns() - start < limit && !check.warm(system.io(), crew.ops())) {
    ticker.wait();
    progress.show(fmt::format("{}: warming up, {} % of the pages that fit", options.system,
                              check.percent(system.io())));
  }
  crew.finish();
  return static_cast<double>(now_ns() - start) * 1e-9;
}

struct Samples {
  std::vector<double> ops_per_s;
  std::vector<double> page_reads_per_s;

  void add(std::uint64_t ops, std::uint64_t reads, std::uint64_t ns) {
    const double seconds = static_cast<double>(ns) * 1e-9;
    ops_per_s.push_back(static_cast<double>(ops) / seconds);
    page_reads_per_s.push_back(static_cast<double>(reads) / seconds);
  }
};

Samples watch(const System& system, const Crew& crew, const WorkloadOptions& options,
              std::uint64_t start_ns) {
  Progress progress;
  Samples samples;
  Ticker ticker;
  const auto duration = static_cast<std::uint64_t>(options.seconds * 1e9);
  std::uint64_t last_ns = start_ns, last_ops = crew.ops(), last_reads = system.io().page_reads;
  while (!crew.failed() && last_ns - start_ns + kTickNs / 2 < duration) {
    ticker.wait();
    const std::uint64_t now = now_ns(), ops = crew.ops(), reads = system.io().page_reads;
    samples.add(ops - last_ops, reads - last_reads, now - last_ns);
    progress.show(fmt::format("{}: {:.0f} of {:.0f} s, {:.0f} ops/s", options.system,
                              static_cast<double>(now - start_ns) * 1e-9, options.seconds,
                              samples.ops_per_s.back()));
    last_ns = now;
    last_ops = ops;
    last_reads = reads;
  }
  return samples;
}

Json optional_us(const Histogram& histogram, double fraction) {
  return histogram.total() == 0 ? Json(nullptr) : Json(histogram.quantile_ns(fraction) / 1000);
}

Json make_row(const WorkloadOptions& options, const SystemEntry& entry, const Snapshot& begin,
              Snapshot& end, const Samples& samples) {
  const double seconds = static_cast<double>(end.time_ns - begin.time_ns) * 1e-9;
  const auto ops = static_cast<double>(end.ops - begin.ops);
  const double cpu_s = end.cpu_s - begin.cpu_s;
  const std::uint64_t reads = end.io.page_reads - begin.io.page_reads;
  end.op_ns -= begin.op_ns;
  end.read_ns -= begin.read_ns;
  return Json{{"system", options.system},
              {"workload", options.workload},
              {"threads", options.threads},
              {"tasks", entry.asynchronous ? options.tasks : 1},
              {"pool_bytes", options.pool_bytes},
              {"data_bytes", options.data_bytes},
              {"seconds", seconds},
              {"ops", end.ops - begin.ops},
              {"ops_per_s", ops / seconds},
              {"page_reads", reads},
              {"page_reads_per_s", static_cast<double>(reads) / seconds},
              {"page_writes", end.io.page_writes - begin.io.page_writes},
              {"read_p50_us", optional_us(end.read_ns, 0.5)},
              {"read_p99_us", optional_us(end.read_ns, 0.99)},
              {"op_p50_us", optional_us(end.op_ns, 0.5)},
              {"op_p99_us", optional_us(end.op_ns, 0.99)},
              {"cpu_s", cpu_s},
              {"cpu_us_per_op", ops > 0 ? Json(cpu_s * 1e6 / ops) : Json(nullptr)},
              {"sample_interval_s", static_cast<double>(kTickNs) * 1e-9},
              {"samples_ops_per_s", samples.ops_per_s},
              {"samples_page_reads_per_s", samples.page_reads_per_s}};
}

//! The clock counted instructions: those of the whole machine, less what was only waiting.
void count_instructions(const Snapshot& begin, const Snapshot& end, Json& row) {
  const auto waited = static_cast<double>(end.waited_ns - begin.waited_ns);
  const double busy = static_cast<double>(end.time_ns - begin.time_ns) - waited;
  const auto ops = static_cast<double>(end.ops - begin.ops);
  const auto reads = static_cast<double>(end.io.page_reads - begin.io.page_reads);
  row["instructions_per_op"] = ops > 0 ? Json(busy / ops) : Json(nullptr);
  row["instructions_per_page_read"] = reads > 0 ? Json(busy / reads) : Json(nullptr);
  row["waiting_instructions_per_page_read"] = reads > 0 ? Json(waited / reads) : Json(nullptr);
}

}  // namespace

Json run_workload(const WorkloadOptions& options) {
  const SystemEntry& entry = find_system(options.system);
  if (entry.run) return entry.run(options);
  const std::unique_ptr<System> system = entry.open(options);
  SharedWorkload shared(options);
  const double warmup_s = warm_up(*system, shared, options, !entry.asynchronous);
  Crew crew(*system, shared, options.threads, options.seed);
  // The threads' own beginnings are not part of the measurement.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const Snapshot begin(*system, crew, options.idle_clock);
  const Samples samples = watch(*system, crew, options, begin.time_ns);
  Snapshot end(*system, crew, options.idle_clock);
  crew.finish();
  Json row = make_row(options, entry, begin, end, samples);
  row["warmup_s"] = warmup_s;
  if (options.idle_clock != nullptr) count_instructions(begin, end, row);
  if (crew.not_found() != 0) row["not_found"] = crew.not_found();
  system->describe(row);
  system->close();
  return row;
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
//
// YCSB-A with a log, answered for in groups, without a pause: how much of it is done while no
// checkpoint runs, and while one does. Each checkpoint has all the pages to write that were dirtied
// since the one before, and the first change of each page after its begin logs an image, so the
// load is heavier for a while after it, too.
#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "common/clock.hpp"
#include "common/median.hpp"
#include "common/progress.hpp"
#include "log/bench_database.hpp"
#include "log/parts.hpp"
#include "log/slices.hpp"
#include "workload/op_source.hpp"

namespace vmbench {

namespace {

//! One thread's, alone in its lines.
struct alignas(128) OpCounter {
  std::atomic<std::uint64_t> ops{0};
};

//! What was seen at one moment.
struct Moment {
  std::uint64_t time_ns = 0, ops = 0, log_end = 0;
};

//! What lies between two moments.
struct Window {
  double seconds, ops_per_s, log_bytes_per_op;
  Window(const Moment& from, const Moment& to)
      : seconds(static_cast<double>(to.time_ns - from.time_ns) * 1e-9),
        ops_per_s(static_cast<double>(to.ops - from.ops) / seconds),
        log_bytes_per_op(static_cast<double>(to.log_end - from.log_end) /
                         static_cast<double>(std::max<std::uint64_t>(to.ops - from.ops, 1))) {}
};

struct Windows {
  std::vector<double> without, during, after, ratios, ratios_after, checkpoint_s, pages,
      log_without, log_during;
};

class CheckpointBench {
 public:
  explicit CheckpointBench(const LogBenchOptions& options)
      : _options(options),
        _workload(options.workload_a()),
        _shared(_workload),
        _database(database_options(options)) {
    load(_database, options);
    log_images(_database, options);
  }
  void close() { _database.close(); }

  Windows measure(unsigned threads, Progress& progress) {
    Windows windows;
    _counters = std::vector<OpCounter>(threads);
    const auto rounds = [&] {
      pause();  // the threads' own beginnings
      for (unsigned round = 0; round < _options.rounds; round++) {
        progress.show(fmt::format("checkpoint: round {} of {}, {} threads", round + 1,
                                  _options.rounds, threads));
        add_round(windows);
      }
    };
    (void)run_slice(
        threads, 0,
        [&](unsigned thread, const std::atomic<bool>& stop) { return run_client(thread, stop); },
        rounds);
    return windows;
  }

 private:
  void pause() const {
    std::this_thread::sleep_for(std::chrono::duration<double>(_options.seconds));
  }

  std::uint64_t run_client(unsigned thread, const std::atomic<bool>& stop) {
    OpSource source(_shared, SplitMix64::mix(_options.seed + thread));
    GroupAcknowledger acknowledger(_database.log(), _options.group);
    const vmcache::BTree& tree = _database.tree(0);
    std::atomic<std::uint64_t>& ops = _counters[thread].ops;
    while (!stop.load(std::memory_order_relaxed)) {
      const Op op = source.next();
      if (op.kind == OpKind::kRead) {
        Value value;
        (void)tree.lookup(KeyBytes(op.key), value);
      } else {
        acknowledger.committed(update_no_wait(_database, op.key, source.random()));
      }
      ops.store(ops.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    acknowledger.finish();
    return ops;
  }

  Moment now() {
    Moment moment{.time_ns = now_ns(), .ops = 0, .log_end = _database.log().end()};
    for (const OpCounter& counter : _counters)
      moment.ops += counter.ops.load(std::memory_order_relaxed);
    return moment;
  }

  void add_round(Windows& windows) {
    const std::uint64_t written = _database.pool().stats().written_pages;
    const Moment begin = now();
    pause();
    const Moment start = now();
    _database.checkpoint();
    const Moment end = now();
    windows.pages.push_back(static_cast<double>(_database.pool().stats().written_pages - written));
    pause();
    const Window without(begin, start), during(start, end), after(end, now());
    windows.without.push_back(without.ops_per_s);
    windows.during.push_back(during.ops_per_s);
    windows.after.push_back(after.ops_per_s);
    windows.ratios.push_back(during.ops_per_s / without.ops_per_s);
    windows.ratios_after.push_back(after.ops_per_s / without.ops_per_s);
    windows.checkpoint_s.push_back(during.seconds);
    windows.log_without.push_back(without.log_bytes_per_op);
    windows.log_during.push_back(during.log_bytes_per_op);
    pause();  // most of the images that the next round shall not count
  }

  const LogBenchOptions& _options;
  const WorkloadOptions _workload;
  SharedWorkload _shared;
  vmcache::Database _database;
  std::vector<OpCounter> _counters;
};

}  // namespace

Json measure_checkpoint(const LogBenchOptions& options) {
  CheckpointBench bench(options);
  Progress progress;
  Json rows = Json::array();
  for (const unsigned threads : options.threads) {
    if (threads > options.cpus) continue;
    const Windows windows = bench.measure(threads, progress);
    rows.push_back({{"part", "checkpoint"},
                    {"threads", threads},
                    {"ops_per_s_without", median(windows.without)},
                    {"ops_per_s_during", median(windows.during)},
                    {"ratio", median(windows.ratios)},
                    {"ratio_after", median(windows.ratios_after)},
                    {"checkpoint_s", median(windows.checkpoint_s)},
                    {"pages_written", median(windows.pages)},
                    {"log_bytes_per_op_without", median(windows.log_without)},
                    {"log_bytes_per_op_during", median(windows.log_during)},
                    {"samples_without", windows.without},
                    {"samples_during", windows.during}});
  }
  bench.close();
  return rows;
}

}  // namespace vmbench

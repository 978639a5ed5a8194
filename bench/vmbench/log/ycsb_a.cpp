// SPDX-License-Identifier: MIT
//
// YCSB-A with everything in memory: a B+tree in a plain pool, and the same with transactions and a
// log. Where commits are waited for one by one, the device's flush is what is measured, unless many
// wait at a time; so there are three kinds of logged rows: clients that answer for their commits in
// groups and go on meanwhile, threads with many tasks each of which awaits its commits, and a crowd
// of threads each of which waits.
#include <fmt/format.h>

#include <stdexcept>

#include "common/clock.hpp"
#include "common/median.hpp"
#include "common/progress.hpp"
#include "log/bench_database.hpp"
#include "log/parts.hpp"
#include "log/slices.hpp"
#include "workload/op_source.hpp"

namespace vmbench {

namespace {

enum class Way : std::uint8_t { kPlain, kGroups, kTasks, kWaiters };

const char* name_of(Way way) {
  switch (way) {
    case Way::kPlain:
      return "no log";
    case Way::kGroups:
      return "logged, groups awaited";
    case Way::kTasks:
      return "logged, awaited in tasks";
    case Way::kWaiters:
      return "logged, each awaited";
  }
  return "";
}

//! What the slices of one way with one number of threads add up to.
struct Run {
  Way way;
  unsigned threads;
  std::vector<double> ops_per_s = {};
  Histogram waits = {};
  std::uint64_t ops = 0, flushes = 0, log_bytes = 0, checkpoints = 0;
};

//! Both systems, open at once.
class Arena {
 public:
  explicit Arena(const LogBenchOptions& options)
      : _options(options),
        _workload(options.workload_a()),
        _shared(_workload),
        _plain_pool(plain_pool_options(options)),
        _plain(_plain_pool, BTreeIndex::build(_plain_pool, _shared.keys, [](std::uint64_t) {})),
        _database(database_options(options)) {
    load(_database, options);
    log_images(_database, options);
  }
  void close() {
    _plain_pool.close();
    _database.close();
  }

  void slice(Run& run, unsigned round) {
    const std::uint64_t flushes = _database.log().flushes(), checkpoints = _database.checkpoints();
    const vmcache::Lsn end = _database.log().end();
    std::vector<Histogram> waits(run.threads);
    const Slice slice = run_slice(
        run.threads, _options.seconds, [&](unsigned thread, const std::atomic<bool>& stop) {
          OpSource source(_shared, SplitMix64::mix(_options.seed + round * 4096 + thread));
          if (run.way == Way::kPlain) return run_plain(source, stop);
          if (run.way == Way::kTasks) return run_tasks(source, stop, waits[thread]);
          return run_logged(source, run.way == Way::kGroups ? _options.group : 1, stop,
                            waits[thread]);
        });
    run.ops_per_s.push_back(slice.ops_per_s());
    run.ops += slice.ops;
    for (const Histogram& wait : waits) run.waits += wait;
    run.flushes += _database.log().flushes() - flushes;
    run.log_bytes += _database.log().end() - end;
    run.checkpoints += _database.checkpoints() - checkpoints;
  }

 private:
  static void read(const vmcache::BTree& tree, Key key) {
    Value value;
    if (!tree.lookup(KeyBytes(key), value) || !value_belongs_to(value, key))
      throw std::runtime_error(fmt::format("key {} is not there, or has another's value", key));
  }
  std::uint64_t run_plain(OpSource& source, const std::atomic<bool>& stop) {
    std::uint64_t done = 0;
    for (; !stop.load(std::memory_order_relaxed); done++) {
      const Op op = source.next();
      if (op.kind == OpKind::kRead) {
        read(_plain.tree(), op.key);
      } else {
        _plain.tree().replace(KeyBytes(op.key), value_bytes(make_value(op.key, source.random())));
      }
    }
    return done;
  }
  std::uint64_t run_logged(OpSource& source, unsigned group, const std::atomic<bool>& stop,
                           Histogram& waits) {
    const vmcache::BTree& tree = _database.tree(0);
    GroupAcknowledger acknowledger(_database.log(), group);
    std::uint64_t done = 0;
    for (; !stop.load(std::memory_order_relaxed); done++) {
      const Op op = source.next();
      if (op.kind == OpKind::kRead) {
        read(tree, op.key);
      } else {
        acknowledger.committed(update_no_wait(_database, op.key, source.random()));
        if (group == 1) acknowledger.finish();
      }
    }
    acknowledger.finish();
    waits = acknowledger.waits();
    return done;
  }

  std::uint64_t run_tasks(OpSource& source, const std::atomic<bool>& stop, Histogram& waits) {
    std::uint64_t done = 0;
    vmcache::Worker worker(_database.pool());
    for (unsigned i = 0; i < _options.tasks; i++)
      worker.spawn(run_task(worker, source, stop, done, waits));
    worker.run();
    return done;
  }
  vmcache::Task<> run_task(vmcache::Worker& worker, OpSource& source, const std::atomic<bool>& stop,
                           std::uint64_t& done, Histogram& waits) {
    const vmcache::BTree& tree = _database.tree(0);
    for (; !stop.load(std::memory_order_relaxed); done++) {
      const Op op = source.next();
      if (op.kind == OpKind::kRead) {
        read(tree, op.key);
        continue;
      }
      const std::uint64_t start = now_ns();
      co_await update(worker, _database, op.key, source.random());
      waits.add(now_ns() - start);
    }
  }

  const LogBenchOptions& _options;
  const WorkloadOptions _workload;
  SharedWorkload _shared;
  vmcache::BufferPool _plain_pool;
  BTreeIndex _plain;
  vmcache::Database _database;
};

Json row_of(const Run& run, double baseline, const LogBenchOptions& options) {
  const bool logged = run.way != Way::kPlain;
  const double ops_per_s = median(run.ops_per_s);
  const auto updates = static_cast<double>(run.ops) / 2;
  const auto of = [&](double value) { return logged ? Json(value) : Json(nullptr); };
  return Json{
      {"part", "ycsb-a"},
      {"system", name_of(run.way)},
      {"threads", run.threads},
      {"group", run.way == Way::kGroups ? Json(options.group) : Json(nullptr)},
      {"tasks", run.way == Way::kTasks ? Json(options.tasks) : Json(nullptr)},
      {"ops", run.ops},
      {"ops_per_s", ops_per_s},
      {"ratio", of(ops_per_s / baseline)},
      {"durable_p50_us", of(run.waits.quantile_ns(0.5) / 1000)},
      {"durable_p99_us", of(run.waits.quantile_ns(0.99) / 1000)},
      {"commits_per_flush", of(run.flushes > 0 ? updates / static_cast<double>(run.flushes) : 0)},
      {"log_bytes_per_update", of(static_cast<double>(run.log_bytes) / updates)},
      {"checkpoints", of(static_cast<double>(run.checkpoints))},
      {"samples_ops_per_s", run.ops_per_s}};
}

}  // namespace

Json measure_ycsb_a(const LogBenchOptions& options) {
  Arena arena(options);
  std::vector<Run> runs;
  for (const unsigned threads : options.threads) {
    if (threads > options.cpus) continue;
    runs.push_back({.way = Way::kPlain, .threads = threads});
    runs.push_back({.way = Way::kGroups, .threads = threads});
    runs.push_back({.way = Way::kTasks, .threads = threads});
  }
  runs.push_back({.way = Way::kWaiters, .threads = options.waiters});
  Progress progress;
  for (unsigned round = 0; round < options.rounds; round++) {
    for (Run& run : runs) {
      progress.show(fmt::format("YCSB-A: round {} of {}, {}, {} threads", round + 1, options.rounds,
                                name_of(run.way), run.threads));
      arena.slice(run, round);
    }
  }
  Json rows = Json::array();
  double baseline = 0;
  for (const Run& run : runs) {
    if (run.way == Way::kPlain) baseline = median(run.ops_per_s);
    rows.push_back(row_of(run, baseline, options));
  }
  arena.close();
  return rows;
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
//
// The pool under test. vmcache-sync is the published design (Leis et al., SIGMOD 2023): a blocking
// pread a miss and one madvise an evicted page. vmcache is what it has become: many tasks a thread,
// faults awaited.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "common/progress.hpp"
#include "systems/system.hpp"
#include "systems/vmcache_btree.hpp"
#include "systems/vmcache_plain.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/worker.hpp"

namespace vmbench {

namespace {

enum RootIndex : unsigned { kTreeRoot = 0, kMarkerRoot = 1 };

//! A page that says what the database holds.
struct Marker {
  std::uint64_t records;
  std::uint64_t pristine;
};

vmcache::AnonymousRelease anonymous_release(const std::string& name) {
  if (name == "move") return vmcache::AnonymousRelease::kMove;
  if (name == "process_madvise") return vmcache::AnonymousRelease::kProcessMadvise;
  if (name == "madvise_runs") return vmcache::AnonymousRelease::kMadviseRuns;
  if (name == "madvise_pages") return vmcache::AnonymousRelease::kMadvisePages;
  return vmcache::AnonymousRelease::kAuto;
}

vmcache::PoolOptions pool_options(const WorkloadOptions& options) {
  vmcache::PoolOptions pool;
  if (options.devices.empty()) {
    pool.path = vmcache_file(options);
  } else {
    pool.paths.assign(options.devices.begin(), options.devices.end());
  }
  pool.pool_bytes = options.pool_bytes;
  pool.capacity_bytes = options.data_bytes * 4 + (std::uint64_t{1} << 30);
  pool.workers = std::max(64u, options.threads);
  pool.evict_batch = options.evict_batch;
  if (options.system == "vmcache-sync") {
    pool.memory = vmcache::MemoryKind::kAnonymous;
    pool.anonymous_release = vmcache::AnonymousRelease::kMadvisePages;
    pool.storage = vmcache::StorageKind::kPread;
  } else {
    pool.io_depth = options.io_depth;
    pool.anonymous_release = anonymous_release(options.anonymous_release);
    if (options.memory == "anonymous") pool.memory = vmcache::MemoryKind::kAnonymous;
    if (options.memory == "exmap") pool.memory = vmcache::MemoryKind::kExmap;
  }
  pool.logger = [](vmcache::LogLevel level, std::string_view line) {
    if (level != vmcache::LogLevel::kInfo) fmt::print(stderr, "vmcache: {}\n", line);
  };
  return pool;
}

Marker read_marker(vmcache::BufferPool& pool) {
  const vmcache::PageId page_id = pool.root(kMarkerRoot);
  if (page_id == vmcache::kNoPage) return {0, 0};
  const vmcache::SharedGuard guard = pool.fix_shared(page_id);
  return *guard.as<Marker>();
}

void write_marker(vmcache::BufferPool& pool, const Marker& marker) {
  vmcache::PageId page_id = pool.root(kMarkerRoot);
  if (page_id == vmcache::kNoPage) {
    page_id = pool.allocate().page_id();
    pool.set_root(kMarkerRoot, page_id);
  }
  const vmcache::ExclusiveGuard guard = pool.fix_exclusive(page_id);
  *guard.as<Marker>() = marker;
}

//! The loop of a task that has many siblings on its thread. A lookup is awaited as it is, without a
//! coroutine of its own.
vmcache::Task<void> run_client(vmcache::Worker& worker, BTreeIndex& index, ThreadContext& context) {
  // One look at the clock an operation: the next one begins where the last one has ended.
  std::uint64_t start = now_ns();
  while (!context.stop.load(std::memory_order_relaxed)) {
    const Op op = context.source.next();
    if (op.kind == OpKind::kRead) {
      const KeyBytes key(op.key);
      Value value;
      const bool found = (co_await index.tree().lookup(worker, key, value)).has_value();
      if (found) check_value(op.key, value);
      check_found(op, found, context.counters);
    } else {
      co_await index.execute(worker, op, context);
    }
    const std::uint64_t end = now_ns();
    context.counters.finished(end - start);
    start = end;
  }
}
vmcache::Task<void> run_client(vmcache::Worker& worker, PlainIndex& index, ThreadContext& context) {
  std::uint64_t start = now_ns();
  while (!context.stop.load(std::memory_order_relaxed)) {
    co_await index.execute(worker, context.source.next(), context);
    const std::uint64_t end = now_ns();
    context.counters.finished(end - start);
    start = end;
  }
}

//! Bucket by bucket into ours; the library's are 9 % wide.
Histogram convert(const vmcache::LatencyHistogram& from) {
  Histogram to;
  for (std::size_t i = 0; i + 1 < vmcache::LatencyHistogram::kBuckets; i++)
    to.add((vmcache::LatencyHistogram::lower_bound_ns(i) +
            vmcache::LatencyHistogram::lower_bound_ns(i + 1)) /
               2,
           from.count(i));
  return to;
}

template <typename Index, typename IndexSession>
class VmcacheSystem final : public System {
 public:
  explicit VmcacheSystem(const WorkloadOptions& options)
      : _pool(pool_options(options)),
        _index(_pool, _pool.root(kTreeRoot)),
        _tasks(options.system == "vmcache" ? options.tasks : 0) {
    if (options.mix.changes_data()) write_marker(_pool, {options.records(), 0});
  }

  void run_thread(ThreadContext& context) override {
    if (_tasks == 0) {
      IndexSession session(_index);
      return run_session(session, context, false);
    }
    vmcache::Worker worker(_pool);
    for (unsigned i = 0; i < _tasks; i++) worker.spawn(run_client(worker, _index, context));
    worker.run();
  }
  [[nodiscard]] IoCounters io() const override {
    const vmcache::PoolStats stats = _pool.stats();
    return {stats.read_pages, stats.written_pages};
  }
  [[nodiscard]] std::uint64_t empty_poll_ns() const override { return _pool.stats().empty_poll_ns; }
  [[nodiscard]] std::optional<Histogram> read_ns() const override {
    return convert(_pool.stats().read_latency);
  }
  void describe(Json& row) const override {
    const vmcache::PoolStats stats = _pool.stats();
    row["pool"] = _pool.description();
    // Since opening, warm-up included.
    row["evicted_pages"] = stats.evicted_pages;
    row["page_table_calls"] = stats.page_table_calls;
    row["page_table_pages"] = stats.page_table_pages;
    row["submissions"] = stats.submissions;
    row["latch_waits"] = stats.latch_waits;
    row["frame_waits"] = stats.frame_waits;
    row["restarts"] = stats.restarts;
  }
  void close() override { _pool.close(); }

 private:
  vmcache::BufferPool _pool;
  Index _index;
  unsigned _tasks;
};

bool is_pristine(const WorkloadOptions& options) {
  if (options.devices.empty() && !std::filesystem::exists(vmcache_file(options))) return false;
  try {
    vmcache::BufferPool pool(pool_options(options));
    const Marker marker = read_marker(pool);
    pool.close();
    return marker.records == options.records() && marker.pristine == 1;
  } catch (const vmcache::Error& error) {
    // Left by a run that was cut off: to be made anew. What is not ours is not to be overwritten.
    if (error.code() == vmcache::Errc::kUncleanShutdown) return false;
    throw;
  }
}

}  // namespace

std::string vmcache_file(const WorkloadOptions& options) {
  return options.file + ".vmcache-" + options.index;
}

void prepare_vmcache(const WorkloadOptions& options) {
  if (is_pristine(options)) return;
  if (options.devices.empty()) std::filesystem::remove(vmcache_file(options));
  WorkloadOptions build = options;
  build.system = "vmcache";
  vmcache::BufferPool pool(pool_options(build));
  if (pool.root(kTreeRoot) != vmcache::kNoPage)
    throw std::runtime_error(
        "--devices: they hold another database; blkdiscard, or zeros at their beginning, empty "
        "them");
  const KeySpace keys(options.records());
  Progress progress;
  const auto show = [&](std::uint64_t done) {
    progress.show(fmt::format("building {}: {} %", pool.description(), done * 100 / keys.loaded()));
  };
  pool.set_root(kTreeRoot, options.index == "plain" ? PlainIndex::build(pool, keys, show)
                                                    : BTreeIndex::build(pool, keys, show));
  write_marker(pool, {options.records(), 1});
  pool.close();
}

std::unique_ptr<System> open_vmcache(const WorkloadOptions& options) {
  if (options.index == "plain")
    return std::make_unique<VmcacheSystem<PlainIndex, PlainSession>>(options);
  return std::make_unique<VmcacheSystem<BTreeIndex, BTreeSession>>(options);
}

}  // namespace vmbench

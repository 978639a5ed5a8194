// SPDX-License-Identifier: MIT
//
// Lookups in data four times the pool's size, with pages that are sealed and checked
// (PoolOptions::page_header) and with pages that are not.
#include <fmt/format.h>

#include <array>
#include <memory>

#include "common/median.hpp"
#include "common/progress.hpp"
#include "log/bench_database.hpp"
#include "log/parts.hpp"
#include "log/slices.hpp"
#include "vmcache/worker.hpp"
#include "workload/op_source.hpp"

namespace vmbench {

namespace {

class Side {
 public:
  Side(const LogBenchOptions& options, bool sealed, const KeySpace& keys, Progress& progress) {
    vmcache::PoolOptions pool = plain_pool_options(options);
    pool.path = options.file + (sealed ? ".sealed" : ".plain");
    pool.pool_bytes =
        std::max<std::uint64_t>(options.data_bytes / 4, std::uint64_t{1} << 20) / 4096 * 4096;
    pool.page_header = sealed;
    _pool = std::make_unique<vmcache::BufferPool>(pool);
    const vmcache::PageId root = BTreeIndex::build(*_pool, keys, [&](std::uint64_t done) {
      progress.show(fmt::format("checksums: building {}: {} %", pool.path.string(),
                                done * 100 / keys.loaded()));
    });
    _pool->checkpoint();
    _index = std::make_unique<BTreeIndex>(*_pool, root);
  }

  Slice slice(const LogBenchOptions& options, SharedWorkload& shared, unsigned threads,
              std::uint64_t seed) {
    const std::uint64_t reads = _pool->stats().read_pages;
    const Slice slice =
        run_slice(threads, options.seconds, [&](unsigned thread, const std::atomic<bool>& stop) {
          OpSource source(shared, SplitMix64::mix(seed + thread));
          vmcache::Worker worker(*_pool);
          std::uint64_t done = 0;
          for (unsigned i = 0; i < options.tasks; i++)
            worker.spawn(client(worker, source, stop, done));
          worker.run();
          return done;
        });
    _page_reads += _pool->stats().read_pages - reads;
    return slice;
  }
  [[nodiscard]] std::uint64_t page_reads() const { return _page_reads; }
  void close() { _pool->close(); }

 private:
  vmcache::Task<void> client(vmcache::Worker& worker, OpSource& source,
                             const std::atomic<bool>& stop, std::uint64_t& done) {
    while (!stop.load(std::memory_order_relaxed)) {
      const Key key = source.next().key;
      Value value;
      const KeyBytes bytes(key);
      if (!(co_await _index->tree().lookup(worker, bytes, value)) || !value_belongs_to(value, key))
        throw std::runtime_error(fmt::format("key {} is not there, or has another's value", key));
      done++;
    }
  }

  std::unique_ptr<vmcache::BufferPool> _pool;
  std::unique_ptr<BTreeIndex> _index;
  std::uint64_t _page_reads = 0;
};

}  // namespace

Json measure_checksums(const LogBenchOptions& options) {
  WorkloadOptions lookups;
  lookups.data_bytes = options.data_bytes;
  SharedWorkload shared(lookups);
  Progress progress;
  std::array<std::unique_ptr<Side>, 2> sides;
  for (const bool sealed : {false, true})
    sides[sealed] = std::make_unique<Side>(options, sealed, shared.keys, progress);
  constexpr unsigned kThreads = 1;
  std::array<std::vector<double>, 2> lookups_per_s;
  std::vector<double> ratios;
  for (const auto& side : sides)
    (void)side->slice(options, shared, kThreads, options.seed);  // fills the pools
  for (unsigned round = 0; round < options.rounds; round++) {
    progress.show(fmt::format("checksums: round {} of {}", round + 1, options.rounds));
    // Who begins takes turns, too: a disk that is warming up or tiring is then nobody's advantage.
    for (const bool second : {false, true}) {
      const bool sealed = second != (round % 2 == 1);
      lookups_per_s[sealed].push_back(
          sides[sealed]->slice(options, shared, kThreads, options.seed + round + 1).ops_per_s());
    }
    ratios.push_back(lookups_per_s[1].back() / lookups_per_s[0].back());
  }
  Json rows = Json::array();
  for (const bool sealed : {false, true}) {
    rows.push_back({{"part", "checksums"},
                    {"system", sealed ? "sealed and checked" : "neither"},
                    {"threads", kThreads},
                    {"tasks", options.tasks},
                    {"pool_bytes", options.data_bytes / 4},
                    {"lookups_per_s", median(lookups_per_s[sealed])},
                    {"ratio", sealed ? Json(median(ratios)) : Json(nullptr)},
                    {"page_reads", sides[sealed]->page_reads()},
                    {"samples_lookups_per_s", lookups_per_s[sealed]}});
    sides[sealed]->close();
  }
  return rows;
}

}  // namespace vmbench

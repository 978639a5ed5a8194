// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "commands.hpp"
#include "common/null_storage.hpp"
#include "common/progress.hpp"
#include "common/report.hpp"
#include "replacement/simulated.hpp"
#include "vmcache/buffer_pool.hpp"
#include "workload/records.hpp"
#include "workload/zipf.hpp"

namespace vmbench {

namespace {

struct HitRatioOptions {
  std::uint64_t data_pages = 262144;
  std::uint64_t pool_pages = 32768;
  std::uint64_t accesses = 3'000'000;
  double theta = 0.9;
  unsigned scan_percent = 50;
  std::uint64_t seed = 1;
  std::string json;
};

//! The pool itself, on a storage that costs nothing. Pages are used one at a time, optimistically,
//! as lookups do.
class VmcachePolicy final : public CachePolicy {
 public:
  explicit VmcachePolicy(const HitRatioOptions& options) : _pool(pool_options(options)) {
    _first = _pool.allocate().page_id();
    for (std::uint64_t i = 1; i < options.data_pages; i++)
      if (_pool.allocate().page_id() != _first + i)
        throw std::runtime_error("page ids are not consecutive");
    _pool.checkpoint();
  }

  bool access(std::uint64_t page) override {
    vmcache::OptimisticGuard guard;
    if (_pool.try_fix(_first + page, guard) == vmcache::TryFix::kFixed) return true;
    guard = _pool.fix_optimistic(_first + page);
    return false;
  }

 private:
  static vmcache::PoolOptions pool_options(const HitRatioOptions& options) {
    vmcache::PoolOptions pool;
    pool.make_storage = [] { return std::make_unique<NullStorage>(); };
    pool.pool_bytes = options.pool_pages * vmcache::kPageSize;
    pool.capacity_bytes = options.data_pages * vmcache::kPageSize * 2;
    pool.memory = vmcache::MemoryKind::kAnonymous;
    return pool;
  }

  vmcache::BufferPool _pool;
  vmcache::PageId _first = 0;
};

//! Zipf accesses to scattered pages; between them, if wanted, a scan goes over all pages again and
//! again.
class Trace {
 public:
  struct Access {
    std::uint64_t page;
    bool scan;
  };
  Trace(const HitRatioOptions& options, bool scan)
      : _scatter(options.data_pages),
        _zipf(options.data_pages, options.theta),
        _random(options.seed),
        _scan_percent(scan ? options.scan_percent : 0) {}

  Access next() {
    if (_random.below(100) < _scan_percent) return {_scan_position++ % _scatter.loaded(), true};
    return {_scatter.scatter(_zipf.next(_random)), false};
  }

 private:
  KeySpace _scatter;
  Zipf _zipf;
  SplitMix64 _random;
  unsigned _scan_percent;
  std::uint64_t _scan_position = 0;
};

//! Half of the accesses fill the cache, the other half count; hits of the scan itself do not.
Json measure(CachePolicy& policy, const HitRatioOptions& options, std::string_view name,
             bool scan) {
  Trace trace(options, scan);
  std::uint64_t counted = 0, hits = 0;
  for (std::uint64_t i = 0; i < options.accesses * 2; i++) {
    const Trace::Access access = trace.next();
    const bool hit = policy.access(access.page);
    if (i < options.accesses || access.scan) continue;
    counted++;
    hits += hit ? 1 : 0;
  }
  return Json{{"policy", name},
              {"scan", scan},
              {"data_pages", options.data_pages},
              {"pool_pages", options.pool_pages},
              {"theta", options.theta},
              {"accesses", counted},
              {"hits", hits},
              {"hit_percent", 100.0 * static_cast<double>(hits) / static_cast<double>(counted)}};
}

//! The share of accesses to the hottest pages that fit: no policy without knowledge of the future
//! can do better.
Json best_possible(const HitRatioOptions& options) {
  double all = 0, hot = 0;
  for (std::uint64_t rank = 0; rank < options.data_pages; rank++) {
    const double weight = std::pow(static_cast<double>(rank + 1), -options.theta);
    all += weight;
    if (rank < options.pool_pages) hot += weight;
  }
  return Json{
      {"policy", "hottest pages kept"}, {"scan", false}, {"hit_percent", 100.0 * hot / all}};
}

void run(const HitRatioOptions& options, const std::vector<std::string>& arguments) {
  if (options.pool_pages >= options.data_pages)
    throw CLI::ValidationError("--pool-pages", "must be less than --data-pages");
  Report report(arguments);
  report.set_context("scan_percent", options.scan_percent);
  Progress progress;
  report.add_row(best_possible(options));
  for (const bool scan : {false, true}) {
    progress.show(fmt::format("scan {}: vmcache", scan ? "on" : "off"));
    VmcachePolicy vmcache_policy(options);
    report.add_row(measure(vmcache_policy, options, "vmcache", scan));
    progress.show(fmt::format("scan {}: simulated", scan ? "on" : "off"));
    ClockPolicy clock_policy(options.pool_pages);
    report.add_row(measure(clock_policy, options, "clock", scan));
    LruPolicy lru_policy(options.pool_pages);
    report.add_row(measure(lru_policy, options, "lru", scan));
  }
  progress.clear();
  report.print_table({{"policy", "policy"},
                      {"scan", "scan"},
                      {"accesses", "accesses"},
                      {"hit_percent", "hits %", 2}});
  if (!options.json.empty()) report.write_json(options.json);
}

}  // namespace

void add_hitratio_command(CLI::App& app, const std::vector<std::string>& arguments) {
  auto options = std::make_shared<HitRatioOptions>();
  CLI::App* command = app.add_subcommand("hitratio",
                                         "How many accesses the pool's replacement serves from "
                                         "memory, next to second chance (clock) and LRU.\n"
                                         "Zipf accesses to pages, alone and with a scan running "
                                         "between them; hits of the scan do not count.");
  command->add_option("--data-pages", options->data_pages)
      ->check(CLI::Range(1024, 1 << 28))
      ->capture_default_str();
  command->add_option("--pool-pages", options->pool_pages)
      ->check(CLI::Range(16, 1 << 28))
      ->capture_default_str();
  command->add_option("--accesses", options->accesses, "after as many to fill the cache")
      ->check(CLI::Range(1000L, 1L << 40))
      ->capture_default_str();
  command->add_option("--theta", options->theta, "skew")
      ->check(CLI::Range(0.01, 10.0))
      ->capture_default_str();
  command->add_option("--scan-percent", options->scan_percent, "accesses that are the scan's")
      ->check(CLI::Range(1, 99))
      ->capture_default_str();
  command->add_option("--seed", options->seed)->capture_default_str();
  command->add_option("--json", options->json, "write context and rows as JSON to this file");
  command->callback([options, &arguments] { run(*options, arguments); });
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
//
// What a fix of a cached page costs over a plain pointer that follows the same pattern. The
// argument is the number of pages: 4096 (16 MiB: mostly cache misses that the L2 or L3 serves) and
// 262144 (1 GiB: a TLB and a cache miss an access).
#include <benchmark/benchmark.h>

#include <map>
#include <memory>

#include "bench_pool.hpp"

namespace {

using vmbench::CachedPages;
using vmcache::PageId;

CachedPages& pages_of(const benchmark::State& state) {
  static std::map<std::int64_t, std::unique_ptr<CachedPages>> made;
  std::unique_ptr<CachedPages>& pages = made[state.range(0)];
  if (!pages) pages = std::make_unique<CachedPages>(static_cast<std::uint64_t>(state.range(0)));
  return *pages;
}

void plain_pointer(benchmark::State& state) {
  CachedPages& pages = pages_of(state);
  const std::byte* base = pages.pool().address(0);
  PageId page_id = pages.first();
  for (auto _ : state) page_id = CachedPages::next(base + page_id * vmcache::kPageSize, page_id);
  benchmark::DoNotOptimize(page_id);
}

void optimistic_fix(benchmark::State& state) {
  CachedPages& pages = pages_of(state);
  vmcache::BufferPool& pool = pages.pool();
  PageId page_id = pages.first();
  for (auto _ : state) {
    vmcache::OptimisticGuard guard;
    if (pool.try_fix(page_id, guard) != vmcache::TryFix::kFixed)
      return state.SkipWithError("a page is not cached");
    const PageId next = CachedPages::next(guard.data(), page_id);
    if (!guard.validate()) return state.SkipWithError("validation failed with one thread");
    page_id = next;
  }
  benchmark::DoNotOptimize(page_id);
}

void shared_fix(benchmark::State& state) {
  CachedPages& pages = pages_of(state);
  vmcache::BufferPool& pool = pages.pool();
  PageId page_id = pages.first();
  for (auto _ : state) {
    const vmcache::SharedGuard guard = pool.fix_shared(page_id);
    page_id = CachedPages::next(guard.data(), page_id);
  }
  benchmark::DoNotOptimize(page_id);
}

void exclusive_fix(benchmark::State& state) {
  CachedPages& pages = pages_of(state);
  vmcache::BufferPool& pool = pages.pool();
  PageId page_id = pages.first();
  for (auto _ : state) {
    const vmcache::ExclusiveGuard guard = pool.fix_exclusive(page_id);
    page_id = CachedPages::next(guard.data(), page_id);
  }
  benchmark::DoNotOptimize(page_id);
}

#define PAGES Arg(4096)->Arg(262144)
BENCHMARK(plain_pointer)->PAGES;
BENCHMARK(optimistic_fix)->PAGES;
BENCHMARK(shared_fix)->PAGES;
BENCHMARK(exclusive_fix)->PAGES;

}  // namespace

BENCHMARK_MAIN();

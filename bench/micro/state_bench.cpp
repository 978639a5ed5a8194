// SPDX-License-Identifier: MIT
//
// The transitions of one state word that is in the cache: what latching costs at the least, and
// what it costs when another thread does the same to the same word.
#include <benchmark/benchmark.h>

#include "vmcache/guard.hpp"
#include "vmcache/page_state.hpp"

namespace {

using vmcache::AtomicPageState;
using vmcache::PageState;

struct Word {
  Word() { state.store(PageState{PageState::kUnlocked}); }
  alignas(64) AtomicPageState state;
  std::byte page[64]{};
  [[nodiscard]] vmcache::PageRef ref() { return {&state, page, 1}; }
};

Word shared_word;

void optimistic_read(benchmark::State& state) {
  for (auto _ : state) {
    const vmcache::OptimisticGuard guard(shared_word.ref(), shared_word.state.load());
    benchmark::DoNotOptimize(*guard.as<std::uint64_t>());
    bool valid = guard.validate();
    benchmark::DoNotOptimize(valid);
  }
}

void latch_shared(benchmark::State& state) {
  for (auto _ : state) {
    while (vmcache::latch::try_shared(shared_word.state, shared_word.state.load()) !=
           vmcache::TryFix::kFixed) {
    }
    vmcache::SharedGuard guard(shared_word.ref());
    guard.release();
  }
}

void latch_exclusive(benchmark::State& state) {
  for (auto _ : state) {
    while (vmcache::latch::try_exclusive(shared_word.state, shared_word.state.load()) !=
           vmcache::TryFix::kFixed) {
    }
    vmcache::ExclusiveGuard guard(shared_word.ref());
    guard.release();
  }
}

void latch_exclusive_unmodified(benchmark::State& state) {
  for (auto _ : state) {
    while (vmcache::latch::try_exclusive(shared_word.state, shared_word.state.load()) !=
           vmcache::TryFix::kFixed) {
    }
    vmcache::ExclusiveGuard guard(shared_word.ref());
    guard.release_unmodified();
  }
}

void upgrade_to_exclusive(benchmark::State& state) {
  for (auto _ : state) {
    const vmcache::OptimisticGuard seen(shared_word.ref(), shared_word.state.load());
    vmcache::ExclusiveGuard guard;
    bool upgraded = seen.try_upgrade(guard);
    benchmark::DoNotOptimize(upgraded);
  }
}

//! The evictor marks, the next use clears the mark.
void mark_and_clear(benchmark::State& state) {
  for (auto _ : state) {
    PageState seen = shared_word.state.load();
    shared_word.state.compare_exchange(seen, seen.with(PageState::kMarked));
    vmcache::latch::clear_mark(shared_word.state, shared_word.state.load());
  }
}

BENCHMARK(optimistic_read)->Threads(1)->Threads(2);
BENCHMARK(latch_shared)->Threads(1)->Threads(2);
BENCHMARK(latch_exclusive)->Threads(1)->Threads(2);
BENCHMARK(latch_exclusive_unmodified)->Threads(1);
BENCHMARK(upgrade_to_exclusive)->Threads(1);
BENCHMARK(mark_and_clear)->Threads(1);

}  // namespace

BENCHMARK_MAIN();

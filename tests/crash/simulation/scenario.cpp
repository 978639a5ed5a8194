// SPDX-License-Identifier: MIT
#include "crash/simulation/scenario.hpp"

#include <algorithm>
#include <cstdio>

namespace vmcache::test {
namespace {

constexpr std::uint64_t kMicrosecond = 1000;

//! 0 .. n - 1.
unsigned below(std::mt19937_64& random, unsigned n) {
  return static_cast<unsigned>(random() % n);
}
//! One in `n`.
bool one_in(std::mt19937_64& random, unsigned n) {
  return random() % n == 0;
}

Kinds choose_kinds(std::mt19937_64& random, Kinds allowed) {
  struct Choice {
    Kind kind;
    unsigned one_in;
  };
  constexpr Choice kChoices[] = {
      {Kind::kLatency, 1},    {Kind::kLives, 1},        {Kind::kTiny, 5},
      {Kind::kDeep, 6},       {Kind::kLarge, 8},        {Kind::kFreeList, 24},
      {Kind::kReaders, 2},    {Kind::kVisible, 1},      {Kind::kSmallPool, 3},
      {Kind::kIoErrors, 8},   {Kind::kLogErrors, 8},    {Kind::kPageFlush, 8},
      {Kind::kFullDevice, 8}, {Kind::kFullCapacity, 8}, {Kind::kFullLog, 8},
      {Kind::kOldPages, 4},   {Kind::kSwappedLog, 4},   {Kind::kLostMaster, 4},
      {Kind::kLog, 6},        {Kind::kChurn, 6},
  };
  Kinds kinds;
  for (const Choice& choice : kChoices) {
    const bool chosen = one_in(random, choice.one_in);
    if (chosen && allowed.has(choice.kind)) kinds.set(choice.kind);
  }
  return kinds;
}

void choose_work(Scenario& scenario, std::mt19937_64& random) {
  using Keys = Scenario::Keys;
  using Values = Scenario::Values;
  const Kinds kinds = scenario.kinds;
  if (kinds.has(Kind::kTiny)) {
    scenario.values = Values::kTiny;
    scenario.no_wait_percent = 90;
    scenario.transactions = 500;
  } else if (kinds.has(Kind::kFreeList)) {
    scenario.keys = Keys::kLarge;
    scenario.values = Values::kHuge;
    scenario.transactions = 90;
  } else if (kinds.has(Kind::kLarge)) {
    scenario.keys = Keys::kLarge;
    scenario.values = Values::kLarge;
    scenario.transactions = 90;
  }
  if (one_in(random, 2)) scenario.changes_per_other_tree = 2;
  if (scenario.values == Values::kMixed && kinds.has(Kind::kChurn)) {
    // While a thread stands still in the middle of a merge, it has the latch of the parent, often
    // the root. So it is in the other tree that others must go on, and split.
    scenario.own_trees = true;
    scenario.changes_per_other_tree = 16;
    scenario.values = Values::kQuarterLeaf;
    scenario.key_count = 60;
    scenario.transactions = 3000;
    scenario.transactions_per_checkpoint = 600;
    scenario.log_bytes = std::uint64_t{4} << 20;
  }
  if (kinds.has(Kind::kDeep)) {
    scenario.keys = Keys::kDeep;
    scenario.key_count = 600;
  }
  if (scenario.values == Values::kLarge || scenario.values == Values::kHuge) {
    scenario.frames = 320 + random() % 128;
    scenario.frames_next = 320 + random() % 128;
    scenario.capacity_pages = 16384;
    scenario.log_bytes = std::uint64_t{4} << 20;
  }
}

void choose_threads(Scenario& scenario, std::mt19937_64& random) {
  switch (random() % 4) {
    case 0:  // one client, and what it does not do itself is not done
      break;
    case 1:
      scenario.clients = 2 + below(random, 2);
      break;
    case 2:
      scenario.task_threads = 1;
      break;
    default:
      scenario.clients = 2;
      scenario.task_threads = 1 + below(random, 2);
  }
  scenario.checkpoint_thread = scenario.task_threads > 0 || one_in(random, 2);
  scenario.checkpoint_percent = one_in(random, 2) ? 100 : 10 + below(random, 60);
  const unsigned readers = 1 + below(random, 2);
  scenario.counters = one_in(random, 2);
  if (scenario.own_trees) {
    scenario.clients = std::max(scenario.clients, 3U);
    scenario.counters = false;
  }
  if (scenario.kinds.has(Kind::kReaders)) scenario.readers = readers;
  constexpr std::uint32_t kBursts[] = {3, 10, 40, 200, 1000, 5000};
  const std::size_t burst = random() % std::size(kBursts);
  scenario.schedule.burst = kBursts[scenario.own_trees ? burst / 2 : burst];
  scenario.schedule.stall_percent = below(random, 12);
  scenario.schedule.seed = random();
}

void choose_trouble(Scenario& scenario, std::mt19937_64& random) {
  const Kinds kinds = scenario.kinds;
  DeviceBehaviour& pages = scenario.devices[Recorder::kPages];
  DeviceBehaviour& log = scenario.devices[Recorder::kLog];
  if (kinds.has(Kind::kLatency) && Schedule::deterministic()) {
    constexpr std::uint64_t kMax[] = {0, 20 * kMicrosecond, 200 * kMicrosecond,
                                      5000 * kMicrosecond};
    pages.max_latency_ns = kMax[random() % std::size(kMax)];
    log.max_latency_ns = kMax[random() % std::size(kMax)];
  }
  scenario.devices_at_open = scenario.devices;
  const auto some = [&](unsigned min) { return static_cast<unsigned>(min + random() % (9 * min)); };
  const unsigned reads = some(200), writes = some(60), log_writes = some(100),
                 log_flushes = some(60), flushes = some(4);
  if (kinds.has(Kind::kIoErrors)) {
    pages.reads_per_failure = reads;
    pages.writes_per_failure = writes;
  }
  if (kinds.has(Kind::kLogErrors)) {
    log.writes_per_failure = log_writes;
    log.flushes_per_failure = log_flushes;
  }
  if (kinds.has(Kind::kPageFlush)) pages.flushes_per_failure = flushes;
  const std::uint64_t full = 30 + random() % 120;
  if (kinds.has(Kind::kFullDevice)) pages.max_bytes = full * kPageSize;
  // A pool may not be larger than the database may become.
  const std::uint64_t min = std::max<std::uint64_t>(scenario.frames, scenario.frames_next);
  if (kinds.has(Kind::kFullCapacity)) scenario.capacity_pages = std::max(full, min);
  if (kinds.has(Kind::kFullLog)) {
    scenario.checkpoint_thread = scenario.task_threads > 0;
    scenario.transactions_per_checkpoint = 1 << 20;
  }
}

}  // namespace

Scenario scenario_of(std::uint64_t seed, Kinds allowed, Kinds always) {
  std::mt19937_64 random(seed * 0x9e3779b97f4a7c15);
  Scenario scenario;
  scenario.seed = seed;
  scenario.kinds = choose_kinds(random, allowed).with(always);
  scenario.frames = 24 + random() % 24;
  const std::uint64_t small = 20 + random() % 8;
  scenario.frames_next = scenario.kinds.has(Kind::kSmallPool) ? small : 64;
  choose_work(scenario, random);
  choose_threads(scenario, random);
  choose_trouble(scenario, random);
  if (scenario.kinds.has(Kind::kLives)) scenario.lives = 2 + below(random, 3);
  return scenario;
}

void print(const Scenario& scenario) {
  std::printf(
      "seed %lu: %u client(s), %u thread(s) of tasks, %u reader(s), checkpoint thread %d at %u %%, "
      "%u "
      "transactions, %lu then %lu frames, bursts of %u, stalls %u %%; latency %lu and %lu us;",
      static_cast<unsigned long>(scenario.seed), scenario.clients, scenario.task_threads,
      scenario.readers, scenario.checkpoint_thread ? 1 : 0, scenario.checkpoint_percent,
      scenario.transactions, static_cast<unsigned long>(scenario.frames),
      static_cast<unsigned long>(scenario.frames_next), scenario.schedule.burst,
      scenario.schedule.stall_percent,
      static_cast<unsigned long>(scenario.devices[0].max_latency_ns / kMicrosecond),
      static_cast<unsigned long>(scenario.devices[1].max_latency_ns / kMicrosecond));
  for (std::size_t kind = 0; kind < kKindNames.size(); ++kind) {
    if (scenario.kinds.has(static_cast<Kind>(kind)))
      std::printf(" %.*s", static_cast<int>(kKindNames[kind].size()), kKindNames[kind].data());
  }
  std::printf("\n");
}

}  // namespace vmcache::test

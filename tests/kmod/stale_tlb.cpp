// SPDX-License-Identifier: MIT
// After FREE returns, no thread on any CPU sees the bytes of the frame's next owner through the old
// address.
//
// `--expect stale` is for a module built without its flush (EXMAP_PLANT=no_flush): then every
// scenario must catch it.
#include "stale_reader.h"

#include <linux/futex.h>
#include <sys/syscall.h>

using namespace exmap_test;

namespace {

std::uint64_t pinned_reader(std::uint64_t rounds) {
  Exmap map({.frames = 1, .area_pages = 4});
  Counts counts;
  std::thread reader([&] {
    pin_to_cpu(1);
    while (!counts.stop) observe(map, 0, counts);
  });
  pin_to_cpu(0);
  swap_pages(map, rounds, counts, nullptr);
  counts.stop = true;
  reader.join();
  return counts.stale;
}

std::uint64_t migrating_reader(std::uint64_t rounds) {
  Exmap map({.frames = 1, .area_pages = 4});
  Counts counts;
  std::thread reader([&] {
    for (std::uint64_t i = 0; !counts.stop; i++) {
      if (i % 16 == 0) pin_to_cpu(static_cast<int>(i / 16) % cpu_count());
      observe(map, 0, counts);
    }
  });
  swap_pages(map, rounds, counts,
             [](std::uint64_t i) { return static_cast<int>(i / 2) % cpu_count(); });
  counts.stop = true;
  reader.join();
  return counts.stale;
}

//! The reader sleeps while its page changes hands, so that its CPU is idle and holds the address
//! space lazily.
std::uint64_t lazy_cpu(std::uint64_t rounds) {
  Exmap map({.frames = 1, .area_pages = 4});
  Counts counts;
  std::atomic<std::uint32_t> turn{0};
  const auto wait_turn = [&](std::uint32_t wanted) {
    for (std::uint32_t seen = turn.load(); seen != wanted; seen = turn.load())
      syscall(SYS_futex, &turn, FUTEX_WAIT, seen, nullptr, nullptr, 0);
  };
  const auto hand_over = [&](std::uint32_t next) {
    turn.store(next);
    syscall(SYS_futex, &turn, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  };
  std::thread reader([&] {
    pin_to_cpu(1);
    for (std::uint64_t i = 0; i < rounds * 2; i++) {
      wait_turn(1);
      observe(map, 0, counts);
      hand_over(0);
    }
  });
  pin_to_cpu(0);
  for (std::uint64_t i = 0; i < rounds; i++) {
    take(map, 0, 0);
    hand_over(1);
    wait_turn(0);
    usleep(1000);
    give_back(map, 0, 0);
    take(map, 0, 2);
    hand_over(1);
    wait_turn(0);
    give_back(map, 0, 2);
  }
  reader.join();
  return counts.stale;
}

//! One thread alone that moves between CPUs, each of which also runs another process: the only CPU
//! that has the address space loaded may flush for itself, and must still not leave the other one's
//! old translations good.
std::uint64_t one_thread_moving(std::uint64_t rounds) {
  Exmap map({.frames = 1, .area_pages = 4});
  Counts counts;
  pid_t others[2];
  for (int cpu = 0; cpu < 2; cpu++)
    others[cpu] = spawn([cpu] {
      pin_to_cpu(cpu);
      for (;;) sched_yield();
    });
  for (std::uint64_t i = 0; i < rounds; i++) {
    take(map, 0, 0);
    for (int cpu = 0; cpu < 2; cpu++) {  // both CPUs have used the translation
      pin_to_cpu(cpu);
      observe(map, 0, counts);
    }
    if (i % 2) pin_to_cpu(0);
    give_back(map, 0, 0);
    take(map, 0, 2);
    for (int cpu = 0; cpu < 2; cpu++) {
      pin_to_cpu(cpu);
      observe(map, 0, counts);
    }
    give_back(map, 0, 2);
  }
  for (const pid_t other : others) {
    kill(other, SIGKILL);
    wait_for(other);
  }
  return counts.stale;
}

//! Writers churn batches on interfaces of their own while readers look at every page; frames wander
//! between interfaces.
std::uint64_t many_threads(std::uint64_t rounds, std::uint64_t seed) {
  constexpr int kWriters = 4, kReaders = 4;
  constexpr std::uint64_t kPagesPerWriter = 48, kBatch = 8;
  Exmap map({.frames = kWriters * kBatch,
             .interfaces = kWriters,
             .area_pages = kWriters * kPagesPerWriter});
  Counts counts;
  std::vector<std::thread> readers, writers;
  for (int r = 0; r < kReaders; r++)
    readers.emplace_back([&, r] {
      Random random(seed + 100 + static_cast<std::uint64_t>(r));
      while (!counts.stop) {
        const std::uint64_t page = random.below(map.area_pages());
        for (int i = 0; i < 20; i++) observe(map, page, counts);
      }
    });
  for (int w = 0; w < kWriters; w++)
    writers.emplace_back([&, w] {
      Random random(seed + static_cast<std::uint64_t>(w));
      const std::uint64_t base = static_cast<std::uint64_t>(w) * kPagesPerWriter;
      for (std::uint64_t i = 0; i < rounds; i++) {
        const std::uint64_t start = base + random.below(kPagesPerWriter - kBatch + 1);
        Run run{start, 1 + random.below(kBatch)};
        CHECK_RESULT(0, map.alloc(w, run.page, run.len));
        for (std::uint64_t k = 0; k < run.len; k++) *map.word(run.page + k) = 0;
        for (std::uint64_t k = 0; k < run.len; k++) *map.word(run.page + k) = tag_of(run.page + k);
        if (i % 4 == 0) sched_yield();
        for (std::uint64_t k = 0; k < run.len; k++) *map.word(run.page + k) = 0;
        CHECK_RESULT(0, map.free(w, run.page, run.len));
      }
    });
  for (auto& writer : writers) writer.join();
  counts.stop = true;
  for (auto& reader : readers) reader.join();
  return counts.stale;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const bool expect_stale = options.text("expect", "fresh") == "stale";
  const std::uint64_t seed = options.number("seed", 1);
  if (cpu_count() < 2) SKIP("needs two CPUs to have a TLB elsewhere");
  catch_faults();
  const struct {
    const char* name;
    std::uint64_t stale;
  } scenarios[] = {
      {"reader on another CPU", pinned_reader(options.scaled("swaps under a pinned reader", 2000))},
      {"migrating reader and writer",
       migrating_reader(options.scaled("swaps under migration", 2000))},
      {"lazy CPU", lazy_cpu(options.scaled("swaps under a sleeping reader", 500))},
      {"one thread that moves",
       one_thread_moving(options.scaled("swaps by one moving thread", 300))},
      {"many threads",
       many_threads(options.scaled("batches a writer, 4 writers, 4 readers", 5000), seed)},
  };
  for (const auto& [name, stale] : scenarios) {
    std::printf("# %s: %llu stale reads\n", name, ull(stale));
    if (expect_stale)
      CHECK(stale > 0, "%s: no stale read although the module does not flush: the test is blind",
            name);
    else
      CHECK(stale == 0, "%s: another owner's bytes were seen after FREE", name);
  }
  return 0;
}

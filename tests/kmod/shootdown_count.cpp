// SPDX-License-Identifier: MIT
// At most one TLB shootdown interrupt a FREE batch and running CPU, and none where no other CPU
// runs the process, by the kernel's own counter (the TLB row of /proc/interrupts).
#include "exmap_test.h"

#include <sstream>

using namespace exmap_test;

namespace {

constexpr std::uint64_t kBatchPages = 64;

std::uint64_t shootdowns() {
  std::ifstream file("/proc/interrupts");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word != "TLB:") continue;
    std::uint64_t sum = 0, count = 0;
    while (words >> count) sum += count;
    return sum;
  }
  SKIP("/proc/interrupts has no TLB row");
}

//! Scattered pages, so that the kernel cannot see one small range in a batch.
std::uint64_t count_batches(const Exmap& map, std::uint64_t batches) {
  Run runs[kBatchPages];
  for (std::uint64_t i = 0; i < kBatchPages; i++) runs[i] = {i * 61, 1};
  const std::uint64_t before = shootdowns();
  for (std::uint64_t i = 0; i < batches; i++) {
    CHECK_RESULT(0, map.batch(0, EXMAP_OP_ALLOC, runs, kBatchPages));
    for (const Run& run : runs) *map.word(run.page) = run.page;
    CHECK_RESULT(0, map.batch(0, EXMAP_OP_FREE, runs, kBatchPages));
  }
  return shootdowns() - before;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  if (cpu_count() < 2) SKIP("needs two CPUs");
  const std::uint64_t batches = options.scaled("batches of 64 pages", 5000);
  // The rest of the system flushes now and then as well.
  const std::uint64_t others = 4 + batches / 100;
  const Exmap map({.frames = 256, .area_pages = 8192});
  pin_to_cpu(0);
  CHECK_RESULT(0, map.alloc(0, 8000));
  const std::uint64_t alone = count_batches(map, batches);

  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> loops{0};
  std::thread runner([&] {
    pin_to_cpu(1);
    while (!stop) {
      (void)*map.word(8000);
      loops.fetch_add(1, std::memory_order_relaxed);
    }
  });
  while (loops < 1000) sched_yield();
  const std::uint64_t beside = count_batches(map, batches);
  stop = true;
  runner.join();
  std::printf("# alone: %llu shootdowns in %llu batches; with one other CPU running: %llu\n",
              ull(alone), ull(batches), ull(beside));
  CHECK(alone <= others, "%llu shootdowns with no other CPU running the process", ull(alone));
  CHECK(beside <= batches + others, "more than one shootdown a batch");
  CHECK(beside >= batches / 2, "the other CPU was hardly ever flushed: the count is blind");
  return 0;
}

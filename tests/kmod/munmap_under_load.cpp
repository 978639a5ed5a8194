// SPDX-License-Identifier: MIT
// munmap of the whole area while operations run: they stop with an error, nothing is lost, the fd
// still closes.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

void churn_until_refused(const Exmap& map, int interface, std::atomic<int>& running) {
  const std::uint64_t base = static_cast<std::uint64_t>(interface) * 64;
  running++;
  for (;;) {
    const Run runs[] = {{base, 4}, {base + 8, 4}};
    const int taken = map.batch(interface, EXMAP_OP_ALLOC, runs, 2);
    if (taken < 0) break;
    if (map.batch(interface, EXMAP_OP_FREE, runs, 2) < 0) break;
  }
}

void one_round(Random& random) {
  constexpr int kThreads = 4;
  Exmap map({.frames = 64, .interfaces = kThreads, .area_pages = 1024});
  CHECK_RESULT(0, map.alloc(0, 512, 16));
  std::atomic<int> running{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++)
    threads.emplace_back([&, i] { churn_until_refused(map, i, running); });
  while (running < kThreads) sched_yield();
  usleep(static_cast<useconds_t>(random.below(3000)));
  map.unmap_area();
  for (auto& thread : threads) thread.join();
  CHECK_REFUSED(call_action(map.fd(), 0, EXMAP_OP_ALLOC, 1));
  CHECK(map.allocated() == 0, "pages outlived their area");
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  Random random(options.number("seed", 1));
  const Ledger ledger;
  const std::uint64_t rounds = options.scaled("munmaps under load", 50);
  for (std::uint64_t i = 0; i < rounds; i++) one_round(random);
  ledger.check_balanced();
  return 0;
}

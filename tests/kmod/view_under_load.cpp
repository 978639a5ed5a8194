// SPDX-License-Identifier: MIT
// The view comes, goes and is lost while other threads map and free: no frame gets two pages, a
// number that was reported while the view stood names the page's frame, and at the end no frame is
// missing.
#include "view_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 256, kPagesEach = 64;
constexpr int kThreads = 3;

void live(const Exmap& map, int interface, const std::atomic<bool>& stop,
          std::atomic<std::uint64_t>& numbered) {
  Random random(static_cast<std::uint64_t>(interface) + 1);
  const std::uint64_t base = static_cast<std::uint64_t>(interface) * 1000;
  Run runs[kPagesEach];
  while (!stop) {
    for (std::uint64_t i = 0; i < kPagesEach; i++) runs[i] = {base + i, 1};
    const int result = alloc_reporting(map, interface, runs, kPagesEach);
    // Frames that are left to the view for a moment may be missing for as long.
    CHECK(result == 0 || result == -ENOMEM, "ALLOC gave %d", result);
    if (result == 0) {
      for (std::uint64_t i = 0; i < kPagesEach; i++)
        numbered += map.entry(interface, static_cast<int>(i)).res != EXMAP_FRAME_NONE;
      for (std::uint64_t i = 0; i < kPagesEach; i++) *map.word(base + i) = base + i;
      if (random.below(8) == 0) sched_yield();
      for (std::uint64_t i = 0; i < kPagesEach; i++)
        CHECK(*map.word(base + i) == base + i, "page %llu shares its frame with page %llu",
              ull(base + i), ull(*map.word(base + i)));
    }
    if (random.below(8))
      CHECK_RESULT(0, map.free(interface, base, kPagesEach));
    else
      CHECK_RESULT(0, result_of(madvise(map.page(base), kPagesEach * kPageSize, MADV_DONTNEED)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  {
    const Exmap map({.frames = kFrames, .interfaces = kThreads + 1, .area_pages = 8192});
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> numbered{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; i++)
      threads.emplace_back(live, std::cref(map), i, std::cref(stop), std::ref(numbered));
    Random random(1);
    const std::uint64_t rounds = options.scaled("views", 1000);
    for (std::uint64_t i = 0; i < rounds; i++) {
      View view(map, 1 + random.below(kFrames / 2));
      if (random.below(2)) (void)madvise(view.base(), kPageSize, MADV_DONTNEED);
      if (random.below(2)) sched_yield();
    }
    stop = true;
    for (auto& thread : threads) thread.join();
    std::printf("# %llu pages had a number\n", ull(numbered.load()));
    CHECK_RESULT(0, map.free(0, 0, 4000));
    map.check_all_frames(kThreads, kFrames);
  }
  ledger.check_balanced();
  return 0;
}

// SPDX-License-Identifier: MIT
// A reader that tells a stale translation from a right one.
//
// Every page has a tag of its own. An owner writes its tag after ALLOC and scrubs it before FREE,
// so a word read at page P may only ever be 0 or P's tag (or fault). Another page's tag means a
// translation outlived its FREE.
#pragma once

#include "exmap_test.h"

namespace exmap_test {

inline constexpr std::uint64_t kTagBase = 0x7a67000000000000u;
inline std::uint64_t tag_of(std::uint64_t page) {
  return kTagBase | page;
}

struct Counts {
  std::atomic<std::uint64_t> reads{0}, faults{0}, stale{0};
  std::atomic<bool> stop{false};
};

inline void observe(const Exmap& map, std::uint64_t page, Counts& counts) {
  std::uint64_t value = 0;
  counts.reads.fetch_add(1, std::memory_order_relaxed);
  if (try_read(map.word(page), value) != 0) {
    counts.faults.fetch_add(1, std::memory_order_relaxed);
  } else if (value != 0 && value != tag_of(page)) {
    if (counts.stale.fetch_add(1) == 0)
      std::printf("# page %llu showed word 0x%llx of another owner\n", ull(page), ull(value));
  }
}

inline void take(const Exmap& map, int interface, std::uint64_t page) {
  CHECK_RESULT(0, map.alloc(interface, page));
  *map.word(page) = 0;
  *map.word(page) = tag_of(page);
}
inline void give_back(const Exmap& map, int interface, std::uint64_t page) {
  *map.word(page) = 0;
  CHECK_RESULT(0, map.free(interface, page));
}

//! One frame between two pages: whatever ALLOC hands out is the frame that the reader just lost.
inline void swap_pages(const Exmap& map, std::uint64_t rounds, Counts& counts,
                       int (*place)(std::uint64_t)) {
  for (std::uint64_t i = 0; i < rounds; i++) {
    if (place) pin_to_cpu(place(i));
    take(map, 0, 0);
    const std::uint64_t reads = counts.reads.load();
    for (int spin = 0; counts.reads.load() < reads + 3 && spin < 20000; spin++) sched_yield();
    give_back(map, 0, 0);
    take(map, 0, 2);
    const std::uint64_t later = counts.reads.load();
    for (int spin = 0; counts.reads.load() < later + 3 && spin < 20000; spin++) sched_yield();
    give_back(map, 0, 2);
  }
}

}  // namespace exmap_test

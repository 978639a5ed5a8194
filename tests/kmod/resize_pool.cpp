// SPDX-License-Identifier: MIT
// The pool grows and shrinks while it runs: all or nothing, new frames are zero, mapped pages are
// never taken.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

std::uint64_t pool_of(const Exmap& map) {
  exmap_ioctl_stats stats{};
  CHECK_RESULT(0, result_of(ioctl(map.fd(), EXMAP_IOCTL_STATS, &stats)));
  return stats.buffer_size;
}

void grow_and_shrink(const Exmap& map) {
  std::uint64_t now = 0;
  for (const std::uint64_t frames : {17, 1, 512, 513, 2000, 2000, 16}) {
    CHECK_RESULT(0, resize(map, frames, &now));
    CHECK(now == frames && pool_of(map) == frames, "resize to %llu told %llu, stats %llu",
          ull(frames), ull(now), ull(pool_of(map)));
    map.check_all_frames(1, frames);
  }
}

void refuse(const Exmap& map) {
  std::uint64_t now = 0;
  CHECK_RESULT(0, map.alloc(0, 0, 10));
  for (std::uint64_t page = 0; page < 10; page++) fill_page(map.page(page), page);
  CHECK_REFUSED(resize(map, 0, &now));
  CHECK_REFUSED(resize(map, 9, &now));  // ten are mapped
  for (unsigned shift = 40; shift < 64; shift++) CHECK_REFUSED(resize(map, 1ull << shift, &now));
  CHECK_REFUSED(resize(map, ~0ull, &now));
  CHECK(pool_of(map) == 16, "a refused resize changed the pool to %llu", ull(pool_of(map)));
  CHECK_RESULT(0, resize(map, 10, &now));
  CHECK_RESULT(-ENOMEM, map.alloc(0, 20));
  CHECK_RESULT(0, resize(map, 16, &now));
  for (std::uint64_t page = 0; page < 10; page++)
    CHECK(page_holds(map.page(page), page), "a mapped page changed");
  for (std::uint64_t page = 20; page < 26; page++) {
    CHECK_RESULT(0, map.alloc(0, page));
    CHECK(page_holds(map.page(page), 0), "a frame that came with the growth is not zero");
  }
  CHECK_RESULT(0, map.free(0, 0, 26));
}

void resize_under_load(std::uint64_t rounds) {
  const Exmap map({.frames = 600, .interfaces = 2, .area_pages = 4096});
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int interface = 0; interface < 2; interface++)
    threads.emplace_back([&, interface] {
      const std::uint64_t base = static_cast<std::uint64_t>(interface) * 100;
      while (!stop) {
        CHECK_RESULT(0, map.alloc(interface, base, 50));
        for (std::uint64_t page = base; page < base + 50; page++) *map.word(page) = page;
        for (std::uint64_t page = base; page < base + 50; page++)
          CHECK(*map.word(page) == page, "a frame has two owners");
        CHECK_RESULT(0, map.free(interface, base, 50));
      }
    });
  Random random(1);
  std::uint64_t now = 0;
  for (std::uint64_t i = 0; i < rounds; i++)
    CHECK_RESULT(0, resize(map, 100 + random.below(1500), &now));
  stop = true;
  for (auto& thread : threads) thread.join();
  CHECK_RESULT(0, resize(map, 300, &now));
  map.check_all_frames(0, 300);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  {
    const Exmap map({.frames = 16, .interfaces = 2, .area_pages = 4096});
    grow_and_shrink(map);
    refuse(map);
    map.check_all_frames(0, 16);
  }
  resize_under_load(options.scaled("resizes under load", 100));
  ledger.check_balanced();
  return 0;
}

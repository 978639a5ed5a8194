// SPDX-License-Identifier: MIT
// With the setup flag a read of an unmapped page sees zeros and a write faults; ALLOC over it shows
// at once, on every CPU; without the flag both fault. The page of zeros takes no frame and stays
// zero.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

void zeros_then_frames(const Exmap& map) {
  std::uint64_t value = 1;
  for (std::uint64_t page = 0; page < 64; page++) {
    CHECK(try_read(map.word(page), value) == 0 && value == 0,
          "an unmapped page does not read as zero");
    CHECK(page_holds(map.page(page), 0), "the page of zeros is not all zero");
    CHECK(try_write(map.word(page), 1) == SIGSEGV, "a write to an unmapped page is not SIGSEGV");
    CHECK(try_read(map.word(page), value) == 0 && value == 0, "the page of zeros was written");
  }
  CHECK(map.allocated() == 0, "the page of zeros took frames");
  CHECK_RESULT(0, map.alloc(0, 0, 16));
  for (std::uint64_t page = 0; page < 16; page++) {
    CHECK(try_write(map.word(page), page + 1) == 0, "an allocated page over zeros is not writable");
    CHECK(*map.word(page) == page + 1, "an allocated page reads as something else");
  }
  CHECK_RESULT(0, map.free(0, 0, 16));
  for (std::uint64_t page = 0; page < 16; page++)
    CHECK(try_read(map.word(page), value) == 0 && value == 0, "a freed page shows 0x%llx",
          ull(value));
  CHECK_RESULT(0, map.free(0, 0, 64));  // nothing but zeros there
  map.check_all_frames(0, 16);
}

//! A reader elsewhere has the zeros in its TLB when ALLOC replaces them.
//! One frame: what it held before the write is the round before, never anything older.
void seen_elsewhere(std::uint64_t rounds) {
  const Exmap map({.frames = 1, .area_pages = 64, .flags = EXMAP_SETUP_READ_FAULT_ZERO});
  std::atomic<std::uint64_t> expected{0}, seen_rounds{0};
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    if (cpu_count() > 1) pin_to_cpu(1);
    while (!stop) {
      const std::uint64_t floor = expected.load();
      const std::uint64_t value = *map.word(7);
      CHECK(value == 0 || value >= floor, "the reader still sees %llu after %llu was written",
            ull(value), ull(floor));
      CHECK(floor == 0 || value != 0 || expected.load() != floor,
            "the reader still sees zeros after ALLOC and a write");
      seen_rounds++;
    }
  });
  pin_to_cpu(0);
  for (std::uint64_t i = 1; i <= rounds; i++) {
    CHECK_RESULT(0, map.alloc(0, 7));
    *map.word(7) = i;
    expected = i;
    const std::uint64_t before = seen_rounds;
    for (int spin = 0; seen_rounds < before + 3 && spin < 10000; spin++) sched_yield();
    expected = 0;
    CHECK_RESULT(0, map.free(0, 7));
    const std::uint64_t after = seen_rounds;
    for (int spin = 0; seen_rounds < after + 3 && spin < 10000; spin++) sched_yield();
  }
  stop = true;
  reader.join();
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  catch_faults();
  const Ledger ledger;
  {
    const Exmap map({.frames = 16, .area_pages = 64, .flags = EXMAP_SETUP_READ_FAULT_ZERO});
    zeros_then_frames(map);
    seen_elsewhere(options.scaled("ALLOCs over zeros under a reader", 1000));
    std::uint64_t value = 1;  // the kernel's own reads see the same
    int ends[2];
    CHECK(pipe(ends) == 0, "pipe: %s", strerror(errno));
    CHECK_RESULT(8, result_of(write(ends[1], map.page(30), 8)));
    CHECK_RESULT(8, result_of(read(ends[0], &value, 8)));
    CHECK(value == 0, "write() from an unmapped page gave 0x%llx", ull(value));
    CHECK_RESULT(8, result_of(write(ends[1], &value, 8)));
    CHECK_RESULT(-EFAULT, result_of(read(ends[0], map.page(31), 8)));
    close(ends[0]);
    close(ends[1]);
    in_child("a fork of it",
             [&] { CHECK(try_read(map.word(1), value) != 0, "a fork's child reads the area"); });
    map.check_all_frames(0, 16);
  }
  {
    const Exmap map({.frames = 16, .area_pages = 64});
    std::uint64_t value = 0;
    CHECK(try_read(map.word(0), value) == SIGSEGV && try_write(map.word(0), 1) == SIGSEGV,
          "without the flag an unmapped page is no SIGSEGV");
  }
  ledger.check_balanced();
  return 0;
}

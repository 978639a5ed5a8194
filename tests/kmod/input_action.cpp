// SPDX-License-Identifier: MIT
// Every field of an action and of its entries at 0, 1, its most, one more, negative and at random:
// what is wrong gets its errno and changes nothing; a wrong entry does not stop the right ones
// beside it.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr int kInterfaces = 3;
constexpr std::uint64_t kFrames = 1024, kAreaPages = 4096;

void refuse(const Exmap& map, unsigned interface, unsigned opcode, unsigned entries,
            std::uint64_t flags) {
  const std::uint64_t before = map.allocated();
  const int result = call_action(map.fd(), interface, opcode, entries, flags);
  CHECK(result == -EINVAL, "action {interface %u, iov_len %u, opcode %u, flags 0x%llx} gave %d",
        interface, entries, opcode, ull(flags), result);
  CHECK(map.allocated() == before, "a refused action changed what is mapped");
}

void fields(const Exmap& map, Random& random) {
  for (int i = 0; i < EXMAP_USER_INTERFACE_PAGES; i++) {
    map.entry(0, i).page = static_cast<std::uint64_t>(i);
    map.entry(0, i).len = 1;
  }
  for (const unsigned interface : {3u, 4u, 255u, 256u, 32767u, 32768u, 65535u})
    refuse(map, interface, EXMAP_OP_ALLOC, 1, 0);
  for (unsigned opcode = 0; opcode < 65536; opcode = opcode < 64 ? opcode + 1 : opcode * 2 - 1)
    if (opcode != EXMAP_OP_ALLOC && opcode != EXMAP_OP_FREE) refuse(map, 0, opcode, 1, 0);
  for (const unsigned entries : {513u, 514u, 1024u, 32767u, 32768u, 65535u})
    for (const unsigned opcode : {EXMAP_OP_ALLOC, EXMAP_OP_FREE})
      refuse(map, 0, opcode, entries, 0);
  for (int i = 0; i < 200; i++)
    refuse(map, 0, EXMAP_OP_ALLOC, 513 + static_cast<unsigned>(random.below(65023)), 0);
  for (unsigned bit = 0; bit < 64; bit++)
    if (std::uint64_t{1} << bit != EXMAP_ACTION_REPORT_FRAME)
      refuse(map, 0, EXMAP_OP_ALLOC, 1, std::uint64_t{1} << bit);
  CHECK_RESULT(0, map.action(0, EXMAP_OP_ALLOC, 0));
  CHECK_RESULT(0, map.action(2, EXMAP_OP_FREE, 0));
  CHECK(map.allocated() == 0, "an action without entries did something");
  CHECK_RESULT(0, map.action(0, EXMAP_OP_ALLOC, 512));
  CHECK(map.allocated() == 512, "512 entries gave %llu pages", ull(map.allocated()));
  CHECK_RESULT(0, map.free(0, 0, 512));
}

void entries(const Exmap& map) {
  constexpr std::uint64_t kLast = (1ull << 52) - 1;
  const Run wrong[] = {{kAreaPages, 1},
                       {kAreaPages - 1, 2},
                       {kAreaPages - 4, 4095},
                       {kAreaPages + 1, 0},
                       {1ull << 51, 1},
                       {kLast, 1},
                       {kLast - 4094, 4095},
                       {kLast, 0},
                       {1ull << 36, 4095},
                       {1ull << 48, 1},
                       {0x10000000000000u - 4096, 4095}};
  for (const unsigned opcode : {EXMAP_OP_ALLOC, EXMAP_OP_FREE})
    for (const Run& bad : wrong) {
      const Run runs[] = {{0, 3}, bad, {10, 4}};
      CHECK_RESULT(-EINVAL, map.batch(1, opcode, runs, 3));
      CHECK(map.entry(1, 0).res == 0 && map.entry(1, 1).res == -EINVAL &&
                map.entry(1, 1).pages == 0 && map.entry(1, 2).res == 0,
            "opcode %u, entry {page 0x%llx, len %llu}: res %d, %d (pages %d), %d", opcode,
            ull(bad.page), ull(bad.len), map.entry(1, 0).res, map.entry(1, 1).res,
            map.entry(1, 1).pages, map.entry(1, 2).res);
      CHECK(map.allocated() == (opcode == EXMAP_OP_ALLOC ? 7u : 0u), "%llu pages are mapped",
            ull(map.allocated()));
    }
  const Run nothing[] = {{0, 0}, {kAreaPages, 0}};
  CHECK_RESULT(0, map.batch(1, EXMAP_OP_ALLOC, nothing, 2));
  CHECK(map.allocated() == 0, "entries of no pages did something");
}

//! Results are per call: res and pages are written for every entry and for no other.
void results(const Exmap& map) {
  const Run runs[] = {{0, 1}, {0, 5}, {100, 1000}};
  for (int i = 3; i < EXMAP_USER_INTERFACE_PAGES; i++) map.entry(2, i).value = 0x1234;
  CHECK_RESULT(0, map.batch(2, EXMAP_OP_ALLOC, runs, 3));
  const int mapped[] = {1, 4, 1000};
  for (int i = 0; i < 3; i++)
    CHECK(map.entry(2, i).res == 0 && map.entry(2, i).pages == mapped[i],
          "ALLOC entry %d: res %d, pages %d, not %d", i, map.entry(2, i).res, map.entry(2, i).pages,
          mapped[i]);
  CHECK_RESULT(0, map.batch(2, EXMAP_OP_FREE, runs, 3));
  for (int i = 0; i < 3; i++)
    CHECK(map.entry(2, i).res == 0 && map.entry(2, i).pages == mapped[i],
          "FREE entry %d: res %d, pages %d, not %d", i, map.entry(2, i).res, map.entry(2, i).pages,
          mapped[i]);
  CHECK_RESULT(0, map.batch(2, EXMAP_OP_FREE, runs, 3));
  for (int i = 0; i < 3; i++)
    CHECK(map.entry(2, i).res == 0 && map.entry(2, i).pages == 0, "FREE of nothing: entry %d", i);
  for (int i = 3; i < EXMAP_USER_INTERFACE_PAGES; i++)
    CHECK(map.entry(2, i).value == 0x1234, "entry %d was not of the call and changed", i);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  Random random(options.number("seed", 1));
  const Ledger ledger;
  {
    const Exmap map({.frames = kFrames, .interfaces = kInterfaces, .area_pages = kAreaPages});
    fields(map, random);
    entries(map);
    results(map);
    for (const std::uintptr_t wrong : {std::uintptr_t{0}, std::uintptr_t{8}, ~std::uintptr_t{0},
                                       std::uintptr_t{0xffff888000000000}})
      CHECK_RESULT(-EFAULT, result_of(ioctl(map.fd(), EXMAP_IOCTL_ACTION, wrong)));
    map.check_all_frames(0, kFrames);
  }
  ledger.check_balanced();
  return 0;
}

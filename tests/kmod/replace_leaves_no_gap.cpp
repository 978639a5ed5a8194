// SPDX-License-Identifier: MIT
// One thread frees pages that a pipe holds, so that their frames are replaced one for the other.
// Meanwhile another one looks how many frames the pool has, for a gap to fill (no frame is free),
// to shrink by or to see the view not fit into. It must not see one where a frame has just gone and
// its replacement is about to come.
#include "view_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kPinned = 16;  // as many as a pipe takes
constexpr std::uint64_t kHeld = 16, kFrames = kHeld + kPinned;
constexpr std::uint64_t kHeldPage = 1000, kWantedPage = 2000;
// For each way of looking: on a busy machine the two get into each other's way a hundred times as
// long.
constexpr double kLongestSeconds = 5;

//! FREE of pages that are in a pipe, over and over. Returns how often.
std::uint64_t replace(const Exmap& map, std::uint64_t rounds) {
  int ends[2];
  CHECK(pipe(ends) == 0, "pipe: %s", strerror(errno));
  std::vector<char> seen(kPinned * kPageSize);
  const double end = seconds_now() + kLongestSeconds;
  std::uint64_t round = 0;
  for (; round < rounds && seconds_now() < end; round++) {
    for (std::uint64_t page = 0; page < kPinned; page++) {
      int result;
      // The other one may just have a frame in its hands.
      while ((result = map.alloc(0, page)) == -ENOMEM) sched_yield();
      CHECK_RESULT(0, result);
    }
    iovec pinned{map.area(), kPinned * kPageSize};
    CHECK_RESULT(static_cast<long long>(seen.size()), result_of(vmsplice(ends[1], &pinned, 1, 0)));
    CHECK_RESULT(0, map.free(0, 0, kPinned));
    CHECK_RESULT(static_cast<long long>(seen.size()),
                 result_of(read(ends[0], seen.data(), seen.size())));
  }
  close(ends[0]);
  close(ends[1]);
  return round;
}

//! `look` is called all the time meanwhile; at the end the pool must have as many frames as it was
//! set up with.
template <typename Look>
void replace_beside(std::uint64_t rounds, const char* what, Look look) {
  const Exmap map({.frames = kFrames, .interfaces = 2, .area_pages = 4096});
  CHECK_RESULT(0, map.alloc(1, kHeldPage, kHeld));
  std::atomic<bool> stop{false};
  std::uint64_t looks = 0;
  std::thread looking([&] {
    while (!stop) looks += look(map);
  });
  const std::uint64_t replaced = replace(map, rounds) * kPinned;
  stop = true;
  looking.join();
  std::printf("# %llu replaced, %s %llu times\n", ull(replaced), what, ull(looks));
  CHECK_RESULT(0, map.free(1, kHeldPage, kHeld));
  CHECK_RESULT(0, resize(map, kFrames));
  map.check_all_frames(1, kFrames);
}

bool starve(const Exmap& map) {
  const int result = map.alloc(1, kWantedPage);
  CHECK(result == 0 || result == -ENOMEM, "ALLOC gave %d", result);
  if (result == 0) CHECK_RESULT(0, map.free(1, kWantedPage));
  return result != 0;
}

bool grow_and_shrink(const Exmap& map) {
  CHECK_RESULT(0, resize(map, kFrames + 4));
  const long long result = resize(map, kFrames);
  CHECK(result == 0 || result == -EBUSY, "shrinking gave %lld", result);
  return result == 0;
}

bool view_all(const Exmap& map) {
  const View view(map, kFrames);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t rounds = options.scaled("rounds", 20000);
  const Ledger ledger;
  replace_beside(rounds, "no frame was found", starve);
  replace_beside(rounds, "shrunk", grow_and_shrink);
  replace_beside(rounds, "all in the view", view_all);
  ledger.check_balanced();
  return 0;
}

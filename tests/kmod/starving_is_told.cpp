// SPDX-License-Identifier: MIT
// ALLOC with no frame left is told so, and soon: also where core mm has unmapped a frame that
// somebody still holds, and however many threads starve at once. A call that goes in circles ends
// the test by its alarm.
#include <sys/uio.h>

#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr unsigned kHangSeconds = 120;

//! A frame that madvise() took out of the area, and that a pipe holds, is neither free nor mapped.
void with_a_frame_in_a_pipe() {
  const Exmap map({.frames = 4, .area_pages = 64});
  CHECK_RESULT(0, map.alloc(0, 0, 4));
  for (std::uint64_t page = 0; page < 4; page++) fill_page(map.page(page), page + 1);
  int ends[2];
  CHECK(pipe(ends) == 0, "pipe: %s", strerror(errno));
  iovec held{map.page(0), kPageSize};
  CHECK_RESULT(kPageBytes, result_of(vmsplice(ends[1], &held, 1, 0)));
  CHECK_RESULT(0, result_of(madvise(map.page(0), kPageSize, MADV_DONTNEED)));
  for (int i = 0; i < 100; i++) CHECK_RESULT(-ENOMEM, map.alloc(0, 10));
  alignas(8) char seen[kPageSize];
  CHECK_RESULT(kPageBytes, result_of(read(ends[0], seen, kPageSize)));
  CHECK(page_holds(seen, 1), "the pipe yields other bytes");
  CHECK(becomes_true([&] { return map.alloc(0, 10) == 0; }, 10),
        "the frame in the pipe never came back");
  CHECK_RESULT(-ENOMEM, map.alloc(0, 11));
  close(ends[0]);
  close(ends[1]);
  CHECK_RESULT(0, map.free(0, 0, 64));
  map.check_all_frames(0, 4);
}

//! `threads` threads that all starve each get their answers, by an interface of their own.
void all_at_once(int threads, std::uint64_t answers) {
  const Exmap map({.frames = 64, .interfaces = 64, .area_pages = 4096});
  CHECK_RESULT(0, map.alloc(0, 0, 64));
  std::vector<std::thread> starving;
  for (int t = 0; t < threads; t++)
    starving.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < answers; i++)
        CHECK_RESULT(-ENOMEM, map.alloc(t, 1000 + static_cast<std::uint64_t>(t)));
    });
  for (auto& thread : starving) thread.join();
  CHECK_RESULT(0, map.free(0, 0, 64));
  map.check_all_frames(threads - 1, 64);
}

//! As many threads as frames, each with one page at most: whoever asks while it has none finds one.
void one_is_free(int threads, std::uint64_t rounds) {
  const auto frames = static_cast<std::uint64_t>(threads);
  const Exmap map({.frames = frames, .interfaces = threads + 1, .area_pages = 4096});
  std::vector<std::thread> trading;
  for (int t = 0; t < threads; t++)
    trading.emplace_back([&, t] {
      const std::uint64_t page = static_cast<std::uint64_t>(t) * 10;
      for (std::uint64_t i = 0; i < rounds; i++) {
        CHECK_RESULT(0, map.alloc(t, page));
        CHECK_RESULT(0, map.free(t, page));
      }
    });
  for (auto& thread : trading) thread.join();
  map.check_all_frames(threads, frames);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t answers = options.scaled("answers a thread", 2000);
  const std::uint64_t rounds = options.scaled("trades a thread", 500);
  const Ledger ledger;
  alarm(kHangSeconds);
  with_a_frame_in_a_pipe();
  for (const int threads : {1, 2, 8, 32}) all_at_once(threads, answers);
  for (const int threads : {2, 5, 16}) one_is_free(threads, rounds);
  alarm(0);
  ledger.check_balanced();
  return 0;
}

// SPDX-License-Identifier: MIT
// The view as a registered buffer of io_uring: I/O at a frame's number is I/O on the page that has
// the frame, through any number of FREEs and ALLOCs, without a frame replaced; and what has left
// the pool, or the view, is never another page's, however long the ring holds on to it.
#include "parked_test.h"
#include "uring_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 32, kFilePages = 256;

struct Ring {
  io_uring ring{};
  Ring() { CHECK(io_uring_queue_init(8, &ring, 0) == 0, "io_uring_queue_init"); }
  ~Ring() { io_uring_queue_exit(&ring); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  void add(const View& view) {
    const iovec buffer{view.base(), view.bytes()};
    const int result = io_uring_register_buffers(&ring, &buffer, 1);
    if (result == -EOPNOTSUPP)
      SKIP("this kernel registers no pages of a file (it came with Linux 6.5)");
    CHECK_RESULT(0, result);
  }
  void transfer(bool write, int file, char* address, std::uint64_t file_page) {
    io_uring_sqe* const request = io_uring_get_sqe(&ring);
    const auto offset = static_cast<off_t>(file_page * kPageSize);
    if (write)
      io_uring_prep_write_fixed(request, file, address, kPageSize,
                                static_cast<std::uint64_t>(offset), 0);
    else
      io_uring_prep_read_fixed(request, file, address, kPageSize,
                               static_cast<std::uint64_t>(offset), 0);
    CHECK(io_uring_submit_and_wait(&ring, 1) == 1, "submit: %s", strerror(errno));
    CHECK_RESULT(kPageBytes, reap_one(ring).result);
  }
};

void check_file(int file, std::uint64_t file_page, std::uint64_t owner) {
  alignas(8) char seen[kPageSize];
  CHECK_RESULT(kPageBytes,
               result_of(pread(file, seen, kPageSize, static_cast<off_t>(file_page * kPageSize))));
  CHECK(page_holds(seen, owner), "page %llu of the file does not hold what the page held",
        ull(file_page));
}

//! A buffer pool's life: a page gets a frame, is read, changed, written, and freed.
void random_life(const Exmap& map, const View& view, Ring& ring, int file, std::uint64_t rounds) {
  Random random(7);
  for (std::uint64_t i = 0; i < rounds; i++) {
    const std::uint64_t page = random.below(kFilePages);
    const std::uint32_t frame = frame_of(map, page);
    CHECK(frame < kFrames, "page %llu has frame %u", ull(page), frame);
    fill_page(map.page(page), ~0ull);
    ring.transfer(false, file, view.frame(frame), page);
    const std::uint64_t held = *map.word(page);
    CHECK(held % kFilePages == (page + 1) % kFilePages, "page %llu was read as %llu", ull(page),
          ull(held));
    CHECK(page_holds(map.page(page), held), "page %llu was read in part", ull(page));
    fill_page(map.page(page), held + kFilePages);
    ring.transfer(true, file, view.frame(frame), page);
    check_file(file, page, held + kFilePages);
    if (random.below(2)) CHECK_RESULT(0, map.free(0, page));
    if (map.allocated() == kFrames) CHECK_RESULT(0, map.free(0, 0, kFilePages));
  }
  CHECK_RESULT(0, map.free(0, 0, kFilePages));
  const exmap_stats2 stats = stats_of(map.fd());
  CHECK(stats.pinned == 0 && stats.frames_in_view == kFrames,
        "%llu frames were replaced, %llu have numbers", ull(stats.pinned),
        ull(stats.frames_in_view));
}

//! I/O into every frame of the buffer; the pages of the area must be those that `owner_of` says, or
//! untouched.
void scribble_through_buffer(Ring& ring, const View& view, int file) {
  for (std::uint64_t n = 0; n < kFrames; n++) ring.transfer(false, file, view.frame(n), kFilePages);
}

//! With `returned` shrinking gives frames back to the system at once; else they are parked, and
//! come back themselves.
void leavers_are_nobody_elses(const Exmap& map, Ring& ring, int file, bool returned) {
  CHECK(write_text(kShrinkReturns, returned ? "Y" : "N"), "%s: %s", kShrinkReturns,
        strerror(errno));
  const std::uint64_t stay = returned ? kFrames / 4 : kFrames;
  View view(map, kFrames);
  ring.add(view);
  CHECK_RESULT(0, resize(map, kFrames / 4));
  CHECK_RESULT(0, resize(map, kFrames));
  CHECK(write_text(kShrinkReturns, "N"), "%s: %s", kShrinkReturns, strerror(errno));
  // Where new frames took the places of those that left, only what still has a number may be
  // reached.
  std::vector<std::uint32_t> numbers;
  for (std::uint64_t page = 0; page < kFrames; page++) {
    numbers.push_back(frame_of(map, page));
    fill_page(map.page(page), page);
  }
  scribble_through_buffer(ring, view, file);
  std::uint64_t reached = 0;
  for (std::uint64_t page = 0; page < kFrames; page++) {
    const bool in_view = numbers[page] != EXMAP_FRAME_NONE;
    reached += in_view;
    CHECK(page_holds(map.page(page), in_view ? 0xf11e : page), "page %llu with frame %u was %s",
          ull(page), numbers[page], in_view ? "not reached" : "reached through a frame that left");
  }
  CHECK(reached == stay, "%llu frames of the view stayed, not %llu", ull(reached), ull(stay));
  // The view goes, the registration stays: its frames are pinned, and not to be had for other
  // pages.
  char* const base = view.base();
  const std::size_t bytes = view.bytes();
  view.unmap();
  CHECK_RESULT(0, map.free(0, 0, kFrames));
  std::uint64_t mapped = 0;
  for (; mapped < kFrames && map.alloc(0, 100 + mapped) == 0; mapped++)
    fill_page(map.page(100 + mapped), mapped);
  CHECK(mapped == kFrames, "the pool is short of %llu frames", ull(kFrames - mapped));
  for (std::size_t at = 0; at < bytes; at += kPageSize)
    ring.transfer(false, file, base + at, kFilePages);
  for (std::uint64_t n = 0; n < mapped; n++)
    CHECK(page_holds(map.page(100 + n), n), "page %llu was reached through the old registration",
          ull(100 + n));
  CHECK_RESULT(0, io_uring_unregister_buffers(&ring.ring));
  CHECK_RESULT(0, map.free(0, 100, kFrames));
  CHECK(becomes_true(
            [&] {
              const int all = map.alloc(0, 0, kFrames);
              CHECK_RESULT(0, map.free(0, 0, kFrames));
              return all == 0;
            },
            10),
        "frames are missing after the registration went");
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  {
    const int file = memory_file(kFilePages);
    alignas(8) char odd[kPageSize];
    fill_page(odd, 0xf11e);
    CHECK_RESULT(kPageBytes, result_of(pwrite(file, odd, kPageSize, kFilePages * kPageSize)));
    const Exmap map({.frames = kFrames, .area_pages = 1024});
    Ring ring, second;
    {
      const View view(map, kFrames);
      ring.add(view);
      second.add(view);
      random_life(map, view, ring, file, options.scaled("page lives", 5000));
      CHECK_RESULT(0, io_uring_unregister_buffers(&ring.ring));
      CHECK_RESULT(0, io_uring_unregister_buffers(&second.ring));
    }
    for (const bool returned : {false, true}) leavers_are_nobody_elses(map, ring, file, returned);
    map.check_all_frames(0, kFrames);
    // The process ends with everything mapped, registered and allocated.
    in_child("an exit", [] {
      const auto* const own = new Exmap({.frames = kFrames, .area_pages = 256});
      const auto* const view = new View(*own, kFrames);
      (new Ring)->add(*view);
      CHECK_RESULT(0, own->alloc(0, 0, kFrames));
    });
    close(file);
  }
  ledger.check_balanced();
  return 0;
}

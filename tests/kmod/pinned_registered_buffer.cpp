// SPDX-License-Identifier: MIT
// A page freed while it is a registered io_uring buffer: I/O through the buffer reads the old
// owner's bytes and writes nobody else's page, and the frame comes back once the buffer is
// unregistered.
#include "uring_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 8, kOwner = 0x0157, kNext = 0x4e87, kFile = 0xf11e;

void run_fixed(io_uring& ring, bool write_file, int file, char* address) {
  io_uring_sqe* const request = io_uring_get_sqe(&ring);
  if (write_file)
    io_uring_prep_write_fixed(request, file, address, kPageSize, 0, 0);
  else
    io_uring_prep_read_fixed(request, file, address, kPageSize, 0, 0);
  CHECK(io_uring_submit_and_wait(&ring, 1) == 1, "submit: %s", strerror(errno));
  CHECK_RESULT(kPageBytes, reap_one(ring).result);
}

void one_round(const Exmap& map, io_uring& ring, int file) {
  CHECK_RESULT(0, map.alloc(0, 0));
  fill_page(map.page(0), kOwner);
  iovec buffer{map.page(0), kPageSize};
  const int registered = io_uring_register_buffers(&ring, &buffer, 1);
  if (registered < 0)
    SKIP("this kernel does not register pages of an exmap: %s", strerror(-registered));
  CHECK_RESULT(0, map.free(0, 0));
  std::uint64_t mapped = 0;
  while (mapped < kFrames && map.alloc(0, 100 + mapped) == 0)
    fill_page(map.page(100 + mapped++), kNext);
  CHECK(mapped >= kFrames - 1, "one pinned frame took %llu from the pool", ull(kFrames - mapped));
  run_fixed(ring, true, file, map.page(0));
  alignas(8) char seen[kPageSize];
  CHECK_RESULT(kPageBytes, result_of(pread(file, seen, kPageSize, 0)));
  CHECK(page_holds(seen, kOwner), "the buffer wrote another owner's bytes to the file");
  fill_page(seen, kFile);
  CHECK_RESULT(kPageBytes, result_of(pwrite(file, seen, kPageSize, 0)));
  run_fixed(ring, false, file, map.page(0));
  for (std::uint64_t page = 100; page < 100 + mapped; page++)
    CHECK(page_holds(map.page(page), kNext), "a read into the old buffer landed in page %llu",
          ull(page));
  CHECK_RESULT(0, io_uring_unregister_buffers(&ring));
  CHECK_RESULT(0, map.free(0, 100, kFrames));
  // The kernel may put the pins from a worker, a moment after the call.
  CHECK(becomes_true(
            [&] {
              const int all = map.alloc(0, 0, kFrames);
              CHECK_RESULT(0, map.free(0, 0, kFrames));
              return all == 0;
            },
            10),
        "the unregistered frame never came back");
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  {
    const int file = memfd_create("buffer", MFD_CLOEXEC);
    CHECK(file >= 0, "memfd_create: %s", strerror(errno));
    io_uring ring{};
    CHECK(io_uring_queue_init(8, &ring, 0) == 0, "io_uring_queue_init");
    const Exmap map({.frames = kFrames, .area_pages = 256});
    const std::uint64_t rounds = options.scaled("register rounds", 30);
    for (std::uint64_t i = 0; i < rounds; i++) one_round(map, ring, file);
    map.check_all_frames(0, kFrames);
    io_uring_queue_exit(&ring);
    close(file);
  }
  ledger.check_balanced();
  return 0;
}

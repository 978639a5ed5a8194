// SPDX-License-Identifier: MIT
// A page that the device cannot read or write is an error of its own, with every mapped neighbour
// whole, the good pages readable, the failed page's frame not lost, and the page readable memory of
// nobody else's.
#include <sys/uio.h>

#include "uring_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 32;

void check_neighbours(const Exmap& map, std::uint64_t bad) {
  for (const std::uint64_t page : {bad - 2, bad - 1, bad + 1, bad + 2})
    CHECK(page_holds(map.page(page), page), "page %llu, a neighbour, shows 0x%llx", ull(page),
          ull(*map.word(page)));
}

void read_errors(const Exmap& map, std::uint64_t bad, int error) {
  for (const std::uint64_t page : {bad - 2, bad - 1, bad + 1, bad + 2})
    CHECK_RESULT(kPageBytes, result_of(pread(map.fd(), map.page(page), kPageSize, 0)));
  check_neighbours(map, bad);
  for (int i = 0; i < 40; i++) {  // more often than there are frames: one lost each time would show
    CHECK_RESULT(error, result_of(pread(map.fd(), map.page(bad), kPageSize, 0)));
    CHECK(map.allocated() == 4, "a failed read left %llu pages mapped, not 4",
          ull(map.allocated()));
    check_neighbours(map, bad);
    iovec parts[] = {
        {map.page(bad - 1), kPageSize}, {map.page(bad), kPageSize}, {map.page(bad + 1), kPageSize}};
    const long long got = result_of(preadv(map.fd(), parts, 3, 0));
    CHECK(got == error || got == kPageBytes, "preadv over the bad page gave %lld", got);
    CHECK_RESULT(0, map.free(0, bad));
    check_neighbours(map, bad);
  }
}

void write_errors(const Exmap& map, std::uint64_t bad, int error) {
  CHECK_RESULT(0, map.alloc(0, bad));
  fill_page(map.page(bad), 0xbad);
  CHECK_RESULT(error, result_of(pwrite(map.fd(), map.page(bad), kPageSize,
                                       EXMAP_OP_OFFSET(0, EXMAP_OP_WRITE))));
  CHECK(page_holds(map.page(bad), 0xbad), "a failed write changed the page in memory");
  CHECK_RESULT(kPageBytes, result_of(pwrite(map.fd(), map.page(bad + 1), kPageSize,
                                            EXMAP_OP_OFFSET(0, EXMAP_OP_WRITE))));
  check_neighbours(map, bad);
}

void uring_errors(const Exmap& map, std::uint64_t bad, int error) {
  io_uring ring{};
  CHECK(io_uring_queue_init(8, &ring, 0) == 0, "io_uring_queue_init");
  CHECK_RESULT(0, map.free(0, bad));
  for (std::uint64_t page = bad - 1; page <= bad + 1; page++) {
    prepare_command(ring, map.fd(), EXMAP_OP_OFFSET(0, EXMAP_OP_READ), map.page(page), kPageSize)
        ->user_data = page;
  }
  CHECK(io_uring_submit(&ring) == 3, "io_uring_submit");
  for (int i = 0; i < 3; i++) {
    const Completion reaped = reap_one(ring);
    CHECK(reaped.result == (reaped.user_data == bad ? error : kPageBytes),
          "page %llu: uring_cmd gave %d", ull(reaped.user_data), reaped.result);
  }
  check_neighbours(map, bad);
  io_uring_queue_exit(&ring);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::string path = options.text("device", "");
  const std::uint64_t bad = options.number("bad-page", 0);
  if (path.empty() || bad < 2)
    SKIP("needs --device PATH --bad-page N, a device that fails at page N");
  const int device = open(path.c_str(), O_RDWR | O_DIRECT);
  CHECK(device >= 0, "open %s: %s", path.c_str(), strerror(errno));
  auto* const block = static_cast<char*>(std::aligned_alloc(kPageSize, kPageSize));
  const auto offset_of = [](std::uint64_t page) { return static_cast<off_t>(page * kPageSize); };
  for (const std::uint64_t page : {bad - 2, bad - 1, bad + 1, bad + 2}) {
    fill_page(block, page);
    CHECK_RESULT(kPageBytes, result_of(pwrite(device, block, kPageSize, offset_of(page))));
  }
  // What the device says for itself: EIO, or ENODATA where it knows that the medium has lost the
  // data.
  const int read_error =
      static_cast<int>(result_of(pread(device, block, kPageSize, offset_of(bad))));
  const int write_error =
      static_cast<int>(result_of(pwrite(device, block, kPageSize, offset_of(bad))));
  std::printf("# the device itself: read %s, write %s\n", strerror(-read_error),
              strerror(-write_error));
  CHECK(read_error < 0 && write_error < 0, "page %llu of the device is good", ull(bad));
  const Ledger ledger;
  {
    const Exmap map({.frames = kFrames, .area_pages = 256, .backing_fd = device});
    read_errors(map, bad, read_error);
    write_errors(map, bad, write_error);
    uring_errors(map, bad, read_error);
    CHECK_RESULT(0, map.free(0, bad - 2, 5));
    map.check_all_frames(0, kFrames);
  }
  {
    const int buffered = open(path.c_str(), O_RDWR);
    const Exmap map({.frames = kFrames, .area_pages = 256, .backing_fd = buffered});
    read_errors(map, bad, -EIO);
    CHECK_RESULT(0, map.free(0, bad - 2, 5));
    map.check_all_frames(0, kFrames);
    close(buffered);
  }
  std::free(block);
  ledger.check_balanced();
  return 0;
}

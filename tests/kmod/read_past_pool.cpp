// SPDX-License-Identifier: MIT
// READs of more pages than the pool has, and past the end of the file: what is told as read is
// there, the rest is an error or a short count, nothing of another page shows, and no frame is
// lost.
#include "exmap_test.h"

#include <sys/uio.h>

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 16, kFilePages = 64;

void more_than_the_pool(const Exmap& map, std::uint64_t first, std::uint64_t pages, bool vector) {
  long long got = 0;
  if (vector) {
    std::vector<iovec> parts;
    for (std::uint64_t i = 0; i < pages; i++) parts.push_back({map.page(first + i), kPageSize});
    got = result_of(preadv(map.fd(), parts.data(), static_cast<int>(pages), 0));
  } else {
    got = result_of(pread(map.fd(), map.page(first), pages * kPageSize, 0));
  }
  CHECK(got == -ENOMEM || (got >= 0 && got <= static_cast<long long>(kFrames * kPageSize)),
        "a read of %llu pages from a pool of %llu gave %lld", ull(pages), ull(kFrames), got);
  CHECK(got < 0 || got % kPageBytes == 0, "a part of a page was read: %lld bytes", got);
  for (std::uint64_t i = 0; got > 0 && i < static_cast<std::uint64_t>(got) / kPageSize; i++)
    CHECK(page_holds(map.page(first + i), first + i + 1),
          "page %llu was told as read and shows 0x%llx", ull(first + i), ull(*map.word(first + i)));
  CHECK(map.allocated() <= kFrames, "%llu pages mapped", ull(map.allocated()));
  CHECK_RESULT(0, map.free(0, first, pages));
  CHECK(map.allocated() == 0, "pages stay mapped");
}

void past_the_file(const Exmap& map) {
  const long long across = result_of(pread(map.fd(), map.page(kFilePages - 2), 4 * kPageSize, 0));
  CHECK(across < 0 || across == 2 * kPageBytes, "a read across the file's end gave %lld", across);
  std::uint64_t value = 0;
  if (across > 0)
    for (std::uint64_t page = kFilePages - 2; page < kFilePages; page++)
      CHECK(page_holds(map.page(page), page + 1), "page %llu is wrong", ull(page));
  CHECK_RESULT(0, map.free(0, kFilePages - 2, 4));
  const long long beyond = result_of(pread(map.fd(), map.page(kFilePages + 4), kPageSize, 0));
  CHECK(beyond <= 0, "a read past the file's end gave %lld", beyond);
  CHECK(try_read(map.word(kFilePages + 4), value) != 0,
        "a page past the file's end stays mapped and shows 0x%llx", ull(value));
  CHECK_RESULT(0, map.free(0, kFilePages + 4));
  CHECK(map.allocated() == 0, "pages stay mapped");
}

//! A page that is mapped already is read again in place; its neighbours keep what they have.
void over_mapped_pages(const Exmap& map) {
  CHECK_RESULT(0, map.alloc(0, 20, 3));
  for (std::uint64_t page = 20; page < 23; page++) fill_page(map.page(page), 0xd1d1);
  const long long got = result_of(pread(map.fd(), map.page(21), kPageSize, 0));
  CHECK(got == kPageBytes, "a read over a mapped page gave %lld", got);
  CHECK(page_holds(map.page(21), 22), "a mapped page was told as read and shows 0x%llx",
        ull(*map.word(21)));
  CHECK(page_holds(map.page(20), 0xd1d1) && page_holds(map.page(22), 0xd1d1),
        "a neighbour changed");
  CHECK_RESULT(0, map.free(0, 20, 3));
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  catch_faults();
  const Ledger ledger;
  {
    const int file = memory_file(kFilePages);
    const Exmap map({.frames = kFrames, .area_pages = 256, .backing_fd = file});
    const std::uint64_t rounds = options.scaled("rounds", 50);
    for (std::uint64_t i = 0; i < rounds; i++) {
      for (const bool vector : {false, true})
        for (const std::uint64_t pages : {kFrames - 1, kFrames, kFrames + 1, kFrames * 3})
          more_than_the_pool(map, i % 10, pages, vector);
      past_the_file(map);
      over_mapped_pages(map);
    }
    map.check_all_frames(0, kFrames);
    close(file);
  }
  {  // more than one chunk of whatever the module reads at once
    const int file = memfd_create("large", MFD_CLOEXEC);
    CHECK(ftruncate(file, 2000 * kPageSize) == 0, "ftruncate: %s", strerror(errno));
    const Exmap map({.frames = 2100, .backing_fd = file});
    CHECK_RESULT(2000 * kPageBytes, result_of(pread(map.fd(), map.page(0), 2000 * kPageSize, 0)));
    CHECK(map.allocated() == 2000, "%llu of 2000 pages are mapped", ull(map.allocated()));
    CHECK_RESULT(0, map.free(0, 0, 2000));
    map.check_all_frames(0, 2100);
    close(file);
  }
  ledger.check_balanced();
  return 0;
}

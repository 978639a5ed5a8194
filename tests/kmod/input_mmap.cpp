// SPDX-License-Identifier: MIT
// The area in every size, from one page to the most that query tells, smaller and larger than the
// pool; unmapped and mapped anew; one page more is refused.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

void use_area(std::size_t frames, std::size_t pages) {
  const Exmap map({.frames = frames, .area_pages = pages});
  for (const std::uint64_t page :
       {std::uint64_t{0}, std::uint64_t{pages / 2}, std::uint64_t{pages - 1}}) {
    CHECK_RESULT(0, map.alloc(0, page));
    fill_page(map.page(page), page);
    CHECK(page_holds(map.page(page), page), "page %llu of %zu", ull(page), pages);
    CHECK_RESULT(0, map.free(0, page));
  }
  CHECK_RESULT(-EINVAL, map.alloc(0, pages));
}

void map_anew() {
  const int fd = open_device();
  CHECK_RESULT(0, call_setup(fd, 16, 1));
  auto* const interface = map_interface(fd, 0);
  CHECK(interface, "mmap: %s", strerror(errno));
  for (std::size_t pages = 1; pages <= 4096; pages *= 2) {
    char* const area = map_area(fd, pages);
    CHECK(area, "mmap of %zu pages after munmap: %s", pages, strerror(errno));
    interface->iov[0].page = pages - 1;
    interface->iov[0].len = 1;
    CHECK_RESULT(0, call_action(fd, 0, EXMAP_OP_ALLOC, 1));
    fill_page(area + (pages - 1) * kPageSize, pages);
    munmap(area, pages * kPageSize);  // with a page mapped: its frame goes back to the pool
  }
  char* const area = map_area(fd, 64);
  CHECK(area, "mmap: %s", strerror(errno));
  interface->iov[0].page = 0;
  interface->iov[0].len = 16;
  CHECK_RESULT(0, call_action(fd, 0, EXMAP_OP_ALLOC, 1));
  CHECK(interface->iov[0].pages == 16, "%d of 16 frames are there after the remaps",
        interface->iov[0].pages);
  munmap(area, 64 * kPageSize);
  munmap(interface, kPageSize);
  close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  for (const std::size_t pages : {1, 2, 511, 512, 513, 1 << 20}) {
    use_area(1, pages);
    use_area(64, pages);
  }
  use_area(64, std::size_t{1} << 30);  // 4 TiB
  map_anew();
  exmap_query query{};
  query.size = sizeof query;
  const int fd = open_device();
  CHECK_RESULT(0, result_of(ioctl(fd, EXMAP_IOCTL_QUERY, &query)));
  std::printf("# area_bytes_max 0x%llx\n", ull(query.area_bytes_max));
  CHECK(map_area(fd, query.area_bytes_max / kPageSize + 1) == nullptr,
        "more than area_bytes_max was mapped");
  CHECK(map_area(fd, std::size_t{1} << 51) == nullptr, "2^51 pages were mapped");
  CHECK(mmap(nullptr, 0, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED,
        "an area of no bytes was mapped");
  close(fd);
  ledger.check_balanced();
  return 0;
}

// SPDX-License-Identifier: MIT
// The fd maps the area and its interfaces and nothing else: no page table, no interface past the
// last, no second page, and an interface page that is new shows no byte of the kernel's.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

void* map_at(int fd, std::size_t length, int rights, int kind, std::uint64_t offset) {
  return mmap(nullptr, length, rights, kind, fd, static_cast<off_t>(offset));
}
void refuse(int fd, std::size_t length, int rights, int kind, std::uint64_t offset) {
  void* const mapped = map_at(fd, length, rights, kind, offset);
  CHECK(mapped == MAP_FAILED, "offset 0x%llx, %zu bytes, rights %d, kind %d was mapped",
        ull(offset), length, rights, kind);
}

//! Bytes that the kernel writes back must be its answer or what stood there: padding shows nothing
//! of its stack.
void answers_are_clean(int fd) {
  union {
    exmap_ioctl_stats stats;
    unsigned char bytes[sizeof(exmap_ioctl_stats)];
  } answer;
  std::memset(answer.bytes, 0xaa, sizeof answer);
  CHECK_RESULT(0, result_of(ioctl(fd, EXMAP_IOCTL_STATS, &answer)));
  const std::size_t end =
      offsetof(exmap_ioctl_stats, max_interfaces) + sizeof answer.stats.max_interfaces;
  for (std::size_t i = end; i < sizeof answer; i++)
    CHECK(answer.bytes[i] == 0 || answer.bytes[i] == 0xaa, "byte %zu of the stats is 0x%x", i,
          answer.bytes[i]);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  constexpr int kBoth = PROT_READ | PROT_WRITE;
  constexpr int kInterfaces = 4;
  const Ledger ledger;
  {
    const Exmap map({.frames = 16, .interfaces = kInterfaces, .area_pages = 64});
    for (int i = 0; i < kInterfaces; i++)
      for (int entry = 0; entry < EXMAP_USER_INTERFACE_PAGES; entry++)
        CHECK(map.entry(i, entry).value == 0, "interface %d, entry %d starts as 0x%llx", i, entry,
              ull(map.entry(i, entry).value));
    answers_are_clean(map.fd());
    for (const std::uint64_t offset :
         {0x1000000000000000ull, 0x1000000000001000ull, 0x2000000000000000ull,
          0x4000000000000000ull, 0xf000000000001000ull, 0x1000ull, 0x2000ull})
      for (const int rights : {PROT_READ, kBoth})
        refuse(map.fd(), kPageSize, rights, MAP_SHARED, offset);
    for (const std::uint64_t n : {4ull, 5ull, 0xffffull, 0x10000ull, 0xffffffffull, 0xfffffffffull})
      refuse(map.fd(), kPageSize, kBoth, MAP_SHARED, EXMAP_OFF_INTERFACE(n));
    refuse(map.fd(), kPageSize * 2, kBoth, MAP_SHARED, EXMAP_OFF_INTERFACE(0ull));
    refuse(map.fd(), kPageSize * 64, kBoth, MAP_SHARED, EXMAP_OFF_EXMAP);  // once is once
  }
  {
    const int fd = open_device();  // a private area would copy what the frames hold
    CHECK_RESULT(0, call_setup(fd, 16, 1));
    refuse(fd, kPageSize * 64, kBoth, MAP_PRIVATE, EXMAP_OFF_EXMAP);
    refuse(fd, kPageSize, kBoth, MAP_PRIVATE, EXMAP_OFF_INTERFACE(0ull));
    char* const area = map_area(fd, 64);
    CHECK(area, "the refusals took the one mapping: %s", strerror(errno));
    munmap(area, 64 * kPageSize);
    close(fd);
  }
  ledger.check_balanced();
  return 0;
}

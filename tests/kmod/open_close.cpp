// SPDX-License-Identifier: MIT 200 times open, set up, map, fill and close, in every order of
// giving up: no frame and no reference is lost.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr std::size_t kFrames = 256;

void fill_and_leave(std::uint64_t way) {
  const int fd = open_device();
  if (way % 5 == 0) {  // opened, nothing else
    close(fd);
    return;
  }
  CHECK_RESULT(0, call_setup(fd, kFrames, 2));
  if (way % 5 == 1) {  // set up, never mapped
    close(fd);
    return;
  }
  char* const area = map_area(fd, kFrames * 2);
  auto* const interface = map_interface(fd, 1);
  CHECK(area && interface, "mmap: %s", strerror(errno));
  for (std::uint64_t page = 0; page < kFrames; page += 64) {
    exmap_iov run{};
    run.page = page;
    run.len = 64;
    interface->iov[0].value = run.value;
    CHECK_RESULT(0, call_action(fd, 1, EXMAP_OP_ALLOC, 1));
  }
  std::memset(area, 0x5a, kFrames * kPageSize);
  if (way % 5 == 2) close(fd);  // the mappings outlive the fd
  munmap(area, kFrames * 2 * kPageSize);
  if (way % 5 == 3) close(fd);
  munmap(interface, kPageSize);
  if (way % 5 == 4) close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  const std::uint64_t rounds = options.scaled("open/close rounds", 200);
  for (std::uint64_t i = 0; i < rounds; i++) fill_and_leave(i);
  ledger.check_balanced();
  return 0;
}

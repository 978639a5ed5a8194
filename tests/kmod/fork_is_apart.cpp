// SPDX-License-Identifier: MIT
// A fork's child reaches nothing of its parent's exmap: not the pages, not the interfaces, not the
// calls.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kParent = 0x1111, kLater = 0x2222;

void child_tries_everything(const Exmap& map) {
  catch_faults();
  std::uint64_t value = 0;
  CHECK(try_read(map.word(0), value) != 0, "the child reads the parent's page: 0x%llx", ull(value));
  CHECK(try_write(map.word(0), kLater) != 0, "the child writes the parent's page");
  CHECK_REFUSED(call_action(map.fd(), 0, EXMAP_OP_ALLOC, 1));
  CHECK_REFUSED(call_action(map.fd(), 0, EXMAP_OP_FREE, 1));
  CHECK_REFUSED(result_of(pread(map.fd(), map.page(1), kPageSize, 0 | EXMAP_OP_ALLOC << 8)));
  char* const own = map_area(map.fd(), map.area_pages());
  CHECK(own == nullptr, "the child maps a second area of the parent's pool");
}

//! MADV_DOFORK takes VM_DONTCOPY off any area that is not VM_IO; the child must still not see what
//! comes later.
void forced_inheritance(const Exmap& map) {
  const int advised = madvise(map.area(), map.area_pages() * kPageSize, MADV_DOFORK);
  std::printf("# MADV_DOFORK: %s\n", advised == 0 ? "taken" : strerror(errno));
  int to_child[2], to_parent[2];
  CHECK(pipe(to_child) == 0 && pipe(to_parent) == 0, "pipe: %s", strerror(errno));
  const pid_t child = spawn([&] {
    catch_faults();
    std::uint64_t value = 0;
    try_read(map.word(0), value);
    char token = 0;
    CHECK(write(to_parent[1], &token, 1) == 1 && read(to_child[0], &token, 1) == 1, "pipe: %s",
          strerror(errno));
    value = 0;
    const int raised = try_read(map.word(0), value);
    CHECK(raised != 0 || value != kLater, "the child sees what the parent wrote after the fork");
    CHECK_REFUSED(call_action(map.fd(), 0, EXMAP_OP_ALLOC, 1));
    CHECK_REFUSED(call_action(map.fd(), 0, EXMAP_OP_FREE, 1));
  });
  char token = 0;
  if (read(to_parent[0], &token, 1) == 1) {
    CHECK_RESULT(0, map.free(0, 0));
    for (std::uint64_t page = 8; page < 24; page++) {
      CHECK_RESULT(0, map.alloc(0, page));
      fill_page(map.page(page), kLater);
    }
    CHECK(write(to_child[1], &token, 1) == 1, "pipe: %s", strerror(errno));
  }
  CHECK_RESULT(0, wait_for(child));
  CHECK_RESULT(0, map.free(0, 8, 16));
  for (int fd : {to_child[0], to_child[1], to_parent[0], to_parent[1]}) close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  {
    const Exmap map({.frames = 16, .area_pages = 64});
    CHECK_RESULT(0, map.alloc(0, 0));
    fill_page(map.page(0), kParent);
    map.entry(0, 0).value = 0;
    in_child("child of a fork", [&] { child_tries_everything(map); });
    CHECK(page_holds(map.page(0), kParent), "the parent's page changed");
    CHECK(map.allocated() == 1, "the child changed what is mapped");
    forced_inheritance(map);
    map.check_all_frames(0, 16);
  }
  ledger.check_balanced();
  return 0;
}

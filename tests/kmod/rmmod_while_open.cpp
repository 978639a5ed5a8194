// SPDX-License-Identifier: MIT
// The module cannot be unloaded while an fd or a mapping of it lives, and goes on working after the
// attempt.
#include "exmap_test.h"

#include <sys/syscall.h>

using namespace exmap_test;

namespace {

long long try_unload() {
  return result_of(syscall(SYS_delete_module, "exmap", O_NONBLOCK));
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  if (geteuid() != 0) SKIP("needs root to try rmmod");
  const int fd = open_device();
  CHECK_RESULT(-EAGAIN, try_unload());
  CHECK_RESULT(0, call_setup(fd, 16, 1));
  char* const area = map_area(fd, 64);
  auto* const interface = map_interface(fd, 0);
  CHECK(area && interface, "mmap: %s", strerror(errno));
  exmap_iov run{};
  run.page = 3;
  run.len = 1;
  interface->iov[0].value = run.value;
  CHECK_RESULT(0, call_action(fd, 0, EXMAP_OP_ALLOC, 1));
  fill_page(area + 3 * kPageSize, 7);
  CHECK_RESULT(-EAGAIN, try_unload());
  close(fd);
  CHECK_RESULT(-EAGAIN, try_unload());
  CHECK(page_holds(area + 3 * kPageSize, 7), "the mapping died with the fd");
  munmap(interface, kPageSize);
  CHECK_RESULT(-EAGAIN, try_unload());
  munmap(area, 64 * kPageSize);
  return 0;
}

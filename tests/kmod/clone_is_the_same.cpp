// SPDX-License-Identifier: MIT
// A clone is the same exmap: it outlives the origin's fd, bad origins get an errno, and nothing is
// lost at the end.
#include "exmap_test.h"

#include <climits>

using namespace exmap_test;

namespace {

long long call_clone(int fd, int origin) {
  return result_of(ioctl(fd, EXMAP_IOCTL_CLONE, origin));
}

void outlives_the_origin() {
  auto* const map = new Exmap({.frames = 16, .area_pages = 64});
  const int clone = open_device();
  CHECK_RESULT(0, call_clone(clone, map->fd()));
  CHECK_RESULT(0, map->alloc(0, 3));
  fill_page(map->page(3), 33);
  close(map->fd());
  map->forget_fd();
  map->entry(0, 0).page = 4;
  map->entry(0, 0).len = 1;
  CHECK_RESULT(0, call_action(clone, 0, EXMAP_OP_ALLOC, 1));
  fill_page(map->page(4), 44);
  CHECK(page_holds(map->page(3), 33), "the page died with the origin's fd");
  CHECK_RESULT(-EBUSY, call_setup(clone, 16, 1));
  auto* const interface = map_interface(clone, 0);
  CHECK(interface, "an interface through the clone: %s", strerror(errno));
  interface->iov[0].page = 3;
  interface->iov[0].len = 2;
  CHECK_RESULT(0, call_action(clone, 0, EXMAP_OP_FREE, 1));
  CHECK(interface->iov[0].pages == 2, "FREE through the clone freed %d of 2",
        interface->iov[0].pages);
  munmap(interface, kPageSize);
  delete map;
  close(clone);
}

void before_setup() {
  const int origin = open_device(), clone = open_device();
  CHECK_RESULT(0, call_clone(clone, origin));
  close(origin);
  CHECK_RESULT(0, call_setup(clone, 16, 1));
  close(clone);
}

void refused() {
  const Exmap map({.frames = 16, .area_pages = 64});
  const int fd = open_device(), file = memfd_create("file", MFD_CLOEXEC);
  for (const int wrong : {-1, 1 << 20, INT_MIN, INT_MAX})
    CHECK_RESULT(-EBADF, call_clone(fd, wrong));
  CHECK_RESULT(-EINVAL, call_clone(fd, file));
  CHECK_RESULT(-EINVAL, call_clone(fd, fd));
  CHECK_RESULT(-EBUSY, call_clone(map.fd(), fd));
  CHECK_RESULT(0, call_clone(fd, map.fd()));
  CHECK_REFUSED(call_clone(fd, map.fd()));
  const int second = open_device();
  CHECK_RESULT(0, call_clone(second, fd));  // a clone of a clone
  for (const int each : {second, fd, file}) close(each);
  map.check_all_frames(0, 16);
}

void a_ring_of_clones() {
  const int one = open_device(), two = open_device();
  call_clone(one, two);
  call_clone(two, one);
  close(one);
  close(two);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  const std::uint64_t rounds = options.scaled("rounds of clones", 20);
  for (std::uint64_t i = 0; i < rounds; i++) {
    outlives_the_origin();
    before_setup();
    refused();
    a_ring_of_clones();
  }
  ledger.check_balanced();
  return 0;
}

// SPDX-License-Identifier: MIT
// Every field of setup at 0, 1, its most, one more, negative and at random: what is wrong gets its errno and
// changes nothing, so that a right setup on the same fd still works.
#include "exmap_test.h"

#include <sys/socket.h>
#include <climits>

using namespace exmap_test;

namespace {

exmap_query limits() {
  exmap_query query{};
  query.size = sizeof query;
  const int fd = open_device();
  CHECK_RESULT(0, result_of(ioctl(fd, EXMAP_IOCTL_QUERY, &query)));
  close(fd);
  return query;
}

void expect(const exmap_ioctl_setup& setup, int result) {
  const int fd = open_device();
  const int got = call_setup(fd, setup);
  CHECK(got == result, "setup {fd %d, max_interfaces %d, buffer_size %zu, flags 0x%llx} gave %d (%s), not %d",
        setup.fd, setup.max_interfaces, setup.buffer_size, ull(setup.flags), got, strerror(-got), result);
  if (result < 0) CHECK_RESULT(0, call_setup(fd, 16, 1));
  CHECK_RESULT(-EBUSY, call_setup(fd, 16, 1));
  close(fd);
}

void descriptors() {
  int ends[2], sockets[2];
  CHECK(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "pipe: %s", strerror(errno));
  const int file = memfd_create("file", MFD_CLOEXEC), folder = open("/proc", O_RDONLY | O_DIRECTORY);
  const int path = open("/proc/self/exe", O_PATH), other = open_device();
  expect({-1, 1, 16, 0}, 0);
  expect({file, 1, 16, 0}, 0);
  expect({-2, 1, 16, 0}, -EBADF);
  expect({INT_MIN, 1, 16, 0}, -EBADF);
  expect({INT_MAX, 1, 16, 0}, -EBADF);
  expect({path, 1, 16, 0}, -EBADF);
  for (const int wrong : {ends[0], ends[1], sockets[0], folder, other}) {
    const int fd = open_device();
    CHECK_REFUSED(call_setup(fd, 16, 1, wrong));
    CHECK_REFUSED(call_setup(fd, 16, 1, fd));
    CHECK_RESULT(0, call_setup(fd, 16, 1));
    close(fd);
  }
  for (const int fd : {ends[0], ends[1], sockets[0], sockets[1], file, folder, path, other}) close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  const exmap_query query = limits();
  const int interfaces_max = static_cast<int>(query.interfaces_max);
  descriptors();
  expect({-1, 1, 1, 0}, 0);
  expect({-1, interfaces_max, 16, 0}, 0);
  for (const int wrong : {0, -1, INT_MIN, INT_MIN + 1, interfaces_max + 1, INT_MAX})
    expect({-1, wrong, 16, 0}, -EINVAL);
  expect({-1, 1, 0, 0}, -EINVAL);
  expect({-1, 1, query.frames_max + 1, 0}, -ENOMEM);
  for (unsigned shift = 40; shift < 64; shift++) expect({-1, 1, std::size_t{1} << shift, 0}, -ENOMEM);
  expect({-1, 1, ~std::size_t{0}, 0}, -ENOMEM);
  for (unsigned bit = 0; bit < 64; bit++) {
    const std::uint64_t flag = std::uint64_t{1} << bit;
    expect({-1, 1, 16, flag}, query.setup_flags & flag ? 0 : -EINVAL);
  }
  Random random(options.number("seed", 1));
  for (int i = 0; i < 200; i++)
    expect({-1, 1, 16, random.next() | 3}, -EINVAL);  // bits 0 and 1 were never implemented by anyone
  const int fd = open_device();
  for (const std::uintptr_t wrong :
       {std::uintptr_t{0}, std::uintptr_t{8}, ~std::uintptr_t{0}, std::uintptr_t{0xffff888000000000}})
    CHECK_RESULT(-EFAULT, result_of(ioctl(fd, EXMAP_IOCTL_SETUP, wrong)));
  CHECK_RESULT(0, call_setup(fd, 16, 1));
  close(fd);
  ledger.check_balanced();
  return 0;
}

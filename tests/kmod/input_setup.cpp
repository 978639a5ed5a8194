// SPDX-License-Identifier: MIT
// Every field of setup at 0, 1, its most, one more, negative and at random: what is wrong gets its
// errno and changes nothing, so that a right setup on the same fd still works. Flags count all or
// not at all: old clients leave the field undefined, so with one unknown bit the known ones have
// been set by chance.
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
  CHECK(got == result,
        "setup {fd %d, max_interfaces %d, buffer_size %zu, flags 0x%llx} gave %d (%s), not %d",
        setup.fd, setup.max_interfaces, setup.buffer_size, ull(setup.flags), got, strerror(-got),
        result);
  if (result < 0) CHECK_RESULT(0, call_setup(fd, 16, 1));
  CHECK_RESULT(-EBUSY, call_setup(fd, 16, 1));
  close(fd);
}

//! Setup succeeds, and of `flags` the bits `taken` count.
void expect_flags(std::uint64_t flags, std::uint64_t taken) {
  const int fd = open_device();
  CHECK_RESULT(0, call_setup(fd, 16, 1, -1, flags));
  exmap_ioctl_stats stats{};
  CHECK_RESULT(0, result_of(ioctl(fd, EXMAP_IOCTL_STATS, &stats)));
  CHECK(stats.flags == (EXMAP_STATE_READY | taken),
        "setup with flags 0x%llx: stats tell 0x%llx, not 0x%llx", ull(flags), ull(stats.flags),
        ull(EXMAP_STATE_READY | taken));
  char* const area = map_area(fd, 4);
  CHECK(area, "mmap: %s", strerror(errno));
  std::uint64_t value = 1;
  const int raised = try_read(reinterpret_cast<std::uint64_t*>(area), value);
  const bool zeros = (taken & EXMAP_SETUP_READ_FAULT_ZERO) != 0;
  CHECK(zeros ? raised == 0 && value == 0 : raised == SIGSEGV,
        "with flags 0x%llx a read of an unmapped page raises %d", ull(flags), raised);
  munmap(area, 4 * kPageSize);
  close(fd);
}

void flags(const exmap_query& query, std::uint64_t seed) {
  const std::uint64_t known = query.setup_flags;
  CHECK((known & 3) == 0, "the flags that were never implemented are offered");
  expect_flags(0, 0);
  expect_flags(known, known);
  for (unsigned bit = 0; bit < 64; bit++) {
    const std::uint64_t flag = std::uint64_t{1} << bit;
    expect_flags(flag, known & flag);
    if (!(known & flag)) expect_flags(known | flag, 0);
  }
  Random random(seed);
  for (int i = 0; i < 100; i++) expect_flags(random.next() | 3 | (random.below(2) ? known : 0), 0);
}

void descriptors() {
  int ends[2], sockets[2];
  CHECK(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "pipe: %s",
        strerror(errno));
  const int file = memfd_create("file", MFD_CLOEXEC),
            folder = open("/proc", O_RDONLY | O_DIRECTORY);
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
  for (const int fd : {ends[0], ends[1], sockets[0], sockets[1], file, folder, path, other})
    close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  catch_faults();
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
  for (unsigned shift = 40; shift < 64; shift++)
    expect({-1, 1, std::size_t{1} << shift, 0}, -ENOMEM);
  expect({-1, 1, ~std::size_t{0}, 0}, -ENOMEM);
  flags(query, options.number("seed", 1));
  const int fd = open_device();
  for (const std::uintptr_t wrong : {std::uintptr_t{0}, std::uintptr_t{8}, ~std::uintptr_t{0},
                                     std::uintptr_t{0xffff888000000000}})
    CHECK_RESULT(-EFAULT, result_of(ioctl(fd, EXMAP_IOCTL_SETUP, wrong)));
  CHECK_RESULT(0, call_setup(fd, 16, 1));
  close(fd);
  ledger.check_balanced();
  return 0;
}

// SPDX-License-Identifier: MIT
//
// What a fixed read costs by where in its buffer it goes: kernel buffers of 1 to 262144 pages beside one of the user's.
// The file is /dev/zero, so there is nothing to wait for, and with tools/vm --icount nanoseconds are instructions.
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

namespace {

constexpr std::uint64_t kPageSize = 4096;
constexpr unsigned kBuffers = 16, kRounds = 200;
constexpr unsigned kUserPages = 65536;

[[noreturn]] void fail(const char* what, int result) {
  std::printf("%s: %d\n", what, result);
  std::exit(1);
}

int run_one(io_uring& ring) {
  io_uring_cqe* completion = nullptr;
  if (const int result = io_uring_submit_and_wait(&ring, 1); result < 0) return result;
  if (const int result = io_uring_wait_cqe(&ring, &completion); result < 0) return result;
  const int result = completion->res;
  io_uring_cqe_seen(&ring, completion);
  return result;
}

//! The least of many reads of a page at `address`: a kernel buffer begins at 0.
long read_ns(io_uring& ring, int file, std::uint64_t address, unsigned buffer) {
  long least = -1;
  for (unsigned round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    io_uring_prep_read_fixed(io_uring_get_sqe(&ring), file, reinterpret_cast<void*>(address), kPageSize, 0,
                             static_cast<int>(buffer));
    if (const int result = run_one(ring); result != static_cast<int>(kPageSize)) fail("read", result);
    const long ns = static_cast<long>((std::chrono::steady_clock::now() - start).count());
    least = least < 0 ? ns : std::min(least, ns);
  }
  return least;
}

void show(const char* whose, unsigned pages, long first, long last) {
  std::printf("%-6s buffer of %6u pages: %7ld for the first page, %7ld for the last\n", whose, pages, first,
              last);
}

}  // namespace

int main() {
  const int device = open("/dev/kernel_buffer", O_RDWR);
  const int zeros = open("/dev/zero", O_RDWR);
  if (device < 0 || zeros < 0) fail("open", device);
  io_uring ring{};
  if (const int result = io_uring_queue_init(8, &ring, 0); result < 0) fail("io_uring_queue_init", result);
  if (const int result = io_uring_register_buffers_sparse(&ring, kBuffers); result < 0)
    fail("sparse", result);
  unsigned buffer = 0;
  for (const unsigned pages : {1u, 16u, 256u, 1024u, 4096u, 65536u, 262144u}) {
    io_uring_sqe* const command = io_uring_get_sqe(&ring);
    io_uring_prep_rw(IORING_OP_URING_CMD, command, device, nullptr, 0, 0);
    command->cmd_op = pages | buffer << 24;
    if (const int result = run_one(ring); result < 0) fail("registering a kernel buffer", result);
    show("kernel", pages, read_ns(ring, zeros, 0, buffer),
         read_ns(ring, zeros, (pages - 1) * kPageSize, buffer));
    ++buffer;
  }
  void* const memory =
      mmap(nullptr, kUserPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("mmap", 0);
  madvise(memory, kUserPages * kPageSize, MADV_NOHUGEPAGE);
  const iovec all{memory, kUserPages * kPageSize};
  __u64 tag = 0;
  if (const int result = io_uring_register_buffers_update_tag(&ring, buffer, &all, &tag, 1); result < 0)
    fail("registering a buffer", result);
  const auto base = reinterpret_cast<std::uint64_t>(memory);
  show("user", kUserPages, read_ns(ring, zeros, base, buffer),
       read_ns(ring, zeros, base + (kUserPages - 1) * kPageSize, buffer));
  io_uring_queue_exit(&ring);
  return 0;
}

// SPDX-License-Identifier: MIT
#include "storage/registered_memory.hpp"

#include <liburing.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <vector>

namespace vmcache {
namespace {

// Newer than the headers of Debian 12; Linux 6.12, include/uapi/linux/io_uring.h.
constexpr unsigned kRegisterCloneBuffers = 30;
struct CloneBuffers {
  std::uint32_t src_fd;
  std::uint32_t flags;
  std::uint32_t src_off, dst_off, nr;  // all 0: all of them
  std::uint32_t pad[3];
};

//! 0 or an errno.
int clone_buffers(int to, int from) noexcept {
  CloneBuffers arguments{};
  arguments.src_fd = static_cast<std::uint32_t>(from);
  return ::syscall(__NR_io_uring_register, to, kRegisterCloneBuffers, &arguments, 1) == 0 ? 0
                                                                                          : errno;
}

}  // namespace

RegisteredMemory::RegisteredMemory(std::span<std::byte> memory,
                                   std::unique_ptr<io_uring> ring) noexcept
    : _memory(memory), _ring(std::move(ring)) {}

std::shared_ptr<RegisteredMemory> RegisteredMemory::make(std::span<std::byte> memory, int& error) {
  auto ring = std::make_unique<io_uring>();
  error = -::io_uring_queue_init(1, ring.get(), 0);
  if (error != 0) return nullptr;
  std::shared_ptr<RegisteredMemory> made(new RegisteredMemory(memory, std::move(ring)));
  error = made->register_with(*made->_ring);
  return error == 0 ? made : nullptr;
}

RegisteredMemory::~RegisteredMemory() {
  ::io_uring_queue_exit(_ring.get());
}

int RegisteredMemory::register_with(io_uring& ring) const {
  std::vector<iovec> stretches;
  for (std::size_t at = 0; at < _memory.size(); at += kStretchBytes) {
    stretches.push_back({_memory.data() + at, std::min(kStretchBytes, _memory.size() - at)});
  }
  return -::io_uring_register_buffers(&ring, stretches.data(),
                                      static_cast<unsigned>(stretches.size()));
}

bool RegisteredMemory::lend(io_uring& ring) const noexcept {
  if (retired()) return false;
  const int error = clone_buffers(ring.ring_fd, _ring->ring_fd);
  return error == 0 || (error == EINVAL && register_with(ring) == 0);
}

void RegisteredMemory::retire() noexcept {
  if (!_retired.exchange(true, std::memory_order_relaxed))
    (void)::io_uring_unregister_buffers(_ring.get());
}

}  // namespace vmcache

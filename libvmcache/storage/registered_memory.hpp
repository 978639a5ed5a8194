// SPDX-License-Identifier: MIT
//
// Memory that is registered with io_uring (registered buffers). The kernel pins it once, for all
// rings of a storage.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>

struct io_uring;

namespace vmcache {

//! Thread-safe.
class RegisteredMemory {
 public:
  //! Registers page-aligned `memory` once, with a ring of its own. If the kernel refuses it,
  //! returns null and sets `error` to the errno: EOPNOTSUPP before Linux 6.5 for a device's pages,
  //! ENOMEM above RLIMIT_MEMLOCK.
  [[nodiscard]] static std::shared_ptr<RegisteredMemory> make(std::span<std::byte> memory,
                                                              int& error);
  ~RegisteredMemory();
  RegisteredMemory(const RegisteredMemory&) = delete;
  RegisteredMemory& operator=(const RegisteredMemory&) = delete;

  //! Registers all of the memory with `ring`, which has no buffers yet. Linux 6.12 and later share
  //! the pins with the other rings; older kernels pin once more. False if the kernel refuses it.
  [[nodiscard]] bool lend(io_uring& ring) const noexcept;
  //! Number of the registered buffer that `data` lies in. A transfer must not cross a multiple of
  //! kStretchBytes from the start of the memory.
  [[nodiscard]] unsigned index_of(const std::byte* data) const noexcept {
    return static_cast<unsigned>(static_cast<std::size_t>(data - _memory.data()) / kStretchBytes);
  }

  //! Asks all rings to drop the memory, each as soon as it has nothing in flight.
  void retire() noexcept;
  [[nodiscard]] bool retired() const noexcept { return _retired.load(std::memory_order_relaxed); }

 private:
  //! The kernel's limit for one buffer.
  static constexpr std::size_t kStretchBytes = std::size_t{1} << 30;

  RegisteredMemory(std::span<std::byte> memory, std::unique_ptr<io_uring> ring) noexcept;
  [[nodiscard]] int register_with(io_uring& ring) const;

  std::span<std::byte> _memory;
  std::unique_ptr<io_uring> _ring;  // never submits anything
  std::atomic<bool> _retired{false};
};

}  // namespace vmcache

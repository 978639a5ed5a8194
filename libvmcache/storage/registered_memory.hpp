// SPDX-License-Identifier: MIT
//
// Memory that io_uring holds pinned and looked up for good (registered buffers), shared by all rings of a storage.
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
  //! Registers `memory`, page-aligned, once, with a ring of its own. Null and the errno in `error` if the kernel refuses
  //! it: EOPNOTSUPP before Linux 6.5 for a device's pages, ENOMEM over RLIMIT_MEMLOCK.
  [[nodiscard]] static std::shared_ptr<RegisteredMemory> make(std::span<std::byte> memory, int& error);
  ~RegisteredMemory();
  RegisteredMemory(const RegisteredMemory&) = delete;
  RegisteredMemory& operator=(const RegisteredMemory&) = delete;

  //! Gives `ring`, which has no buffers yet, all of it: shared with the others where the kernel can (Linux 6.12), else
  //! pinned once more. False if it is refused.
  [[nodiscard]] bool lend(io_uring& ring) const noexcept;
  //! Number of the buffer that `data` lies in. The transfer must not leave a stretch of kStretchBytes.
  [[nodiscard]] unsigned index_of(const std::byte* data) const noexcept {
    return static_cast<unsigned>(static_cast<std::size_t>(data - _memory.data()) / kStretchBytes);
  }

  //! The memory is wanted back: rings are to let go of it when they have nothing in flight.
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

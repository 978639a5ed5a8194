// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <utility>

#include "vmcache/error.hpp"

namespace vmcache {

//! Address space without memory behind it: pages appear, zeroed, when they are written first.
class Reservation {
 public:
  Reservation() noexcept = default;
  //! Throws Error kOutOfMemory, saying what the space was for.
  Reservation(std::size_t bytes, const char* purpose) : _bytes(bytes) {
    void* memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      throw Error(Status{Errc::kOutOfMemory, errno, kNoPage},
                  "reserving " + std::to_string(bytes) + " bytes of address space for " + purpose);
    }
    _memory = static_cast<std::byte*>(memory);
  }
  Reservation(Reservation&& other) noexcept
      : _memory(std::exchange(other._memory, nullptr)), _bytes(std::exchange(other._bytes, 0)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    std::swap(_memory, other._memory);
    std::swap(_bytes, other._bytes);
    return *this;
  }
  ~Reservation() {
    if (_memory) ::munmap(_memory, _bytes);
  }

  //! Advice the kernel may refuse: it is about speed alone.
  void advise(int advice) const noexcept { (void)::madvise(_memory, _bytes, advice); }
  [[nodiscard]] std::byte* data() const noexcept { return _memory; }
  [[nodiscard]] std::size_t bytes() const noexcept { return _bytes; }

 private:
  std::byte* _memory = nullptr;
  std::size_t _bytes = 0;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <utility>

namespace vmcache {

//! Reserves address space. Its pages have no memory until they are first written; then they are
//! zeroed.
//!
//! The space is never locked, not even under mlockall(), because it is as large as the capacity and
//! its pages must be able to leave. It is first mapped without access, because MCL_FUTURE would
//! otherwise fill it at once.
class Reservation {
 public:
  Reservation() noexcept = default;
  //! Reserves `bytes`, a size that follows from PoolOptions::capacity_bytes. Throws Error
  //! kOutOfMemory. The message names `purpose`, capacity_bytes, and the limit of the process or the
  //! system that is in the way, if that is known.
  Reservation(std::size_t bytes, const char* purpose);
  Reservation(Reservation&& other) noexcept
      : _memory(std::exchange(other._memory, nullptr)),
        _bytes(std::exchange(other._bytes, 0)),
        _unlocked(other._unlocked) {}
  Reservation& operator=(Reservation&& other) noexcept {
    std::swap(_memory, other._memory);
    std::swap(_bytes, other._bytes);
    std::swap(_unlocked, other._unlocked);
    return *this;
  }
  ~Reservation();

  //! Gives madvise() for the whole space. A refusal is ignored, because the advice is only about
  //! speed.
  void advise(int advice) const noexcept { advise(0, _bytes, advice); }
  //! The same for a part, which begins at a page.
  void advise(std::size_t offset, std::size_t bytes, int advice) const noexcept;
  //! From now on a child of fork() finds zeros in the space, and cannot change the parent's pages.
  void wipe_on_fork() const noexcept;
  //! True if mlockall(MCL_FUTURE) had locked the space and the constructor has unlocked it.
  [[nodiscard]] bool unlocked() const noexcept { return _unlocked; }
  [[nodiscard]] std::byte* data() const noexcept { return _memory; }
  [[nodiscard]] std::size_t bytes() const noexcept { return _bytes; }

 private:
  std::byte* _memory = nullptr;
  std::size_t _bytes = 0;
  bool _unlocked = false;
};

}  // namespace vmcache

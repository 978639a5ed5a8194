// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace vmcache {

//! A number of units of a resource that an `Account` has reserved. The destructor gives them back.
//! A default-constructed one means that the account had too few left. Belongs to one thread at a
//! time.
template <typename Account>
class CountedReservation {
 public:
  CountedReservation() noexcept = default;
  CountedReservation(CountedReservation&& other) noexcept
      : _counter(std::exchange(other._counter, nullptr)), _count(other._count) {}
  CountedReservation& operator=(CountedReservation&& other) noexcept {
    std::swap(_counter, other._counter);
    std::swap(_count, other._count);
    return *this;
  }
  ~CountedReservation() {
    // Pairs with the acquire of later reservations: whoever sees the units as given back sees what
    // was done with them.
    if (_counter != nullptr && _count > 0) _counter->fetch_sub(_count, std::memory_order_release);
  }
  //! Whether the units were reserved.
  [[nodiscard]] explicit operator bool() const noexcept { return _counter != nullptr; }

 private:
  friend Account;
  CountedReservation(std::atomic<std::uint64_t>& counter, std::uint64_t count) noexcept
      : _counter(&counter), _count(count) {}

  std::atomic<std::uint64_t>* _counter = nullptr;
  std::uint64_t _count = 0;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "recovery/place_of_thread.hpp"
#include "vmcache/log.hpp"

namespace vmcache {

//! Room in the log for what is about to be appended (R10). Thread-safe.
//!
//! The log has two shares besides the last eighth, which is for snapshots. What is small enough for it goes by the *quick* share, a
//! sixteenth of the log: each of a few places may have its part of it on the way, so that who comes and goes there writes to a
//! line that few others use. All else is counted in one place.
//!
//! Invariant: used + taken + quick <= most(), where quick <= capacity / 16 at any time, whatever is used, because each place bounds its
//! part. Who comes by either way looks at used + taken, and leaves the whole quick share free. What is used is read after the
//! rest: who appends gives its room back afterwards, so its bytes are counted at least once.
class LogRoom {
 public:
  explicit LogRoom(const WriteAheadLog& log) noexcept : _log(log) {}

  //! The most that may be used, but for snapshots.
  [[nodiscard]] std::uint64_t most() const noexcept { return _log.capacity_bytes() / 8 * 7; }
  //! The most that can be held at once: then there is room for it after a checkpoint.
  [[nodiscard]] std::uint64_t most_held() const noexcept { return most() / 2; }

  //! Room that is held until what it was taken for has been appended.
  class Held {
   public:
    Held() noexcept = default;
    Held(Held&& other) noexcept : _counter(std::exchange(other._counter, nullptr)), _bytes(other._bytes) {}
    Held& operator=(Held&&) = delete;
    ~Held() {
      // Pairs with the acquire of those who take it next: what was appended is seen as used.
      if (_counter != nullptr) _counter->fetch_sub(_bytes, std::memory_order_release);
    }
    [[nodiscard]] explicit operator bool() const noexcept { return _counter != nullptr; }

   private:
    friend class LogRoom;
    Held(std::atomic<std::uint64_t>& counter, std::uint64_t bytes) noexcept
        : _counter(&counter), _bytes(bytes) {}

    std::atomic<std::uint64_t>* _counter = nullptr;
    std::uint64_t _bytes = 0;
  };

  //! Holds nothing if there is no room before the next checkpoint.
  [[nodiscard]] Held try_take(std::uint64_t bytes) noexcept {
    std::atomic<std::uint64_t>& quick = _places[place_of_thread() % kPlaces].quick;
    const std::uint64_t part = quick_share() / kPlaces;
    if (bytes <= part) {
      if (quick.fetch_add(bytes, std::memory_order_acq_rel) + bytes <= part &&
          leaves_quick_share(_taken.load(std::memory_order_acquire)))
        return {quick, bytes};
      quick.fetch_sub(bytes, std::memory_order_release);
    }
    if (leaves_quick_share(_taken.fetch_add(bytes, std::memory_order_acq_rel) + bytes))
      return {_taken, bytes};
    _taken.fetch_sub(bytes, std::memory_order_release);
    return {};
  }

 private:
  static constexpr std::size_t kPlaces = 64;
  struct alignas(64) Place {
    std::atomic<std::uint64_t> quick{0};
  };

  [[nodiscard]] std::uint64_t quick_share() const noexcept { return _log.capacity_bytes() / 16; }
  [[nodiscard]] bool leaves_quick_share(std::uint64_t taken) const noexcept {
    return _log.used_bytes() + taken <= most() - quick_share();
  }

  const WriteAheadLog& _log;
  std::array<Place, kPlaces> _places;
  alignas(64) std::atomic<std::uint64_t> _taken{0};
};

}  // namespace vmcache

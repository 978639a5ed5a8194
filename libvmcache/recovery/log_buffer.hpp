// SPDX-License-Identifier: MIT
//
// The part of a log that is in memory because it is not durable yet: byte lsn % size(). Appenders reserve pieces one behind
// the other with one compare-and-swap, fill them side by side, and never wait for each other; the log's writer takes the
// part that is filled without a hole.
//
// Invariants
//  B1  The piece [b, e) belongs to the appender whose compare-and-swap has moved the end from b to e. So positions are
//      in the order of reservations.
//  B2  From before that compare-and-swap until the piece is filled, a place of the appender's own holds a position <= b.
//  B3  filled() reads the end first and then the places: whatever was reserved before the end was read is filled, or a place
//      speaks for it. (In the other order an appender could announce itself behind the look and reserve before it.)
//  B4  A piece is reserved only where the writer has let go of the bytes that were there: below the caller's limit.
// Nobody waits with a place: the writer could not get past it, and nobody would make room.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "recovery/place_of_thread.hpp"
#include "vmcache/processor.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

//! Thread-safe but for start().
class LogBuffer {
  using Place = std::atomic<Lsn>;

 public:
  //! At least two of the longest records, and the page that the last write has ended in.
  static constexpr std::size_t kLeastBytes = std::size_t{4} << 20;
  static constexpr std::size_t kMostBytes = std::size_t{16} << 20;

  //! For a log of that capacity.
  explicit LogBuffer(std::uint64_t capacity)
      : _size(std::clamp<std::size_t>(std::bit_floor(capacity), kLeastBytes, kMostBytes)),
        _memory(static_cast<std::byte*>(std::aligned_alloc(kHugePage, _size))) {
    if (_memory == nullptr) throw std::bad_alloc();
    // So that a write of a megabyte is one piece of memory for the device, not 256.
    (void)::madvise(_memory.get(), _size, MADV_HUGEPAGE);
    for (Slot& slot : _places) slot.place.store(kIdle, std::memory_order_relaxed);
  }

  //! The log goes on at `end`; `page` are the bytes before it in its page.
  void start(Lsn end, std::span<const std::byte> page) noexcept {
    copy_in(end - page.size(), page.data(), page.size());
    _end.store(end, std::memory_order_seq_cst);
  }
  [[nodiscard]] std::size_t size() const noexcept { return _size; }
  //! End of the last piece, filled or not.
  [[nodiscard]] Lsn end() const noexcept { return _end.load(std::memory_order_acquire); }
  //! For writing: who reads it first and moves it then would ask for its line twice.
  void prefetch_end() const noexcept { prefetch_for_write(&_end); }
  //! The same for the bytes that reserve() would give now.
  void prefetch_piece(std::size_t size) const noexcept {
    constexpr std::size_t kLine = 64;
    constexpr std::size_t kMost = 512;
    const Lsn at = _end.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < std::min(size, kMost); i += kLine)
      prefetch_for_write(_memory.get() + place_of(at + i));
  }
  //! Everything before this position is filled, and seen by the caller.
  [[nodiscard]] Lsn filled() const noexcept {
    Lsn least = _end.load(std::memory_order_seq_cst);  // B3; pairs with the compare-and-swap in reserve()
    for (const Slot& slot : _places) {
      // Pairs with the release store of ~Piece(), so that its bytes are seen.
      least = std::min(least, slot.place.load(std::memory_order_seq_cst));
    }
    return least;
  }

  //! A reserved piece, to be filled from its begin to its end.
  class Piece {
   public:
    Piece(Piece&& other) noexcept
        : _buffer(other._buffer),
          _place(std::exchange(other._place, nullptr)),
          _begin(other._begin),
          _at(other._at) {}
    Piece& operator=(Piece&&) = delete;
    ~Piece() {
      if (_place != nullptr) _place->store(kIdle, std::memory_order_release);
    }
    //! False if there was no room.
    [[nodiscard]] explicit operator bool() const noexcept { return _place != nullptr; }
    [[nodiscard]] Lsn begin() const noexcept { return _begin; }
    void fill(const void* bytes, std::size_t size) noexcept {
      _buffer.copy_in(_at, bytes, size);
      _at += size;
    }

   private:
    friend class LogBuffer;
    explicit Piece(LogBuffer& buffer) noexcept : _buffer(buffer) {}

    LogBuffer& _buffer;
    Place* _place = nullptr;
    Lsn _begin = 0;
    Lsn _at = 0;
  };

  //! A piece of `size` bytes, or none if it would end beyond `limit`.
  [[nodiscard]] Piece reserve(std::size_t size, Lsn limit) noexcept {
    Piece piece(*this);
    Place& place = take_place();
    Lsn begin = _end.load(std::memory_order_relaxed);
    do {
      if (begin + size > limit) {
        place.store(kIdle, std::memory_order_relaxed);
        return piece;
      }
    } while (!_end.compare_exchange_weak(begin, begin + size, std::memory_order_seq_cst));
    piece._place = &place;
    piece._begin = piece._at = begin;
    return piece;
  }

  //! The bytes from `at` on, as far as they lie together.
  [[nodiscard]] std::span<const std::byte> bytes_at(Lsn at) const noexcept {
    return {_memory.get() + place_of(at), _size - place_of(at)};
  }

 private:
  static constexpr Lsn kIdle = ~Lsn{0};
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  //! Appends that can go on at the same moment; more threads take turns.
  static constexpr std::size_t kPlaces = 64;
  struct alignas(64) Slot {
    Place place;
  };
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };

  //! B2: announces a position that no later reservation of this thread can lie before.
  [[nodiscard]] Place& take_place() noexcept {
    for (std::size_t n = place_of_thread();; ++n) {
      Place& place = _places[n % kPlaces].place;
      Lsn idle = kIdle;
      if (place.compare_exchange_strong(idle, _end.load(std::memory_order_relaxed),
                                        std::memory_order_seq_cst))
        return place;
    }
  }
  void copy_in(Lsn at, const void* bytes, std::size_t size) noexcept {
    const auto* from = static_cast<const std::byte*>(bytes);
    const std::size_t first = std::min<std::size_t>(size, _size - place_of(at));
    if (first > 0) std::memcpy(_memory.get() + place_of(at), from, first);
    if (size > first) std::memcpy(_memory.get(), from + first, size - first);
  }

  [[nodiscard]] std::size_t place_of(Lsn at) const noexcept { return at & (_size - 1); }

  const std::size_t _size;  // a power of two
  const std::unique_ptr<std::byte, Free> _memory;
  alignas(64) std::atomic<Lsn> _end{0};
  std::array<Slot, kPlaces> _places;
};

}  // namespace vmcache

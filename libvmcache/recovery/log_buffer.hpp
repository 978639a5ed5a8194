// SPDX-License-Identifier: MIT
//
// The part of a log that is not durable yet, in memory. Byte `lsn` of the log is byte lsn % size()
// of the buffer. An appender reserves a piece with one compare-and-swap and then fills it.
// Appenders never wait for each other. The log's writer takes everything before the first piece
// that is not filled.
//
// Invariants
//  B1  The piece [b, e) belongs to the appender whose compare-and-swap has moved the end from b to
//      e. So pieces lie in the order in which they were reserved.
//  B2  From before that compare-and-swap until the piece is filled, a slot of the appender's own
//      holds a position <= b.
//  B3  filled() reads the end first and then the slots. Any piece that was reserved before the end
//      was read is filled, or a slot holds a position at or before it. In the other order an
//      appender could set its slot after filled() has read it, and reserve before the end is read.
//  B4  A piece is reserved only below the caller's limit, where the writer no longer needs the
//      bytes of the last round.
// No thread waits while it holds a slot. The writer could not get past that slot, so it would free
// no bytes.
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

#include "recovery/thread_slot.hpp"
#include "vmcache/detail/processor.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

//! Thread-safe, except for start().
class LogBuffer {
  using Place = std::atomic<Lsn>;

 public:
  //! Holds at least two of the longest records, and the page in which the last write has ended.
  static constexpr std::size_t kMinBytes = std::size_t{4} << 20;
  static constexpr std::size_t kMaxBytes = std::size_t{16} << 20;

  //! `capacity` is that of the log, in bytes. Throws std::bad_alloc.
  explicit LogBuffer(std::uint64_t capacity)
      : _size(std::clamp<std::size_t>(std::bit_floor(capacity), kMinBytes, kMaxBytes)),
        _memory(static_cast<std::byte*>(std::aligned_alloc(kHugePage, _size))) {
    if (_memory == nullptr) throw std::bad_alloc();
    // With huge pages the device gets a write of a megabyte as one piece of memory, not as 256.
    (void)::madvise(_memory.get(), _size, MADV_HUGEPAGE);
    for (Slot& slot : _places) slot.place.store(kIdle, std::memory_order_relaxed);
  }

  //! The log goes on at `end`. `page` holds the bytes before it in the same page.
  void start(Lsn end, std::span<const std::byte> page) noexcept {
    copy_in(end - page.size(), page.data(), page.size());
    _end.store(end, std::memory_order_seq_cst);
  }
  [[nodiscard]] std::size_t size() const noexcept { return _size; }
  //! The end of the last piece that was reserved, whether it is filled or not.
  [[nodiscard]] Lsn end() const noexcept { return _end.load(std::memory_order_acquire); }
  //! Prefetches the end for writing. A thread that reads it first and writes it later would
  //! otherwise fetch its cache line twice.
  void prefetch_end() const noexcept { prefetch_for_write(&_end); }
  //! Prefetches the bytes that reserve() would return now.
  void prefetch_piece(std::size_t size) const noexcept {
    constexpr std::size_t kLine = 64;
    constexpr std::size_t kMax = 512;
    const Lsn at = _end.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < std::min(size, kMax); i += kLine)
      prefetch_for_write(_memory.get() + place_of(at + i));
  }
  //! Everything before this position is filled, and the caller sees the bytes.
  [[nodiscard]] Lsn filled() const noexcept {
    // B3; pairs with the compare-and-swap in reserve()
    Lsn min = _end.load(std::memory_order_seq_cst);
    for (const Slot& slot : _places) {
      // Pairs with the release store of ~Piece(), so that its bytes are seen.
      min = std::min(min, slot.place.load(std::memory_order_seq_cst));
    }
    return min;
  }

  //! A reserved piece. Its owner fills it from its begin to its end, and then destroys it.
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
    //! False if nothing was reserved.
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

  //! Reserves a piece of `size` bytes, or none if it would end beyond `limit`.
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

  //! The bytes from `at` up to the end of the buffer's memory.
  [[nodiscard]] std::span<const std::byte> bytes_at(Lsn at) const noexcept {
    return {_memory.get() + place_of(at), _size - place_of(at)};
  }

 private:
  static constexpr Lsn kIdle = ~Lsn{0};
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  //! Appends that can be under way at the same time. More threads take turns.
  static constexpr std::size_t kPlaces = 64;
  struct alignas(64) Slot {
    Place place;
  };
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };

  //! B2: takes a slot, with a position that is not behind any piece which this thread reserves
  //! later.
  [[nodiscard]] Place& take_place() noexcept {
    for (std::size_t n = thread_slot();; ++n) {
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

// SPDX-License-Identifier: MIT
//
// One thread's share of a rung: which block comes next, the buffers, what completed and how long it
// took. The interfaces differ, this is the same for all, and none of it is a virtual call.
#pragma once

#include <x86intrin.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "common/histogram.hpp"
#include "common/random.hpp"
#include "io/block_mark.hpp"
#include "io/layer.hpp"

namespace vmbench {

struct LaneConfig {
  const Layer* layer = nullptr;
  unsigned depth = 1;
  unsigned batch = 1;
  std::uint64_t io_bytes = kBlock;
  bool write = false;
  std::uint64_t seed = 1;  //!< of the places
  std::uint64_t salt = 1;  //!< what a write of this run leaves in the block
};

//! A transfer that may be in flight.
struct IoSlot {
  std::byte* buffer = nullptr;
  std::uint64_t number = 0;  //!< of its first block in the layer
  unsigned device = 0;
  std::uint64_t offset = 0;  //!< bytes on that device
  std::uint64_t started_ticks = 0;
};

class IoLane {
 public:
  explicit IoLane(const LaneConfig& config);
  IoLane(const IoLane&) = delete;
  IoLane& operator=(const IoLane&) = delete;

  [[nodiscard]] const LaneConfig& config() const { return _config; }
  [[nodiscard]] std::vector<IoSlot>& slots() { return _slots; }

  //! A phase of `ios` transfers, or, where that is 0, one that takes `ticks` of the time stamp
  //! counter.
  void begin(std::uint64_t ios, std::uint64_t ticks);
  //! One more transfer is to be started; counts it.
  [[nodiscard]] bool more() {
    if (_left == 0 || _now_ticks >= _deadline_ticks) return false;
    _left--;
    return true;
  }

  //! Picks the next place at random and, for a write, fills the buffer.
  void start(IoSlot& slot) {
    const std::uint64_t io = _random.below(_ios_in_span);
    const Layer::Place place = _config.layer->place(io * _config.io_bytes);
    slot.number = io * _blocks_an_io;
    slot.device = place.device;
    slot.offset = place.offset;
    if (_config.write) mark(slot);
    slot.started_ticks = __rdtsc();
  }

  //! `result`: bytes transferred, or minus errno. Throws RungMissing with the errno for a transfer
  //! that failed, WrongData for one that brought other bytes than were written.
  void finish(const IoSlot& slot, std::int64_t result) {
    _now_ticks = __rdtsc();
    if (result != static_cast<std::int64_t>(_config.io_bytes)) failed(slot, result);
    if (!_config.write && _config.layer->verified) verify(slot);
    _latency_ticks.add(_now_ticks - slot.started_ticks);
    _ios++;
  }

  //! A polled interface found nothing to do, and it took so long to see that.
  void add_empty_poll(std::uint64_t ticks) { _empty_poll_ticks += ticks; }

  //! The same, where the library has measured it.
  void add_empty_poll_ns(std::uint64_t ns) { _empty_poll_ns += ns; }

  //! Since begin().
  [[nodiscard]] std::uint64_t ios() const { return _ios; }
  [[nodiscard]] std::uint64_t empty_poll_ticks() const { return _empty_poll_ticks; }
  [[nodiscard]] std::uint64_t empty_poll_ns() const { return _empty_poll_ns; }
  [[nodiscard]] const Histogram& latency_ticks() const { return _latency_ticks; }

  //! Reads some of the blocks again that were written last, through `fds`; throws WrongData.
  void check_written(const std::vector<int>& fds);

 private:
  void mark(const IoSlot& slot);
  void verify(const IoSlot& slot) const {
    for (std::uint64_t i = 0; i < _blocks_an_io; i++)
      if (!block_is(slot.buffer + i * kBlock, slot.number + i)) wrong(slot, i);
  }
  [[noreturn]] void wrong(const IoSlot& slot, std::uint64_t block) const;
  [[noreturn]] void failed(const IoSlot& slot, std::int64_t result) const;

  struct FreeDeleter {
    void operator()(void* memory) const { std::free(memory); }
  };

  LaneConfig _config;
  std::uint64_t _blocks_an_io;
  std::uint64_t _ios_in_span;
  SplitMix64 _random;
  std::uint64_t _left = 0;
  std::uint64_t _deadline_ticks = 0;
  std::uint64_t _now_ticks = 0;
  std::uint64_t _ios = 0;
  std::uint64_t _empty_poll_ticks = 0;
  std::uint64_t _empty_poll_ns = 0;
  Histogram _latency_ticks;
  std::unique_ptr<std::byte, FreeDeleter> _memory;
  std::vector<IoSlot> _slots;
  std::vector<std::uint64_t> _written;  // a ring of the last block numbers
  std::size_t _written_at = 0;
};

}  // namespace vmbench

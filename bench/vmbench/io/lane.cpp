// SPDX-License-Identifier: MIT
#include "io/lane.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <new>

#include "io/errors.hpp"

namespace vmbench {

namespace {

constexpr std::size_t kRemembered = 256;

}  // namespace

IoLane::IoLane(const LaneConfig& config)
    : _config(config),
      _blocks_an_io(config.io_bytes / kBlock),
      _ios_in_span(config.layer->span_bytes / config.io_bytes),
      _random(SplitMix64::mix(config.seed)),
      _slots(config.depth) {
  const std::size_t bytes = config.depth * config.io_bytes;
  _memory.reset(static_cast<std::byte*>(std::aligned_alloc(kBlock, bytes)));
  if (_memory == nullptr) throw std::bad_alloc();
  std::memset(_memory.get(), 0xa5, bytes);  // touched, so that no transfer pays for a page fault
  for (unsigned i = 0; i < config.depth; i++)
    _slots[i].buffer = _memory.get() + i * config.io_bytes;
}

void IoLane::begin(std::uint64_t ios, std::uint64_t ticks) {
  _now_ticks = __rdtsc();
  _left = ios != 0 ? ios : std::numeric_limits<std::uint64_t>::max();
  _deadline_ticks = ios != 0 ? std::numeric_limits<std::uint64_t>::max() : _now_ticks + ticks;
  _ios = 0;
  _empty_poll_ticks = 0;
  _empty_poll_ns = 0;
  _latency_ticks = Histogram{};
}

void IoLane::mark(const IoSlot& slot) {
  for (std::uint64_t i = 0; i < _blocks_an_io; i++)
    mark_block(slot.buffer + i * kBlock, slot.number + i, _config.salt);
  if (_written.size() < kRemembered)
    _written.push_back(slot.number);
  else
    _written[_written_at++ % kRemembered] = slot.number;
}

void IoLane::wrong(const IoSlot& slot, std::uint64_t block) const {
  BlockMark found{};
  std::memcpy(&found, slot.buffer + block * kBlock, sizeof found);
  throw WrongData(
      fmt::format("block {} of {}, byte {}: the read brought {}", slot.number + block,
                  _config.layer->devices[slot.device].path, slot.offset + block * kBlock,
                  found.magic == kBlockMagic ? fmt::format("block {}", found.number)
                                             : std::string("bytes that vmbench did not write")));
}

void IoLane::failed(const IoSlot& slot, std::int64_t result) const {
  const std::string what =
      fmt::format("{} of {} bytes at byte {} of {}", _config.write ? "write" : "read",
                  _config.io_bytes, slot.offset, _config.layer->devices[slot.device].path);
  if (result < 0)
    throw RungMissing(fmt::format("{}: {}", what, std::strerror(static_cast<int>(-result))));
  throw RungMissing(fmt::format("{}: {} bytes transferred", what, result));
}

void IoLane::check_written(const std::vector<int>& fds) {
  IoSlot& slot = _slots.front();
  for (const std::uint64_t number : _written) {
    const Layer::Place place = _config.layer->place(number * kBlock);
    slot.number = number;
    slot.device = place.device;
    slot.offset = place.offset;
    const ssize_t got =
        pread(fds[place.device], slot.buffer, _config.io_bytes, static_cast<off_t>(place.offset));
    if (got != static_cast<ssize_t>(_config.io_bytes)) failed(slot, got < 0 ? -errno : got);
    verify(slot);
    if (block_salt(slot.buffer) != _config.salt)
      throw WrongData(
          fmt::format("block {}: a write that was called a success is not there", number));
  }
}

}  // namespace vmbench

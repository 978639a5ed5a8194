// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <span>

#include "io/errors.hpp"
#include "io/ways.hpp"

namespace vmbench {

namespace {

class MmapWay final : public IoWay {
 public:
  explicit MmapWay(IoLane& lane)
      : _lane(lane), _open(*lane.config().layer, lane.config().write ? O_RDWR : O_RDONLY) {
    const Layer& layer = *lane.config().layer;
    const int protection = PROT_READ | (lane.config().write ? PROT_WRITE : 0);
    const std::size_t bytes = layer.span_bytes / layer.devices.size();
    for (const int fd : _open.fds()) {
      void* address = mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
      if (address == MAP_FAILED) throw RungMissing(fmt::format("mmap: {}", std::strerror(errno)));
      _maps.emplace_back(static_cast<std::byte*>(address), bytes);
      madvise(address, bytes, MADV_RANDOM);
    }
  }
  ~MmapWay() override {
    for (const std::span<std::byte> map : _maps) munmap(map.data(), map.size());
  }

  void run() override {
    IoSlot& slot = _lane.slots().front();
    const std::size_t bytes = _lane.config().io_bytes;
    while (_lane.more()) {
      _lane.start(slot);
      std::byte* place = _maps[slot.device].data() + slot.offset;
      if (_lane.config().write)
        std::memcpy(place, slot.buffer, bytes);
      else
        std::memcpy(slot.buffer, place, bytes);
      _lane.finish(slot, static_cast<std::int64_t>(bytes));
    }
    // To take pages out of a mapping is part of what it costs, and fio does it within its count:
    // when it ends.
    for (const std::span<std::byte> map : _maps) madvise(map.data(), map.size(), MADV_DONTNEED);
  }

 private:
  IoLane& _lane;
  OpenLayer _open;
  std::vector<std::span<std::byte>> _maps;
};

}  // namespace

std::unique_ptr<IoWay> make_mmap_way(IoLane& lane) {
  return std::make_unique<MmapWay>(lane);
}

}  // namespace vmbench

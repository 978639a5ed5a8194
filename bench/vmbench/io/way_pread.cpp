// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "io/ways.hpp"

namespace vmbench {

namespace {

class PreadWay final : public IoWay {
 public:
  PreadWay(IoLane& lane, bool direct)
      : _lane(lane),
        _open(*lane.config().layer,
              (lane.config().write ? O_RDWR : O_RDONLY) | (direct ? O_DIRECT : 0)) {
    // Read-ahead would read what nobody asked for.
    for (const int fd : _open.fds()) posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  }

  void run() override {
    IoSlot& slot = _lane.slots().front();
    const std::size_t bytes = _lane.config().io_bytes;
    while (_lane.more()) {
      _lane.start(slot);
      const int fd = _open.fds()[slot.device];
      const auto offset = static_cast<off_t>(slot.offset);
      const ssize_t done = _lane.config().write ? pwrite(fd, slot.buffer, bytes, offset)
                                                : pread(fd, slot.buffer, bytes, offset);
      _lane.finish(slot, done < 0 ? -errno : done);
    }
  }

 private:
  IoLane& _lane;
  OpenLayer _open;
};

}  // namespace

std::unique_ptr<IoWay> make_pread_way(IoLane& lane, bool direct) {
  return std::make_unique<PreadWay>(lane, direct);
}

}  // namespace vmbench

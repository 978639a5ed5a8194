// SPDX-License-Identifier: MIT
//
// No transfer at all: what is left is the bench's own work, as fio's engine "null" leaves fio's.
#include "io/ways.hpp"

namespace vmbench {

namespace {

class NullWay final : public IoWay {
 public:
  explicit NullWay(IoLane& lane) : _lane(lane) {}

  void run() override {
    while (_lane.more()) {
      IoSlot& slot = _lane.slots()[_next];
      _next = _next + 1 == _lane.slots().size() ? 0 : _next + 1;
      _lane.start(slot);
      // The marks that the drive would have brought.
      for (std::uint64_t at = 0; at < _lane.config().io_bytes; at += kBlock)
        mark_block(slot.buffer + at, slot.number + at / kBlock, 0);
      _lane.finish(slot, static_cast<std::int64_t>(_lane.config().io_bytes));
    }
  }

 private:
  IoLane& _lane;
  std::size_t _next = 0;
};

}  // namespace

std::unique_ptr<IoWay> make_null_way(IoLane& lane) {
  return std::make_unique<NullWay>(lane);
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
//
// The library's own storage and queues, so that what they add to a bare ring can be seen.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <vector>

#include "io/errors.hpp"
#include "io/library_storage.hpp"
#include "io/ways.hpp"
#include "vmcache/error.hpp"

namespace vmbench {

namespace {

//! Memory for the transfers of all lanes, where it is to be registered: that is done once for a
//! storage.
struct Arena {
  static constexpr std::size_t kBytes = std::size_t{16} << 20;
  alignas(kBlock) std::byte memory[kBytes];
  std::atomic<std::size_t> used{0};
};
Arena arena;

void register_memory(vmcache::Storage& storage) {
  if (const int error = storage.register_memory(arena.memory); error != 0)
    throw RungMissing(
        fmt::format("{}: registering memory: {}", storage.description(), std::strerror(error)));
}

//! One for all threads of the run, which has a process of its own: the library locks what it opens.
std::shared_ptr<vmcache::Storage> shared_storage(const Layer& layer, const RingOptions& ring) {
  static std::mutex mutex;
  static std::shared_ptr<vmcache::Storage> storage;
  const std::lock_guard lock(mutex);
  if (!storage) {
    storage = open_library_storage(layer, ring);
    if (ring.buffers) register_memory(*storage);
  }
  return storage;
}

class LibraryWay final : public IoWay {
 public:
  LibraryWay(IoLane& lane, const RingOptions& options)
      : _lane(lane),
        _polled(options.polled),
        _storage(shared_storage(*lane.config().layer, options)),
        _queue(_storage->make_queue(lane.config().depth, true)),
        _requests(lane.config().depth),
        _done(lane.config().depth) {
    for (vmcache::IoRequest& request : _requests) _free.push_back(&request);
    _batch.reserve(_requests.size());
    if (options.polled && !_queue->polled())
      throw RungMissing(
          "another thread polls the hardware queue, and two may not (IoUringOptions::polled)");
    if (options.buffers) use_arena();
    for (std::size_t i = 0; i < _requests.size(); i++) {
      _requests[i].data = _lane.slots()[i].buffer;
      if (options.buffers) _requests[i].registered = _requests[i].data;
      _requests[i].bytes = static_cast<std::uint32_t>(lane.config().io_bytes);
    }
  }

  void run() override {
    const std::size_t batch = std::min<std::size_t>(_lane.config().batch, _requests.size());
    for (;;) {
      const std::uint64_t start = __rdtsc();
      // A polled queue is asked often and finds few completions a time: only a batch is worth a
      // submission.
      const bool submits = (!_polled || _free.size() >= batch) && submit();
      if (_free.size() == _requests.size()) return;
      const std::size_t done =
          _polled ? _queue->reap(_done, 0, 0)
                  : _queue->reap(_done, static_cast<unsigned>(std::min(batch, in_flight())),
                                 1'000'000'000);
      for (std::size_t i = 0; i < done; i++) finish(*_done[i]);
      if (_polled && done == 0 && !submits) _lane.add_empty_poll(__rdtsc() - start);
    }
  }

 private:
  [[nodiscard]] std::size_t in_flight() const { return _requests.size() - _free.size(); }
  [[nodiscard]] IoSlot& slot_of(const vmcache::IoRequest& request) {
    return _lane.slots()[static_cast<std::size_t>(&request - _requests.data())];
  }

  void use_arena() {
    const std::size_t bytes = _lane.config().io_bytes;
    const std::size_t first = arena.used.fetch_add(_lane.slots().size() * bytes);
    if (first + _lane.slots().size() * bytes > Arena::kBytes)
      throw RungMissing(fmt::format("more than {} bytes in flight", Arena::kBytes));
    for (std::size_t i = 0; i < _lane.slots().size(); i++)
      _lane.slots()[i].buffer = arena.memory + first + i * bytes;
  }

  bool submit() {
    _batch.clear();
    while (!_free.empty() && _lane.more()) {
      vmcache::IoRequest& request = *_free.back();
      _free.pop_back();
      IoSlot& slot = slot_of(request);
      _lane.start(slot);
      request.error = 0;
      request.offset = slot.number * kBlock;
      _batch.push_back(&request);
    }
    if (!_batch.empty()) _queue->submit(_batch);
    return !_batch.empty();
  }

  void finish(vmcache::IoRequest& request) {
    _lane.finish(slot_of(request), request.error != 0 ? -request.error : request.bytes);
    _free.push_back(&request);
  }

  IoLane& _lane;
  bool _polled;
  std::shared_ptr<vmcache::Storage> _storage;
  std::unique_ptr<vmcache::IoQueue> _queue;
  std::vector<vmcache::IoRequest> _requests;
  std::vector<vmcache::IoRequest*> _free, _batch, _done;
};

}  // namespace

std::unique_ptr<IoWay> make_library_way(IoLane& lane, const RingOptions& options) {
  if (lane.config().write) throw RungMissing("the library's queues are compared by reads only");
  try {
    return std::make_unique<LibraryWay>(lane, options);
  } catch (const vmcache::Error& error) {
    throw RungMissing(error.what());
  }
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
//
// The library's own storage and queues, so that what they add to a bare ring can be seen.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <vector>

#include "io/errors.hpp"
#include "io/ways.hpp"
#include "log.hpp"
#include "storage/open.hpp"
#include "vmcache/error.hpp"

namespace vmbench {

namespace {

constexpr std::uint64_t kChunk = std::uint64_t{1} << 20;

//! What the library finds must be blank, or it takes the devices for somebody else's.
void wipe_beginning(const std::string& path) {
  static const std::vector<std::byte> zeros(kChunk);
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const bool done =
      fd >= 0 && pwrite(fd, zeros.data(), kChunk, 0) == static_cast<ssize_t>(kChunk) && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (!done) throw RungMissing(fmt::format("{}: cannot be made blank: {}", path, std::strerror(error)));
}

//! Striped, the library puts a label before its own first byte: all blocks lie elsewhere than the bench's.
void number_through(vmcache::Storage& storage, std::uint64_t span_bytes) {
  std::vector<std::byte> memory(kChunk + kBlock);
  std::byte* chunk = memory.data() + (kBlock - reinterpret_cast<std::uintptr_t>(memory.data()) % kBlock);
  for (std::uint64_t offset = 0; offset < span_bytes; offset += kChunk) {
    const std::uint64_t bytes = std::min(kChunk, span_bytes - offset);
    for (std::uint64_t at = 0; at < bytes; at += kBlock) mark_block(chunk + at, (offset + at) / kBlock, 0);
    if (const int error = storage.write(offset, {chunk, bytes}); error != 0)
      throw RungMissing(
          fmt::format("{}: write at byte {}: {}", storage.description(), offset, std::strerror(error)));
  }
  if (const int error = storage.flush(); error != 0)
    throw RungMissing(fmt::format("{}: flush: {}", storage.description(), std::strerror(error)));
}

vmcache::PoolOptions pool_options(const Layer& layer, const RingOptions& ring) {
  vmcache::PoolOptions options;
  for (const Device& device : layer.devices)
    options.paths.emplace_back(ring.passthrough ? device.char_path : device.path);
  if (layer.devices.size() > 1) options.stripe_bytes = layer.stripe_bytes;
  options.create = false;
  options.storage =
      ring.passthrough ? vmcache::StorageKind::kNvmePassthrough : vmcache::StorageKind::kIoUring;
  options.io_uring.polled = ring.polled ? vmcache::Switch::kOn : vmcache::Switch::kOff;
  return options;
}

std::shared_ptr<vmcache::Storage> open_storage(const Layer& layer, const RingOptions& ring) {
  const bool striped = layer.devices.size() > 1;
  if (striped && !layer.expendable)
    throw RungMissing("the library labels the devices of a stripe: needs --content-will-be-lost");
  if (striped)
    for (const Device& device : layer.devices) wipe_beginning(device.path);
  vmcache::Log log{{}};
  std::shared_ptr<vmcache::Storage> storage = vmcache::open_storage(pool_options(layer, ring), log);
  if (storage->size_bytes() < layer.span_bytes)
    throw RungMissing(fmt::format("{}: with the labels there is no room for {} bytes", storage->description(),
                                  layer.span_bytes));
  if (striped) number_through(*storage, layer.span_bytes);
  return storage;
}

//! One for all threads of the run, which has a process of its own: the library locks what it opens.
std::shared_ptr<vmcache::Storage> shared_storage(const Layer& layer, const RingOptions& ring) {
  static std::mutex mutex;
  static std::shared_ptr<vmcache::Storage> storage;
  const std::lock_guard lock(mutex);
  if (!storage) storage = open_storage(layer, ring);
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
  }

  void run() override {
    const std::size_t batch = std::min<std::size_t>(_lane.config().batch, _requests.size());
    for (;;) {
      const std::uint64_t start = __rdtsc();
      // A polled queue is asked often and finds few completions a time: only a batch is worth a submission.
      const bool submits = (!_polled || _free.size() >= batch) && submit();
      if (_free.size() == _requests.size()) return;
      const std::size_t done =
          _polled ? _queue->reap(_done, 0, 0)
                  : _queue->reap(_done, static_cast<unsigned>(std::min(batch, in_flight())), 1'000'000'000);
      for (std::size_t i = 0; i < done; i++) finish(*_done[i]);
      if (_polled && done == 0 && !submits) _lane.add_empty_poll(__rdtsc() - start);
    }
  }

 private:
  [[nodiscard]] std::size_t in_flight() const { return _requests.size() - _free.size(); }
  [[nodiscard]] IoSlot& slot_of(const vmcache::IoRequest& request) {
    return _lane.slots()[static_cast<std::size_t>(&request - _requests.data())];
  }

  bool submit() {
    _batch.clear();
    while (!_free.empty() && _lane.more()) {
      vmcache::IoRequest& request = *_free.back();
      _free.pop_back();
      IoSlot& slot = slot_of(request);
      _lane.start(slot);
      request = vmcache::IoRequest{};
      request.offset = slot.number * kBlock;
      request.data = slot.buffer;
      request.bytes = static_cast<std::uint32_t>(_lane.config().io_bytes);
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

// SPDX-License-Identifier: MIT
//
// Misses of a pool on exmap memory: what a database pays for a page, all included: a task that
// waits, an eviction, the page-table calls, the transfer. Nearly every fix is a miss, because the
// pool is small.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <vector>

#include "io/errors.hpp"
#include "io/library_storage.hpp"
#include "io/ways.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/error.hpp"
#include "vmcache/worker.hpp"

namespace vmbench {

namespace {

constexpr std::uint64_t kPoolShare = 48;  // of the span

std::shared_ptr<vmcache::BufferPool> open_pool(const Layer& layer, const RingOptions& ring) {
  if (!layer.expendable)
    throw RungMissing("a database is made on the devices: needs --content-will-be-lost");
  {
    const auto storage = open_library_storage(layer, ring);
    std::vector<std::byte> page(2 * kBlock);
    std::byte* aligned =
        page.data() + (kBlock - reinterpret_cast<std::uintptr_t>(page.data()) % kBlock);
    if (const int error = storage->write(0, {aligned, kBlock}); error != 0)
      throw RungMissing(std::string("making room for the header: ") + std::strerror(error));
  }
  vmcache::PoolOptions options = library_options(layer, ring);
  options.recovered = vmcache::RecoveredState{.next_page = layer.span_bytes / kBlock,
                                              .free = {},
                                              .list_pages = {},
                                              .roots = {},
                                              .identity = {}};
  options.capacity_bytes = layer.span_bytes;
  options.pool_bytes = std::max<std::uint64_t>(layer.span_bytes / kPoolShare, 512 * kBlock);
  options.memory = vmcache::MemoryKind::kExmap;
  options.deallocate = false;
  options.io_uring.registered_frames = ring.buffers ? vmcache::Switch::kOn : vmcache::Switch::kOff;
  return std::make_shared<vmcache::BufferPool>(options);
}

//! One for all threads of the run, which has a process of its own.
std::shared_ptr<vmcache::BufferPool> shared_pool(const Layer& layer, const RingOptions& ring) {
  static std::mutex mutex;
  static std::shared_ptr<vmcache::BufferPool> pool;
  const std::lock_guard lock(mutex);
  if (!pool) pool = open_pool(layer, ring);
  return pool;
}

class PoolWay final : public IoWay {
 public:
  PoolWay(IoLane& lane, const RingOptions& options)
      : _lane(lane), _pool(shared_pool(*lane.config().layer, options)), _worker(*_pool) {}

  void run() override {
    for (IoSlot& slot : _lane.slots()) _worker.spawn(read_pages(slot));
    _worker.run();
    // The pool counts for all its threads; what none of them has taken yet is added here.
    static std::atomic<std::uint64_t> taken_ns{0};
    const std::uint64_t now_ns = _pool->stats().empty_poll_ns;
    const std::uint64_t before_ns = taken_ns.exchange(now_ns);
    if (now_ns > before_ns) _lane.add_empty_poll_ns(now_ns - before_ns);
  }

 private:
  vmcache::Task<> read_pages(IoSlot& slot) {
    while (_lane.more()) {
      _lane.start(slot);
      slot.number = std::max<std::uint64_t>(slot.number, 1);  // page 0 is the header
      const vmcache::SharedGuard page = co_await _worker.fix_shared(slot.number);
      slot.buffer = const_cast<std::byte*>(page.data());  // finish() only reads it
      _lane.finish(slot, kBlock);
    }
  }

  IoLane& _lane;
  std::shared_ptr<vmcache::BufferPool> _pool;
  vmcache::Worker _worker;
};

}  // namespace

std::unique_ptr<IoWay> make_pool_way(IoLane& lane, const RingOptions& options) {
  if (lane.config().write || lane.config().io_bytes != kBlock)
    throw RungMissing("a pool's misses are reads of 4 KiB");
  try {
    return std::make_unique<PoolWay>(lane, options);
  } catch (const vmcache::Error& error) {
    throw RungMissing(error.what());
  }
}

}  // namespace vmbench

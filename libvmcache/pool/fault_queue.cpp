// SPDX-License-Identifier: MIT
#include "pool/fault_queue.hpp"

#include <algorithm>
#include <cstring>

#include "pool/inner_pages.hpp"
#include "pool/pool_core.hpp"
#include "pool/raw_file.hpp"
#include "storage/file_target.hpp"

namespace vmcache::detail {
namespace {

using Goal = FaultRequest::Goal;

constexpr std::uint64_t kReadsAveraged = 16;

//! kBeyondLog if the page is newer than its log: no page is written before the log is durable up to
//! its LSN, so this one is of another history.
Status not_beyond(PageId page_id, Lsn lsn, const WriteAhead& log) {
  const Lsn durable = log.durable_lsn();
  if (lsn <= durable) return {};
  return {.code = Errc::kBeyondLog, .page_id = page_id, .expected = durable, .found = lsn};
}

//! Whether what was read is the page, whole and up to date.
Status check(PoolCore& core, const FaultRequest& request) {
  const Extent extent = request.extent;
  Status status{Errc::kIo, request.error, extent.page_id, request.device_status};
  if (const int error = core.flush_error(extent.page_id); error != 0) [[unlikely]] {
    status.os_error = error;  // F2 of storage_flush.hpp: it may be an old version
    return status;
  }
  if (request.error != 0) return status;
  const std::span bytes(request.data, request.bytes);
  if (request.file != nullptr) {
    clear_past_end(*request.file, request.offset, request.data, request.bytes);
    core.files.file_of(extent.page_id)->clear_new(extent, request.data);
  }
  status = {};
  if (const PageFormat* const format = core.format_of(extent.page_id)) {
    status = format->after_read(request.offset, bytes);
    if (!status.ok()) status.page_id = extent.page_id;
    const WriteAhead* const log = core.log_of(extent.page_id);
    if (status.ok() && log != nullptr)
      status = not_beyond(extent.page_id, format->lsn_of(bytes), *log);
  }
  PagedStore* const store = core.paged_of(extent.page_id);
  if (status.ok() && store != nullptr && store->sums) {
    status = store->sums->check(extent.page_id - store->first, {request.data, extent.bytes()});
    if (!status.ok()) status.page_id += store->first;
  }
  return status;
}

}  // namespace

void FaultQueue::bind() {
  _wanted.reserve(kMaxBatch);
  _slots.reserve(kMaxBatch);
}

void FaultQueue::add(FaultRequest& request, PageState word) {
  request.claimed = word;
  request.starved_ns = 0;
  request.waits_ns = 0;
  _base.counters.misses.add(1);
  _faults.push_back(&request);
}

void FaultQueue::serve_all() {
  while (!_faults.empty() || _evictor.has_victims()) {
    std::uint64_t pages = 0;
    const std::size_t candidates = pick(pages);
    const std::uint64_t frames = _evictor.find_frames(pages, starved_for_ns());
    // The sweep's writes have taken places.
    const std::size_t able = std::min(candidates, _io.room());
    _wanted.clear();
    std::uint64_t used = 0;
    for (std::size_t i = 0; i < able && used + _faults[i]->extent.pages() <= frames; ++i) {
      used += _faults[i]->extent.pages();
      _wanted.push_back(_faults[i]->extent);
    }
    const Status status = _evictor.exchange(_wanted);
    _core.give_frames(frames - used + (status.ok() ? 0 : used));
    if (used > 0) {
      _base.progressed();
    }
    if (status.ok()) {
      _slots.resize(_wanted.size());
      _core.residency.take_slots(_slots);
    }
    for (std::size_t i = 0; i < _wanted.size(); ++i) {
      status.ok() ? admit(*_faults[i], _slots[i]) : fail(*_faults[i], status);
    }
    _faults.erase(_faults.begin(), _faults.begin() + static_cast<std::ptrdiff_t>(_wanted.size()));
    if (_wanted.size() < able) return starve();
    if (candidates == 0 || able < candidates) return;
  }
}

//! How many faults from the front there is I/O room for, and their pages.
std::size_t FaultQueue::pick(std::uint64_t& pages) const {
  const std::size_t max = std::min({_faults.size(), _io.room(), kMaxBatch});
  for (std::size_t i = 0; i < max; ++i) pages += _faults[i]->extent.pages();
  return max;
}

//! The fault has its frames: on to its bytes.
void FaultQueue::admit(FaultRequest& request, std::uint32_t slot) {
  request.slot = slot;
  std::byte* data = _core.memory->base() + request.extent.page_id * kPageSize;
  const RawFile* const file = _core.files.file_of(request.extent.page_id);
  if (request.goal == Goal::kNew || (file != nullptr && file->is_new(request.extent))) {
    std::memset(data, 0, request.extent.bytes());
    return publish(request);
  }
  request.op = IoRequest::Op::kRead;
  _core.set_place(request, request.extent.page_id);
  request.data = data;
  request.registered = _core.memory->io_address(request.extent);
  request.bytes = static_cast<std::uint32_t>(request.extent.bytes());
  request.done_bytes = 0;
  request.error = 0;
  request.device_status = 0;
  request.started_ns = _base.now;
  ++_reads;
  _io.prepare(request);
}

//! How long the first fault in line has waited for a frame without any having been found.
std::uint64_t FaultQueue::starved_for_ns() const noexcept {
  if (_faults.empty() || _faults.front()->starved_ns == 0) return 0;
  const std::uint64_t since = std::max(_faults.front()->starved_ns, _base.progress_ns);
  return _base.now > since ? _base.now - since : 0;
}

//! No frames for the faults that are left. They wait for the next turn, but not for ever.
void FaultQueue::starve() {
  ++_base.idle_turns;
  std::erase_if(_faults, [&](FaultRequest* request) {
    if (request->starved_ns == 0) {
      request->starved_ns = _base.now;
      _base.counters.frame_waits.add(1);
      return false;
    }
    // A slow device is not a full pool; one that has failed meanwhile is not waited for.
    if (_core.eviction_writes.load(std::memory_order_relaxed) > 0 &&
        _core.write_errors.failed_ns() < request->starved_ns) {
      return false;
    }
    const std::uint64_t since = std::max(request->starved_ns, _base.progress_ns);
    if (_base.now < since + _core.patience_ns()) return false;
    fail(*request, {Errc::kPoolExhausted, _core.write_errors.last(), request->extent.page_id});
    return true;
  });
}

void FaultQueue::complete(IoRequest& ended) {
  auto& request = static_cast<FaultRequest&>(ended);
  --_reads;
  _base.counters.reads.add(1);
  _base.counters.read_pages.add(request.extent.pages());
  const std::uint64_t took_ns = _base.now - request.started_ns;
  _base.counters.read_latency.add(took_ns);
  _read_ns = (_read_ns * (kReadsAveraged - 1) + took_ns) / kReadsAveraged;
  _base.counters.retries.add(request.retries);
  const Status status = check(_core, request);
  if (status.ok()) {
    RawFile* const file = _core.files.file_of(request.extent.page_id);
    if (file != nullptr && file->write_ahead() != nullptr)
      file->in_storage(request.extent.page_id, file->durable_lsn());
    return publish(request);
  }

  _base.counters.read_errors.add(1);
  const Extent extent = request.extent;
  (void)_core.memory->exchange(_base.context, {&extent, 1}, {});
  _core.residency.give_slots({&request.slot, 1});
  _core.give_frames(extent.pages());
  fail(request, status);
}

//! The page is in memory and ours (0xfe): lets the others see it, with the latch that its
//! caller wants.
void FaultQueue::publish(FaultRequest& request) {
  std::uint64_t latch = PageState::kUnlocked;
  if (request.goal == Goal::kShared) latch = PageState::kUnlocked + 1;
  if (request.goal == Goal::kExclusive || request.goal == Goal::kNew) latch = PageState::kExclusive;
  // I8: storage knows nothing of a new page's zeros.
  const std::uint64_t dirty = request.goal == Goal::kNew ? PageState::kDirty : 0;
  _core.residency.enter(
      request.slot, request.extent.page_id, request.claimed,
      request.claimed.without(PageState::kMarked | PageState::kDirty | PageState::kTagMask)
          .with(dirty)
          .with_order(request.extent.order)
          .with_use(PageState::Use::kExtent)
          .with_latch(latch));
  _ends.finish(request, {});
}

//! As if the fault had never been: the version is that of the last eviction, the bytes are in
//! storage.
void FaultQueue::fail(FaultRequest& request, Status status) {
  const Extent extent = request.extent;
  if (request.goal != Goal::kNew && extent.order > 0 &&
      request.claimed.use() == PageState::Use::kUnknown)
    unmark_inner(_core, extent.page_id, extent.page_id + extent.pages());
  _core.states()[request.extent.page_id].store(request.claimed);
  _ends.finish(request, status);
}

}  // namespace vmcache::detail

// SPDX-License-Identifier: MIT
#include "plain/pread_cache.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "common/clock.hpp"

namespace vmbench::plain {

namespace {

constexpr std::size_t kPartitions = 256;

[[noreturn]] void fail(const char* call, PageNo page, ssize_t result) {
  throw std::runtime_error(fmt::format("{} of page {}: {}", call, page,
                                       result < 0 ? std::strerror(errno) : "short transfer"));
}

}  // namespace

thread_local Histogram* PreadCache::_read_ns = nullptr;

PreadCache::PreadCache(File& file, std::uint64_t pool_bytes)
    : _file(file),
      _frame_count(static_cast<FrameNo>(pool_bytes / kPageBytes)),
      _memory(nullptr),
      _frames(new Frame[_frame_count]),
      _partitions(kPartitions),
      _next(file.first_unused()) {
  void* address = mmap(nullptr, _frame_count * kPageBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED)
    throw std::runtime_error(fmt::format("mmap of the frames: {}", std::strerror(errno)));
  _memory = static_cast<std::byte*>(address);
  // Frames never move, so this pool, unlike the others, can have huge pages under them.
  madvise(_memory, _frame_count * kPageBytes, MADV_HUGEPAGE);
  const std::size_t buckets =
      std::bit_ceil(std::max<std::size_t>(_frame_count / kPartitions * 2, 16));
  for (Partition& part : _partitions) part.buckets.assign(buckets, kNoFrame);
}

PreadCache::~PreadCache() {
  munmap(_memory, _frame_count * kPageBytes);
}

PreadCache::FrameNo PreadCache::pin_resident(Partition& part, PageNo page) {
  for (FrameNo frame = bucket(part, page); frame != kNoFrame;
       frame = _frames[frame].next_in_bucket) {
    if (_frames[frame].page.load(std::memory_order_relaxed) != page) continue;
    _frames[frame].pins.fetch_add(1, std::memory_order_relaxed);
    // Unconditional stores would make every hit write a shared line.
    if (!_frames[frame].referenced.load(std::memory_order_relaxed))
      _frames[frame].referenced.store(true, std::memory_order_relaxed);
    return frame;
  }
  return kNoFrame;
}

PreadCache::FrameNo PreadCache::pin(PageNo page, bool& fresh) {
  Partition& part = partition(page);
  fresh = false;
  {
    const std::lock_guard lock(part.lock);
    if (const FrameNo frame = pin_resident(part, page); frame != kNoFrame) return frame;
  }
  const FrameNo victim = take_victim();
  const std::lock_guard lock(part.lock);
  if (const FrameNo frame = pin_resident(part, page); frame != kNoFrame) {
    // Another thread was faster. The victim has no page and no pin but ours; leave it to the clock.
    _frames[victim].latch.unlock();
    unpin(victim);
    return frame;
  }
  _frames[victim].page.store(page, std::memory_order_relaxed);
  _frames[victim].referenced.store(true, std::memory_order_relaxed);
  _frames[victim].next_in_bucket = bucket(part, page);
  bucket(part, page) = victim;
  fresh = true;
  return victim;
}

PreadCache::FrameNo PreadCache::take_victim() {
  // Twice round clears every reference bit; more means that all frames are held.
  for (std::uint64_t step = 0; step < std::uint64_t{_frame_count} * 4; step++) {
    const auto frame =
        static_cast<FrameNo>(_hand.fetch_add(1, std::memory_order_relaxed) % _frame_count);
    if (_frames[frame].pins.load(std::memory_order_relaxed) != 0) continue;
    if (_frames[frame].referenced.load(std::memory_order_relaxed)) {
      _frames[frame].referenced.store(false, std::memory_order_relaxed);
      continue;
    }
    if (try_evict(frame)) return frame;
  }
  throw std::runtime_error("pread pool: every frame is held");
}

//! Leaves the frame without a page, pinned once and latched exclusively.
bool PreadCache::try_evict(FrameNo number) {
  Frame& frame = _frames[number];
  const PageNo page = frame.page.load(std::memory_order_relaxed);
  if (page == 0) {
    // Not in the table, so no partition guards it; the pin count does.
    std::uint32_t none = 0;
    if (!frame.pins.compare_exchange_strong(none, 1, std::memory_order_acquire)) return false;
    if (frame.page.load(std::memory_order_relaxed) == 0 && frame.latch.try_lock()) return true;
    unpin(number);
    return false;
  }
  Partition& part = partition(page);
  std::unique_lock lock(part.lock);
  std::uint32_t none = 0;
  if (!frame.pins.compare_exchange_strong(none, 1, std::memory_order_acquire)) return false;
  if (frame.page.load(std::memory_order_relaxed) != page || !frame.latch.try_lock()) {
    unpin(number);
    return false;
  }
  if (!frame.dirty.load(std::memory_order_relaxed)) {
    unlink(part, number);
    return true;
  }
  // Write it without the partition lock; whoever wants the page meanwhile pins it and waits at the
  // latch.
  lock.unlock();
  write_back(number);
  lock.lock();
  if (frame.pins.load(std::memory_order_relaxed) != 1) {
    frame.latch.unlock();
    unpin(number);
    return false;
  }
  unlink(part, number);
  return true;
}

void PreadCache::unlink(Partition& part, FrameNo frame) {
  FrameNo* link = &bucket(part, _frames[frame].page.load(std::memory_order_relaxed));
  while (*link != frame) link = &_frames[*link].next_in_bucket;
  *link = _frames[frame].next_in_bucket;
  _frames[frame].page.store(0, std::memory_order_relaxed);
}

void PreadCache::load(FrameNo frame, PageNo page) {
  const std::uint64_t start = now_ns();
  const ssize_t got =
      pread(_file.fd(), data(frame), kPageBytes, static_cast<off_t>(page * kPageBytes));
  if (got != static_cast<ssize_t>(kPageBytes)) fail("pread", page, got);
  if (_read_ns) _read_ns->add(now_ns() - start);
  _reads.fetch_add(1, std::memory_order_relaxed);
}

void PreadCache::write_back(FrameNo frame) {
  const PageNo page = _frames[frame].page.load(std::memory_order_relaxed);
  const ssize_t put =
      pwrite(_file.fd(), data(frame), kPageBytes, static_cast<off_t>(page * kPageBytes));
  if (put != static_cast<ssize_t>(kPageBytes)) fail("pwrite", page, put);
  _frames[frame].dirty.store(false, std::memory_order_relaxed);
  _writes.fetch_add(1, std::memory_order_relaxed);
}

PreadCache::Shared PreadCache::shared(PageNo page) {
  bool fresh;
  const FrameNo frame = pin(page, fresh);
  if (fresh) {
    load(frame, page);
    _frames[frame].latch.unlock();
  }
  _frames[frame].latch.lock_shared();
  return {*this, frame};
}

PreadCache::Exclusive PreadCache::exclusive(PageNo page) {
  bool fresh;
  const FrameNo frame = pin(page, fresh);
  if (fresh)
    load(frame, page);
  else
    _frames[frame].latch.lock();
  return {*this, frame};
}

std::pair<PageNo, PreadCache::Exclusive> PreadCache::allocate() {
  const PageNo page = _next.fetch_add(1, std::memory_order_relaxed);
  if (page >= _file.pages())
    throw std::runtime_error("the data file has no room for further inserts");
  bool fresh;
  const FrameNo frame = pin(page, fresh);
  if (!fresh) throw std::logic_error("a page that was never used is in the pool");
  return {page, Exclusive{*this, frame}};
}

void PreadCache::flush() {
  for (FrameNo frame = 0; frame < _frame_count; frame++)
    if (_frames[frame].dirty.load(std::memory_order_relaxed)) write_back(frame);
}

}  // namespace vmbench::plain

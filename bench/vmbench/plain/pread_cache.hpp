// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "common/histogram.hpp"
#include "common/rw_latch.hpp"
#include "plain/file.hpp"

namespace vmbench::plain {

//! The classic buffer pool: a partitioned hash table from page number to frame, clock replacement,
//! and blocking pread and pwrite with O_DIRECT.
class PreadCache {
 public:
  class Shared;
  class Exclusive;

  //! Throws std::runtime_error.
  PreadCache(File& file, std::uint64_t pool_bytes);
  ~PreadCache();
  PreadCache(const PreadCache&) = delete;
  PreadCache& operator=(const PreadCache&) = delete;

  //! Throw std::runtime_error on failed I/O, or if every frame is pinned.
  [[nodiscard]] Shared shared(PageNo page);
  [[nodiscard]] Exclusive exclusive(PageNo page);
  [[nodiscard]] std::pair<PageNo, Exclusive> allocate();

  //! Writes back all dirty pages; no page may be held.
  void flush();

  [[nodiscard]] std::uint64_t page_reads() const { return _reads.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t page_writes() const {
    return _writes.load(std::memory_order_relaxed);
  }
  //! The calling thread's reads are timed into `histogram` from now on.
  static void time_reads_into(Histogram* histogram) { _read_ns = histogram; }

 private:
  using FrameNo = std::uint32_t;
  static constexpr FrameNo kNoFrame = ~FrameNo{0};

  struct Frame {
    RwLatch latch;
    //! Holders and waiters. Raised only under the page's partition lock; a frame with none may be
    //! given another page there.
    std::atomic<std::uint32_t> pins{0};
    std::atomic<PageNo> page{0};  // 0: none
    FrameNo next_in_bucket = kNoFrame;
    std::atomic<bool> referenced{false};
    std::atomic<bool> dirty{false};
  };
  struct alignas(64) Partition {
    std::mutex lock;
    std::vector<FrameNo> buckets;
  };

  static std::uint64_t hash(PageNo page) { return SplitMix64::mix(page); }
  [[nodiscard]] Partition& partition(PageNo page) {
    return _partitions[hash(page) & (_partitions.size() - 1)];
  }
  [[nodiscard]] FrameNo& bucket(Partition& part, PageNo page) {
    return part.buckets[(hash(page) >> 16) & (part.buckets.size() - 1)];
  }
  [[nodiscard]] std::byte* data(FrameNo frame) const {
    return _memory + std::size_t{frame} * kPageBytes;
  }

  FrameNo pin_resident(Partition& part, PageNo page);
  //! Pins the page's frame; if it must be loaded, `fresh` is set and the frame is latched
  //! exclusively and has no content yet.
  FrameNo pin(PageNo page, bool& fresh);
  FrameNo take_victim();
  bool try_evict(FrameNo frame);
  void unlink(Partition& part, FrameNo frame);
  void load(FrameNo frame, PageNo page);
  void write_back(FrameNo frame);
  void unpin(FrameNo frame) { _frames[frame].pins.fetch_sub(1, std::memory_order_release); }

  File& _file;
  FrameNo _frame_count;
  std::byte* _memory;
  std::unique_ptr<Frame[]> _frames;
  std::vector<Partition> _partitions;
  std::atomic<std::uint64_t> _hand{0};
  std::atomic<std::uint64_t> _reads{0};
  std::atomic<std::uint64_t> _writes{0};
  std::atomic<PageNo> _next;
  static thread_local Histogram* _read_ns;
};

class PreadCache::Shared {
 public:
  Shared(PreadCache& cache, FrameNo frame) : _cache(&cache), _frame(frame) {}
  Shared(Shared&& other) noexcept
      : _cache(std::exchange(other._cache, nullptr)), _frame(other._frame) {}
  Shared& operator=(Shared&& other) noexcept {
    if (this == &other) return *this;
    release();
    _cache = std::exchange(other._cache, nullptr);
    _frame = other._frame;
    return *this;
  }
  ~Shared() { release(); }
  [[nodiscard]] const std::byte* data() const { return _cache->data(_frame); }
  void release() {
    if (!_cache) return;
    _cache->_frames[_frame].latch.unlock_shared();
    _cache->unpin(_frame);
    _cache = nullptr;
  }

 private:
  PreadCache* _cache;
  FrameNo _frame;
};

class PreadCache::Exclusive {
 public:
  Exclusive(PreadCache& cache, FrameNo frame) : _cache(&cache), _frame(frame) {}
  Exclusive(Exclusive&& other) noexcept
      : _cache(std::exchange(other._cache, nullptr)), _frame(other._frame) {}
  Exclusive& operator=(Exclusive&& other) noexcept {
    if (this == &other) return *this;
    release();
    _cache = std::exchange(other._cache, nullptr);
    _frame = other._frame;
    return *this;
  }
  ~Exclusive() { release(); }
  [[nodiscard]] std::byte* data() const { return _cache->data(_frame); }
  //! The page counts as changed.
  void release() {
    if (!_cache) return;
    _cache->_frames[_frame].dirty.store(true, std::memory_order_relaxed);
    _cache->_frames[_frame].latch.unlock();
    _cache->unpin(_frame);
    _cache = nullptr;
  }

 private:
  PreadCache* _cache;
  FrameNo _frame;
};

}  // namespace vmbench::plain

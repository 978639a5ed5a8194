// SPDX-License-Identifier: MIT
//
// What backs a virtual page. One page area per pool; frames appear under and vanish from its pages in
// batches.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "vmcache/error.hpp"
#include "vmcache/options.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

class Log;

//! Reading any page of the area is harmless at any time; a page without a frame yields some bytes.
class Memory {
 public:
  virtual ~Memory() = default;
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] std::byte* base() const noexcept { return _base; }

  //! Takes the frames of `victims` away and puts frames under `wanted`, in as few page-table calls as it can.
  //! The caller holds all these extents exclusively. `context` < the number given at open; one thread at a
  //! time uses a context. A failure concerns `wanted` only, and all of it: the victims are gone, none of the
  //! wanted has to be given back.
  virtual Status exchange(unsigned context, std::span<const Extent> victims,
                          std::span<const Extent> wanted) = 0;

  //! Shows all frames at addresses that stay, so that they can be registered for I/O; once, before anything else. Empty
  //! if this back end cannot: `why_not` says why.
  [[nodiscard]] virtual std::span<std::byte> show_frames(std::string& why_not);
  //! Takes that back. io_address() gives none from now on.
  virtual void hide_frames() noexcept {}
  //! Where the frame of a page is shown, or null. The caller holds the page by a latch or a claim.
  [[nodiscard]] std::byte* io_address(const Extent& extent) const noexcept {
    std::byte* const frames = _frames.load(std::memory_order_relaxed);
    if (frames == nullptr || extent.order != 0) return nullptr;
    const std::uint32_t number = _frame_numbers[extent.page_id];
    return number == 0 ? nullptr : frames + (number - 1) * kPageSize;
  }

  //! True if a victim is best evicted just when its frame is wanted, false if victims are best collected to a
  //! batch.
  [[nodiscard]] virtual bool wants_pairs() const noexcept = 0;
  //! Follows a change of the pool's size. Frames over the new size have been given back before.
  virtual Status resize(std::uint64_t /*frames*/) { return {}; }
  [[nodiscard]] virtual std::string description() const = 0;

  [[nodiscard]] std::uint64_t calls() const noexcept { return _calls.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t pages() const noexcept { return _pages.load(std::memory_order_relaxed); }

 protected:
  void count(std::uint64_t calls, std::uint64_t pages) noexcept {
    _calls.fetch_add(calls, std::memory_order_relaxed);
    _pages.fetch_add(pages, std::memory_order_relaxed);
  }
  std::byte* _base = nullptr;
  //! Where the frames are shown, or null. Once it is null again it stays so.
  std::atomic<std::byte*> _frames{nullptr};
  //! One a page: number of its frame plus 1; 0 if that is not shown. Only pages with a frame count. Written by
  //! exchange(), whose caller holds the page; published with its state.
  std::uint32_t* _frame_numbers = nullptr;

 private:
  std::atomic<std::uint64_t> _calls{0};
  std::atomic<std::uint64_t> _pages{0};
};

inline std::span<std::byte> Memory::show_frames(std::string& why_not) {
  why_not = description() + " has no frames that could be shown apart from their pages";
  return {};
}

//! What a back end is told at open.
struct MemoryConfig {
  std::uint64_t capacity_pages = 0;
  std::uint64_t frames = 0;
  unsigned contexts = 1;
  StockRelease stock_release = StockRelease::kAuto;
};

//! Opens the back end asked for; kAuto says through the log what it settled on. Throws Error.
[[nodiscard]] std::unique_ptr<Memory> open_memory(MemoryKind kind, const MemoryConfig& config, Log& log);
[[nodiscard]] std::unique_ptr<Memory> open_stock_memory(const MemoryConfig& config);
[[nodiscard]] std::unique_ptr<Memory> open_exmap_memory(const MemoryConfig& config);

}  // namespace vmcache

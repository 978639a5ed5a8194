// SPDX-License-Identifier: MIT
//
// The memory behind a pool's virtual pages. A pool has one page area. Its pages get and lose their
// frames in batches.
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

class Logger;

//! Any page of the area may be read at any time. A page without a frame yields unspecified bytes.
class Memory {
 public:
  virtual ~Memory() = default;
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] std::byte* base() const noexcept { return _base; }

  //! Takes the frames of `victims` away and puts frames under `wanted`, in as few page-table calls
  //! as possible. The caller holds all these extents exclusively. `context` is less than
  //! MemoryConfig::contexts, and only one thread at a time uses a context. On failure the victims
  //! have lost their frames all the same, and no wanted extent has a frame that must be given back.
  virtual Status exchange(unsigned context, std::span<const Extent> victims,
                          std::span<const Extent> wanted) = 0;

  //! Maps all frames at addresses that do not change, so that they can be registered for I/O. Call
  //! it once, before anything else. Returns an empty span if this back end cannot do that, and sets
  //! `why_not` to the reason.
  [[nodiscard]] virtual std::span<std::byte> show_frames(std::string& why_not);
  //! Undoes show_frames(). io_address() returns null from now on.
  virtual void hide_frames() noexcept {}
  //! The address at which the frame of a page is shown, or null. The caller holds the page by a
  //! latch or a claim.
  [[nodiscard]] std::byte* io_address(const Extent& extent) const noexcept {
    std::byte* const frames = _frames.load(std::memory_order_relaxed);
    if (frames == nullptr || extent.order != 0) return nullptr;
    const std::uint32_t number = _frame_numbers[extent.page_id];
    return number == 0 ? nullptr : frames + (number - 1) * kPageSize;
  }

  //! True if a victim is best evicted when its frame is wanted, false if victims are best collected
  //! and evicted as a batch.
  [[nodiscard]] virtual bool wants_pairs() const noexcept = 0;
  //! Adapts to a new size of the pool, in frames. The caller has given back the frames above that
  //! size.
  virtual Status resize(std::uint64_t /*frames*/) { return {}; }
  [[nodiscard]] virtual std::string description() const = 0;
  //! True if the process locks its memory (mlockall()) and the page area was taken out of the lock.
  [[nodiscard]] virtual bool unlocked() const noexcept { return false; }

  [[nodiscard]] std::uint64_t calls() const noexcept {
    return _calls.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t pages() const noexcept {
    return _pages.load(std::memory_order_relaxed);
  }

 protected:
  void count(std::uint64_t calls, std::uint64_t pages) noexcept {
    _calls.fetch_add(calls, std::memory_order_relaxed);
    _pages.fetch_add(pages, std::memory_order_relaxed);
  }
  std::byte* _base = nullptr;
  //! Where the frames are shown, or null. Once it is null again it stays null.
  std::atomic<std::byte*> _frames{nullptr};
  //! For each page the number of its frame plus 1, or 0 if the frame is not shown. Valid only for
  //! pages with a frame. exchange() writes it, whose caller holds the page; the page's state word
  //! publishes it.
  std::uint32_t* _frame_numbers = nullptr;

 private:
  std::atomic<std::uint64_t> _calls{0};
  std::atomic<std::uint64_t> _pages{0};
};

inline std::span<std::byte> Memory::show_frames(std::string& why_not) {
  why_not = description() + " has no frames that could be shown apart from their pages";
  return {};
}

//! As many as exmap.ko has interfaces.
inline constexpr unsigned kMaxContexts = 1024;

//! The settings that a back end is opened with.
struct MemoryConfig {
  std::uint64_t capacity_pages = 0;
  std::uint64_t frames = 0;
  unsigned contexts = 1;  //!< at most kMaxContexts
  AnonymousRelease anonymous_release = AnonymousRelease::kAuto;
};

//! Opens the back end asked for. kAuto logs which one it took. Throws Error.
[[nodiscard]] std::unique_ptr<Memory> open_memory(MemoryKind kind, const MemoryConfig& config,
                                                  Logger& logger);
[[nodiscard]] std::unique_ptr<Memory> open_anonymous_memory(const MemoryConfig& config);
[[nodiscard]] std::unique_ptr<Memory> open_exmap_memory(const MemoryConfig& config);

}  // namespace vmcache

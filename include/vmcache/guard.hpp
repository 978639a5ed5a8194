// SPDX-License-Identifier: MIT
//
// Guards: the right to read or change a page, for as long as the guard lives. A guard is made by BufferPool
// or Worker, moves but does not copy, and belongs to one thread at a time (a task may carry it across a
// co_await).
#pragma once

#include <atomic>
#include <cassert>
#include <cstddef>
#include <utility>

#include "vmcache/page_state.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

class BufferPool;
class ExclusiveGuard;
class SharedGuard;

//! What the three guards have in common: which page, where it is, and its state word.
class PageRef {
 public:
  PageRef() noexcept = default;
  PageRef(AtomicPageState* state, std::byte* data, PageId page_id) noexcept
      : _state(state), _data(data), _page_id(page_id) {}

  //! True while the guard stands for a page.
  [[nodiscard]] explicit operator bool() const noexcept { return _state != nullptr; }
  [[nodiscard]] PageId page_id() const noexcept { return _page_id; }
  [[nodiscard]] AtomicPageState& state() const noexcept { return *_state; }

 protected:
  AtomicPageState* _state = nullptr;
  std::byte* _data = nullptr;
  PageId _page_id = kNoPage;
};

//! A page that may change or vanish under its reader. What is read through data() is a guess until validate()
//! has returned true *after* the read: copy first, check, then use. The memory is always readable, whatever
//! happens to the page; it may yield any bytes, so bound every length and offset taken from it.
class OptimisticGuard : public PageRef {
 public:
  OptimisticGuard() noexcept = default;
  OptimisticGuard(const PageRef& page, PageState seen) noexcept : PageRef(page), _seen(seen) {}

  [[nodiscard]] const std::byte* data() const noexcept {
    assert(_state && "OptimisticGuard used without a page");
    return _data;
  }
  template <typename T>
  [[nodiscard]] const T* as() const noexcept {
    return reinterpret_cast<const T*>(data());
  }

  //! True if everything read since the guard was made belongs to one version of the page. No writes, no
  //! syscall.
  [[nodiscard]] bool validate() const noexcept {
    assert(_state && "OptimisticGuard used without a page");
    // Keeps the reads of the page before the second load of the word; pairs with the release fence in
    // try_lock().
    std::atomic_thread_fence(std::memory_order_acquire);
    const PageState now = _state->load(std::memory_order_relaxed);
    return now.same_version(_seen) && now.readable();
  }

  //! Turns this into a latch on the very version that was seen. False (and `guard` untouched) if the page has
  //! changed, is gone, or is latched in a way that is in the way; then start again.
  [[nodiscard]] bool try_upgrade(SharedGuard& guard) const noexcept;
  [[nodiscard]] bool try_upgrade(ExclusiveGuard& guard) const noexcept;

  [[nodiscard]] PageState seen() const noexcept { return _seen; }

 private:
  PageState _seen;
};

//! A page nobody can change or evict. Up to 252 holders at once.
class SharedGuard : public PageRef {
 public:
  SharedGuard() noexcept = default;
  //! Takes over a shared latch that is held already.
  explicit SharedGuard(const PageRef& page) noexcept : PageRef(page) {}
  SharedGuard(SharedGuard&& other) noexcept
      : PageRef(std::exchange(static_cast<PageRef&>(other), PageRef{})) {}
  SharedGuard& operator=(SharedGuard&& other) noexcept {
    if (this != &other) {
      release();
      static_cast<PageRef&>(*this) = std::exchange(static_cast<PageRef&>(other), PageRef{});
    }
    return *this;
  }
  ~SharedGuard() { release(); }

  [[nodiscard]] const std::byte* data() const noexcept {
    assert(_state && "SharedGuard used without a page");
    return _data;
  }
  template <typename T>
  [[nodiscard]] const T* as() const noexcept {
    return reinterpret_cast<const T*>(data());
  }

  //! Gives the latch back; data() must not be used any more. Nothing happens on an empty guard.
  void release() noexcept {
    if (!_state) return;
    PageState seen = _state->load(std::memory_order_relaxed);
    do {
      assert(seen.shared() && "shared latch released twice");
    } while (!_state->compare_exchange(seen, PageState{seen.bits - 1}));
    static_cast<PageRef&>(*this) = PageRef{};
  }
};

//! A page that is ours alone. On release it counts as changed (dirty, new version) unless
//! release_unmodified() is used.
class ExclusiveGuard : public PageRef {
 public:
  ExclusiveGuard() noexcept = default;
  //! Takes over an exclusive latch that is held already.
  explicit ExclusiveGuard(const PageRef& page) noexcept : PageRef(page) {}
  ExclusiveGuard(ExclusiveGuard&& other) noexcept
      : PageRef(std::exchange(static_cast<PageRef&>(other), PageRef{})) {}
  ExclusiveGuard& operator=(ExclusiveGuard&& other) noexcept {
    if (this != &other) {
      release();
      static_cast<PageRef&>(*this) = std::exchange(static_cast<PageRef&>(other), PageRef{});
    }
    return *this;
  }
  ~ExclusiveGuard() { release(); }

  [[nodiscard]] std::byte* data() const noexcept {
    assert(_state && "ExclusiveGuard used without a page");
    return _data;
  }
  template <typename T>
  [[nodiscard]] T* as() const noexcept {
    return reinterpret_cast<T*>(data());
  }

  //! Gives the latch back, the page marked as changed. Nothing happens on an empty guard.
  void release() noexcept {
    if (!_state) return;
    const PageState held = _state->load(std::memory_order_relaxed);
    assert(held.exclusive() && "exclusive latch released twice");
    _state->store(held.next_version()
                      .with(PageState::kDirty)
                      .without(PageState::kMarked)
                      .with_latch(PageState::kUnlocked));
    static_cast<PageRef&>(*this) = PageRef{};
  }

  //! Gives the latch back and promises that not one byte was changed: readers that overlapped stay valid, and
  //! the page is written back only if it was dirty before.
  void release_unmodified() noexcept {
    if (!_state) return;
    const PageState held = _state->load(std::memory_order_relaxed);
    assert(held.exclusive() && "exclusive latch released twice");
    _state->store(held.without(PageState::kMarked).with_latch(PageState::kUnlocked));
    static_cast<PageRef&>(*this) = PageRef{};
  }

  //! Leaves the latch held and forgets it; for code that hands the latch on by other means.
  PageRef detach() noexcept { return std::exchange(static_cast<PageRef&>(*this), PageRef{}); }
};

//! How an attempt to fix a page ended that neither waits nor faults.
enum class TryFix : std::uint8_t {
  kFixed,  //!< the guard holds the page
  kBusy,   //!< another holder's latch is in the way: try again later
  kMiss,   //!< not resident (or being loaded, or no such page): fault it
};

//! The latch transitions. Free functions on the word, used by pool and guards alike.
namespace latch {

inline void clear_mark(AtomicPageState& state, PageState seen) noexcept {
  // One attempt: if it fails somebody else has just used or changed the page, which says as much as the mark.
  if (seen.marked()) state.compare_exchange(seen, seen.without(PageState::kMarked));
}

inline TryFix try_shared(AtomicPageState& state, PageState seen) noexcept {
  for (;;) {
    if (seen.evicted() || seen.faulting()) return TryFix::kMiss;
    if (seen.latch() >= PageState::kSharedLast) return TryFix::kBusy;
    if (state.compare_exchange(seen, PageState{seen.bits + 1}.without(PageState::kMarked)))
      return TryFix::kFixed;
  }
}

inline TryFix try_exclusive(AtomicPageState& state, PageState seen) noexcept {
  for (;;) {
    if (seen.evicted() || seen.faulting()) return TryFix::kMiss;
    if (!seen.unlocked()) return TryFix::kBusy;
    if (state.compare_exchange(seen, seen.with_latch(PageState::kExclusive))) {
      // The latch must be seen before any byte written under it; pairs with the fence in
      // OptimisticGuard::validate().
      std::atomic_thread_fence(std::memory_order_release);
      return TryFix::kFixed;
    }
  }
}

}  // namespace latch

inline bool OptimisticGuard::try_upgrade(SharedGuard& guard) const noexcept {
  assert(_state && !guard);
  PageState now = _state->load();
  do {
    if (!now.same_version(_seen) || !now.readable() || now.latch() == PageState::kSharedLast) return false;
  } while (!_state->compare_exchange(now, PageState{now.bits + 1}.without(PageState::kMarked)));
  guard = SharedGuard{*this};
  return true;
}

inline bool OptimisticGuard::try_upgrade(ExclusiveGuard& guard) const noexcept {
  assert(_state && !guard);
  PageState now = _state->load();
  do {
    if (!now.same_version(_seen) || !now.unlocked()) return false;
  } while (!_state->compare_exchange(now, now.with_latch(PageState::kExclusive)));
  std::atomic_thread_fence(std::memory_order_release);  // as in latch::try_exclusive()
  guard = ExclusiveGuard{*this};
  return true;
}

}  // namespace vmcache

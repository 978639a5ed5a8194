// SPDX-License-Identifier: MIT
//
// A guard is the right to read or change a page for as long as the guard lives. BufferPool and
// Worker make guards. A guard can be moved, not copied. It belongs to one thread at a time; a task
// may carry it across a co_await.
#pragma once

#include <atomic>
#include <cassert>
#include <cstddef>
#include <utility>

#include "vmcache/export.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

class BufferPool;
class ExclusiveGuard;
class SharedGuard;

//! What the three guards share: which page, where it is, and its state word.
class PageRef {
 public:
  PageRef() noexcept = default;
  PageRef(AtomicPageState* state, std::byte* data, PageId page_id) noexcept
      : _state(state), _data(data), _page_id(page_id) {}

  //! True while the guard holds a page.
  [[nodiscard]] explicit operator bool() const noexcept { return _state != nullptr; }
  [[nodiscard]] PageId page_id() const noexcept { return _page_id; }
  [[nodiscard]] AtomicPageState& state() const noexcept { return *_state; }

 protected:
  AtomicPageState* _state = nullptr;
  std::byte* _data = nullptr;
  PageId _page_id = kNoPage;
};

//! A page that may change or vanish while it is read. Bytes read through data() mean nothing until
//! validate() returns true *after* the read: copy first, validate, then use. The memory is always
//! readable, whatever happens to the page. It may yield any bytes, so check every length and offset
//! taken from it against a bound.
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

  //! True if everything read since the guard was made belongs to one version of the page. Writes
  //! nothing and makes no system call.
  [[nodiscard]] bool validate() const noexcept {
    assert(_state && "OptimisticGuard used without a page");
    // Keeps the reads of the page before the second load of the word. Pairs with the release fence
    // in latch::try_exclusive().
    std::atomic_thread_fence(std::memory_order_acquire);
    const PageState now = _state->load(std::memory_order_relaxed);
    return now.same_version(_seen) && now.readable();
  }

  //! Latches the version that was seen and gives the latch to `guard`. False, with `guard`
  //! untouched, if the page has changed or is gone, or another latch is in the way; start again
  //! then.
  [[nodiscard]] bool try_upgrade(SharedGuard& guard) const noexcept;
  [[nodiscard]] bool try_upgrade(ExclusiveGuard& guard) const noexcept;

  [[nodiscard]] PageState seen() const noexcept { return _seen; }

 private:
  PageState _seen;
};

//! A page that nobody can change or evict meanwhile. Up to 252 guards may hold one page. While a
//! writer waits for them to go, new ones are refused for half of the time: TryFix::kBusy, and the
//! blocking and awaitable calls wait.
class SharedGuard : public PageRef {
 public:
  SharedGuard() noexcept = default;
  //! Takes over a shared latch that is already held.
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

  //! Releases the latch; data() must not be used afterwards. Does nothing on an empty guard.
  void release() noexcept {
    if (!_state) return;
    const PageState held = _state->give_back_shared();
    assert((held.shared() || held.bits == 0) && "shared latch released twice");
    // I7: a fork has wiped the word
    if (held.bits == 0) [[unlikely]]
      _state->store({});
    static_cast<PageRef&>(*this) = PageRef{};
  }

  //! Empties the guard and leaves the latch held, for code that passes the latch on by other means.
  PageRef detach() noexcept { return std::exchange(static_cast<PageRef&>(*this), PageRef{}); }
};

//! A page that nobody else can latch. Releasing it marks the page as changed (dirty, new version)
//! unless release_unmodified() is used.
class ExclusiveGuard : public PageRef {
 public:
  ExclusiveGuard() noexcept = default;
  //! Takes over an exclusive latch that is already held.
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

  //! Releases the latch and marks the page as changed. Does nothing on an empty guard.
  void release() noexcept {
    if (!_state) return;
    const PageState held = _state->load(std::memory_order_relaxed);
    assert((held.exclusive() || held.bits == 0) && "exclusive latch released twice");
    _state->store(held.next_version()
                      .without(PageState::kMarked | PageState::kWriterWaits)
                      .unlatched()
                      .with(PageState::kDirty));
    static_cast<PageRef&>(*this) = PageRef{};
  }

  //! Releases the latch. The caller promises that it changed no byte. Readers that overlapped stay
  //! valid, and the page is written back only if it was dirty before. (A new page is dirty from the
  //! start, so its zeros are written.)
  void release_unmodified() noexcept {
    if (!_state) return;
    const PageState held = _state->load(std::memory_order_relaxed);
    assert((held.exclusive() || held.bits == 0) && "exclusive latch released twice");
    _state->store(held.without(PageState::kMarked | PageState::kWriterWaits).unlatched());
    static_cast<PageRef&>(*this) = PageRef{};
  }

  //! Empties the guard and leaves the latch held, for code that passes the latch on by other means.
  PageRef detach() noexcept { return std::exchange(static_cast<PageRef&>(*this), PageRef{}); }
};

//! Result of an attempt to fix a page that neither waits nor faults.
enum class TryFix : std::uint8_t {
  kFixed,  //!< the guard holds the page
  kBusy,   //!< another latch is in the way: try again later
  kMiss,   //!< not resident, being loaded, or no such page: fault it
};

//! The latch transitions, as free functions on the state word. Pool and guards use them.
namespace latch {

inline void clear_mark(AtomicPageState& state, PageState seen) noexcept {
  // One attempt is enough: if it fails, another thread has just used or changed the page.
  if (seen.marked()) state.compare_exchange(seen, seen.without(PageState::kMarked));
}

inline TryFix try_shared(AtomicPageState& state, PageState seen) noexcept {
  for (;;) {
    if (!seen.admits_shared()) [[unlikely]]
      return seen.evicted() || seen.faulting() ? TryFix::kMiss : TryFix::kBusy;
    if (state.compare_exchange(seen, PageState{seen.bits + 1}.without(PageState::kMarked)))
      return TryFix::kFixed;
  }
}

inline TryFix try_exclusive(AtomicPageState& state, PageState seen) noexcept {
  for (;;) {
    if (seen.evicted() || seen.faulting()) return TryFix::kMiss;
    if (!seen.unlocked()) return TryFix::kBusy;
    if (state.compare_exchange(seen, seen.with_latch(PageState::kExclusive))) {
      // Makes the latch visible before any byte written under it. Pairs with the fence in
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
    if (!now.same_version(_seen) || !now.admits_shared()) return false;
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

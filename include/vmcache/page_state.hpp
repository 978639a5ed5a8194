// SPDX-License-Identifier: MIT
//
// The state word: all the pool knows of a page, in 64 bits, so that every transition is one compare-and-swap.
//
//   bits  0- 7  latch    0 evicted, 1 unlocked, 2..0xfd shared by (latch - 1) holders, 0xfe faulting, 0xff exclusive
//   bit   8     marked   the sweep wants to know of the next access; the access clears it (else hits write nothing)
//   bit   9     dirty    the bytes in memory are newer than those in storage
//   bits 10-13  order    of the extent that begins here
//   bits 14-15  use      what the page id is in use for, as far as this pool has seen since it was opened
//   bits 16-23  tag      resident: low bits of the slot that holds the page; evicted: when it was (see residency)
//   bits 24-63  version  +1 for every exclusive release that changed the page, and for every eviction
//
// Invariants
//  I1  The word 0 is "evicted, never touched", so an array of zeros is a pool without pages.
//  I2  Only the holder of latch 0xfe or 0xff may store to the word without compare-and-swap.
//  I3  A page's bytes change only under 0xfe or 0xff. Leaving either with other bytes than before changes the version.
//      A load leaves the version alone: the eviction before it has changed it already.
//  I4  A page leaves memory only from (unlocked, clean) by a compare-and-swap of the whole word the decision was made
//      on. A page dirtied, or only used, since then has another word, and stays.
//  I5  dirty is cleared only by write-back, when a write has completed without error: under a shared latch that was held from
//      before it was submitted, so that nobody can have dirtied the page in between; or, where a copy was written, by a
//      compare-and-swap that finds the page readable and of the version that was copied.
//  I6  order and use outlive eviction, and a fault that contradicts them is refused: its asker has a page id that was
//      freed before the fault began, and that may be a part of another extent by now. Loading it would put old bytes
//      over the new owner's.
//
// Optimistic readers (after Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012): load
// the word with acquire, read bytes, fence acquire, load the word again. A writer's bytes are published by the release
// store that leaves 0xff; its latch is made visible before its bytes by the acq_rel compare-and-swap followed by a
// release fence.
#pragma once

#include <atomic>
#include <cstdint>

namespace vmcache {

//! A value of the state word. A plain value: cheap to copy, compared as a whole.
struct PageState {
  std::uint64_t bits = 0;

  static constexpr std::uint64_t kLatchMask = 0xff;
  static constexpr std::uint64_t kEvicted = 0x00;
  static constexpr std::uint64_t kUnlocked = 0x01;
  static constexpr std::uint64_t kSharedLast = 0xfd;
  static constexpr std::uint64_t kFaulting = 0xfe;
  static constexpr std::uint64_t kExclusive = 0xff;
  static constexpr std::uint64_t kMarked = std::uint64_t{1} << 8;
  static constexpr std::uint64_t kDirty = std::uint64_t{1} << 9;
  static constexpr unsigned kOrderShift = 10;
  static constexpr std::uint64_t kOrderMask = std::uint64_t{0xf} << kOrderShift;
  static constexpr unsigned kUseShift = 14;
  static constexpr std::uint64_t kUseMask = std::uint64_t{0x3} << kUseShift;
  static constexpr unsigned kTagShift = 16;
  static constexpr std::uint64_t kTagMask = std::uint64_t{0xff} << kTagShift;
  static constexpr std::uint64_t kVersionUnit = std::uint64_t{1} << 24;
  static constexpr std::uint64_t kVersionMask = ~(kVersionUnit - 1);

  enum class Use : std::uint8_t {
    kUnknown,  //!< not touched since the pool was opened
    kExtent,   //!< an extent of order() begins here
    kInner,    //!< inside an extent that begins earlier
    kFree,     //!< handed out to nobody
  };

  [[nodiscard]] constexpr std::uint64_t latch() const noexcept { return bits & kLatchMask; }
  [[nodiscard]] constexpr bool evicted() const noexcept { return latch() == kEvicted; }
  [[nodiscard]] constexpr bool unlocked() const noexcept { return latch() == kUnlocked; }
  [[nodiscard]] constexpr bool shared() const noexcept {
    return latch() > kUnlocked && latch() <= kSharedLast;
  }
  //! Resident, and no one may be changing it.
  [[nodiscard]] constexpr bool readable() const noexcept { return latch() - 1 < kSharedLast; }
  [[nodiscard]] constexpr bool faulting() const noexcept { return latch() == kFaulting; }
  [[nodiscard]] constexpr bool exclusive() const noexcept { return latch() == kExclusive; }
  [[nodiscard]] constexpr bool marked() const noexcept { return (bits & kMarked) != 0; }
  [[nodiscard]] constexpr bool dirty() const noexcept { return (bits & kDirty) != 0; }
  [[nodiscard]] constexpr unsigned order() const noexcept {
    return unsigned((bits & kOrderMask) >> kOrderShift);
  }
  [[nodiscard]] constexpr std::uint8_t tag() const noexcept {
    return static_cast<std::uint8_t>((bits & kTagMask) >> kTagShift);
  }

  [[nodiscard]] constexpr Use use() const noexcept {
    return static_cast<Use>((bits & kUseMask) >> kUseShift);
  }
  //! Whether an extent of this order may begin here, for all we know (I6).
  [[nodiscard]] constexpr bool admits(unsigned wanted_order) const noexcept {
    return use() == Use::kUnknown || (use() == Use::kExtent && order() == wanted_order);
  }

  [[nodiscard]] constexpr PageState with_latch(std::uint64_t latch) const noexcept {
    return {(bits & ~kLatchMask) | latch};
  }
  [[nodiscard]] constexpr PageState with_order(unsigned order) const noexcept {
    return {(bits & ~kOrderMask) | (std::uint64_t{order} << kOrderShift)};
  }
  [[nodiscard]] constexpr PageState with_use(Use use) const noexcept {
    return {(bits & ~kUseMask) | (static_cast<std::uint64_t>(use) << kUseShift)};
  }
  [[nodiscard]] constexpr PageState with_tag(std::uint8_t tag) const noexcept {
    return {(bits & ~kTagMask) | (std::uint64_t{tag} << kTagShift)};
  }
  [[nodiscard]] constexpr PageState with(std::uint64_t flag) const noexcept { return {bits | flag}; }
  [[nodiscard]] constexpr PageState without(std::uint64_t flag) const noexcept { return {bits & ~flag}; }
  [[nodiscard]] constexpr PageState next_version() const noexcept { return {bits + kVersionUnit}; }
  [[nodiscard]] constexpr bool same_version(PageState other) const noexcept {
    return ((bits ^ other.bits) & kVersionMask) == 0;
  }

  friend constexpr bool operator==(PageState, PageState) = default;
};

//! The atomic that holds it; zero-initialised memory is a valid array of these (I1).
class AtomicPageState {
 public:
  [[nodiscard]] PageState load(std::memory_order order = std::memory_order_acquire) const noexcept {
    return {_bits.load(order)};
  }
  //! Only for the holder of an exclusive or faulting latch (I2). The release pairs with every acquire load.
  void store(PageState state) noexcept { _bits.store(state.bits, std::memory_order_release); }
  //! On failure `expected` is what was found.
  bool compare_exchange(PageState& expected, PageState desired) noexcept {
    return _bits.compare_exchange_weak(expected.bits, desired.bits, std::memory_order_acq_rel,
                                       std::memory_order_acquire);
  }

 private:
  std::atomic<std::uint64_t> _bits;
};
static_assert(sizeof(AtomicPageState) == sizeof(std::uint64_t));

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// The state word: everything the pool knows about a page, in 64 bits. Each transition is therefore
// one compare-and-swap.
//
//   bits  0- 7  latch    0 evicted, 1 unlocked, 2..0xfd shared by (latch - 1) holders,
//                        0xfe faulting, 0xff exclusive
//   bit   8     marked   the sweep wants to see the next access, which clears the bit; other hits
//                        write nothing
//   bit   9     dirty    the bytes in memory are newer than those in storage
//   bits 10-13  order    of the extent that begins here
//   bits 14-15  use      of the page id, as far as this pool has seen since it was opened
//   bits 16-23  tag      evicted: when that was, in the replacement's time; 0 for never
//                        resident: bit 16 is set while a writer waits and no new shared latch is
//                        given; the other bits are 0
//   bits 24-63  version  +1 for every exclusive release that changed the page, and every eviction
//
// Invariants
//  I1  The word 0 means "evicted, never touched", so an array of zeros is a pool without pages.
//  I2  Only the holder of latch 0xfe or 0xff may store to the word without compare-and-swap.
//  I3  A page's bytes change only under 0xfe or 0xff. Leaving either with other bytes than before
//      changes the version. A load keeps the version, because the eviction before it has changed
//      it.
//  I4  A page leaves memory only from (unlocked, clean), by a compare-and-swap of the whole word
//      that the decision was based on. A page that was dirtied, or only used, since then has
//      another word and stays.
//  I5  Only write-back clears dirty, after a write has completed without error. Either it has held
//      a shared latch since before it submitted the write, so that nobody can have dirtied the page
//      in between. Or it has written a copy; then it clears dirty by a compare-and-swap that finds
//      the page readable and of the version that was copied. (Of a page that is read only it is the
//      write-back that throws the changes away, by the same rules.)
//  I6  order and use outlive eviction, and a fault that contradicts them is refused. Its caller has
//      a page id that was freed before the fault began and may be part of another extent by now.
//      Loading it would put old bytes over the new owner's.
//  I7  Releasing a guard from before a fork never makes a word readable that the fork has wiped
//      (0). An exclusive guard leaves it evicted, and a shared one puts the 0 back.
//  I8  A new extent is dirty, and of a new version, from the moment it is handed out. Its zeros are
//      only in memory. So if its holder changes nothing (ExclusiveGuard::release_unmodified()), the
//      old bytes in storage still do not count as the page's.
//  I9  Bit 16 of a resident page's word is set only on a shared word. It is cleared by the thread
//      that set it, by the thread that leaves 0xff, or by an eviction (L1 to L4 in
//      libvmcache/pool/latch_wait.hpp).
//  I10 Extents that are resident or being loaded do not overlap, whatever orders callers ask for. A
//      fault of an extent that the pool has not seen claims the first word. It then marks the
//      others kInner, each by a compare-and-swap from "evicted, never touched". If one of them is
//      anything else, it undoes this and is refused. A fault of a page inside finds kInner and is
//      refused. Or it has claimed its word first, and then the larger one is refused.
//
// Optimistic readers (after Boehm, "Can seqlocks get along with programming language memory
// models?", MSPC 2012) load the word with acquire, read bytes, fence acquire, and load the word
// again. The release store that leaves 0xff publishes a writer's bytes. The acq_rel
// compare-and-swap and the release fence after it make the writer's latch visible before its bytes.
#pragma once

#include <atomic>
#include <cstdint>

#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

//! A value of the state word. Cheap to copy; compared as a whole.
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
  static constexpr std::uint64_t kWriterWaits = std::uint64_t{1} << kTagShift;
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
  //! Resident, and one more shared latch can be taken.
  [[nodiscard]] constexpr bool admits_shared() const noexcept {
    return (bits & (kLatchMask | kWriterWaits)) - 1 < kSharedLast - 1;
  }
  [[nodiscard]] constexpr bool writer_waits() const noexcept { return (bits & kWriterWaits) != 0; }
  //! Resident, and nobody can be changing it.
  [[nodiscard]] constexpr bool readable() const noexcept { return latch() - 1 < kSharedLast; }
  [[nodiscard]] constexpr bool faulting() const noexcept { return latch() == kFaulting; }
  [[nodiscard]] constexpr bool exclusive() const noexcept { return latch() == kExclusive; }
  //! Latched: shared, faulting or exclusive.
  [[nodiscard]] constexpr bool latched() const noexcept { return latch() > kUnlocked; }
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
  //! Whether an extent of this order may begin here, as far as the pool knows (I6).
  [[nodiscard]] constexpr bool admits(unsigned wanted_order) const noexcept {
    return use() == Use::kUnknown || (use() == Use::kExtent && order() == wanted_order);
  }

  [[nodiscard]] constexpr PageState with_latch(std::uint64_t latch) const noexcept {
    return {(bits & ~kLatchMask) | latch};
  }
  //! From exclusive to unlocked. An all-zero word (wiped by a fork: own_process.hpp) stays evicted,
  //! because 0xff and 0x01 share bit 0 and nothing else.
  [[nodiscard]] constexpr PageState unlatched() const noexcept {
    return {bits & ~(kLatchMask & ~kUnlocked)};
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
  [[nodiscard]] constexpr PageState with(std::uint64_t flag) const noexcept {
    return {bits | flag};
  }
  [[nodiscard]] constexpr PageState without(std::uint64_t flag) const noexcept {
    return {bits & ~flag};
  }
  [[nodiscard]] constexpr PageState next_version() const noexcept { return {bits + kVersionUnit}; }
  [[nodiscard]] constexpr bool same_version(PageState other) const noexcept {
    return ((bits ^ other.bits) & kVersionMask) == 0;
  }

  friend constexpr bool operator==(PageState, PageState) = default;
};

//! The atomic word. Zero-initialised memory is a valid array of these (I1).
class AtomicPageState {
 public:
  [[nodiscard]] PageState load(std::memory_order order = std::memory_order_acquire) const noexcept {
    return {_bits.load(order)};
  }
  //! Only for the holder of an exclusive or faulting latch (I2). The release pairs with every
  //! acquire load.
  void store(PageState state) noexcept { _bits.store(state.bits, std::memory_order_release); }
  //! Gives one shared latch back and returns the word as it was before. The release keeps what this
  //! holder read before what the next exclusive holder writes.
  PageState give_back_shared() noexcept { return {_bits.fetch_sub(1, std::memory_order_acq_rel)}; }
  //! On failure `expected` becomes what was found.
  bool compare_exchange(PageState& expected, PageState desired) noexcept {
    return _bits.compare_exchange_weak(expected.bits, desired.bits, std::memory_order_acq_rel,
                                       std::memory_order_acquire);
  }

 private:
  std::atomic<std::uint64_t> _bits;
};
static_assert(sizeof(AtomicPageState) == sizeof(std::uint64_t));

}  // namespace vmcache

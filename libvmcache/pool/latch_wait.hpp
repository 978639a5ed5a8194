// SPDX-License-Identifier: MIT
//
// How a writer gets a page whose readers do not go.
//
// Shared latches that overlap would keep a writer out for ever. A writer that has waited for a
// while therefore sets PageState::kWriterWaits in the word. No new shared latch is given until it
// has had its turn or takes the bit back. Optimistic readers ignore the bit. A hit pays nothing:
// the bit is in the mask of the comparison that a shared latch needs anyway.
//
// Invariants
//  L1  The bit is set only on a shared word, by a compare-and-swap, by a thread that waits. That
//      thread takes it back when its wait ends, however it ends. Whoever leaves the exclusive latch
//      clears it, and so does an eviction. So there is no bit without a writer that still waits.
//  L2  Nobody changes the word of a page that is exclusively latched (I2). A thread that finds the
//      page so leaves the bit to the latch's holder.
//  L3  The bit is set for half of the time only. A reader that has the page and wants it a second
//      time waits for the writer, which waits for the reader's first latch; in the other half the
//      reader gets it. Each such period is as long as the writer has waited already, up to half a
//      second. So sooner or later one is longer than any reader keeps the page.
//  L4  The bit is not set for a page on its way to storage. There the writer waits for the write,
//      and readers need not stay out.
// Interleavings: two writers wait, and one gives up and takes the other's bit back; the other sets
// it again when it next looks. A writer gets the page, and another writer's bit goes with its
// release; the same.
#pragma once

#include <bit>
#include <cstdint>

#include "pool/engine.hpp"
#include "pool/pool_core.hpp"
#include "vmcache/page_state.hpp"

namespace vmcache::detail {

//! L3: whether a writer that has waited for that long now keeps new readers out.
[[nodiscard]] constexpr bool keeps_readers_out(std::uint64_t waited_ns) noexcept {
  constexpr std::uint64_t kPatienceNs = 200'000;
  constexpr unsigned kHalfSecondBit = 29;  // 0.54 s
  if (waited_ns < kPatienceNs) return false;
  if (waited_ns >> (kHalfSecondBit + 1) != 0) return (waited_ns >> kHalfSecondBit & 1) != 0;
  // The first half of the period from a wait of 2^k x kPatienceNs to twice that.
  const std::uint64_t began_ns = std::bit_floor(waited_ns / kPatienceNs) * kPatienceNs;
  return waited_ns - began_ns < began_ns / 2;
}

//! L1, L4. True if the bit is set now.
inline bool set_writer_waits(PoolCore& core, PageId page_id) noexcept {
  AtomicPageState& state = core.states()[page_id];
  PageState word = state.load();
  do {
    if (!word.shared() || core.writes.claimed(page_id)) return false;
  } while (!state.compare_exchange(word, word.with(PageState::kWriterWaits)));
  return true;
}

//! L1, L2.
inline void clear_writer_waits(PoolCore& core, PageId page_id) noexcept {
  AtomicPageState& state = core.states()[page_id];
  PageState word = state.load();
  while (word.readable() && word.writer_waits() &&
         !state.compare_exchange(word, word.without(PageState::kWriterWaits))) {
  }
}

//! A thread's wait for an exclusive latch. When it ends, in whatever way, readers may come in
//! again.
class WriterWait {
 public:
  WriterWait(PoolCore& core, PageId page_id) noexcept : _core(core), _page_id(page_id) {}
  ~WriterWait() {
    if (_set) clear_writer_waits(_core, _page_id);
  }
  WriterWait(const WriterWait&) = delete;
  WriterWait& operator=(const WriterWait&) = delete;

  //! To be called each time that the latch was refused.
  void refused() noexcept {
    const std::uint64_t now = now_ns();
    if (_since_ns == 0) _since_ns = now;
    if (keeps_readers_out(now - _since_ns)) {
      _set = set_writer_waits(_core, _page_id) || _set;
    } else if (_set) {
      clear_writer_waits(_core, _page_id);
      _set = false;
    }
  }

 private:
  PoolCore& _core;
  const PageId _page_id;
  std::uint64_t _since_ns = 0;
  bool _set = false;
};

}  // namespace vmcache::detail

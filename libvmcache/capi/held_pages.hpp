// SPDX-License-Identifier: MIT
//
// Which thread has which page fixed. struct vmcache_page is a value that a program may copy, forget
// or use twice; what counts is the slot that it names.
//
// Invariants
//  H1  Slots lie in blocks, which are never freed. A block belongs to one thread at a time
//      (`owner`) and is used again after that thread has ended. So a stale struct leads to a slot,
//      and never to memory that is gone.
//  H2  Each use of a slot has a number of its own (`use`). It is 0 while the slot holds nothing. A
//      struct whose number is not the slot's is a copy of one that was unfixed.
//  H3  Only the owner's thread changes a slot, and only after it has looked at the owner. Others
//      read `use`, `owner` and `pool`, which are atomic.
//  H4  A pool's handle is freed only when no slot names the pool (holds_pages()). So a slot's
//      handle is always there.
//  H5  There is no lock: a child of fork() may find any state of other threads, and waits for none.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vmcache.h"
#include "vmcache/guard.hpp"

namespace vmcache::capi {

struct HeldBlock;

struct HeldPage {
  std::atomic<std::uint64_t> use{0};   //!< H2
  std::atomic<std::uint64_t> pool{0};  //!< number of the pool's handle, or 0
  vmcache_pool* handle = nullptr;
  PageRef page;  //!< with its latch, which this slot owns
  bool exclusive = false;
  HeldBlock* block = nullptr;
  HeldPage* next_free = nullptr;
};

//! Takes a slot for a page that is about to be fixed. Throws std::bad_alloc. The slot holds nothing
//! until keep() or give_back() is called. Null if this thread is ending: no more pages then.
[[nodiscard]] HeldPage* take_slot();
//! Returns a slot that was taken for nothing, or whose latch is gone.
void give_back(HeldPage* slot) noexcept;
//! Puts a latch into the slot and fills in `page`.
void keep(HeldPage* slot, vmcache_pool* handle, const PageRef& latched, bool exclusive, void* data,
          struct vmcache_page* page) noexcept;

//! The slot of a page that this thread holds, or null with a failure remembered and `code` set.
[[nodiscard]] HeldPage* find_held(const char* call, const struct vmcache_page* page,
                                  int& code) noexcept;
//! Hands out the slot's latch and clears `page`. give_back() follows once the latch is gone.
PageRef forget(HeldPage* slot, struct vmcache_page* page) noexcept;

//! Whether some thread holds a page of the pool whose handle has this number.
[[nodiscard]] bool holds_pages(std::uint64_t pool) noexcept;

}  // namespace vmcache::capi

// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

#include "capi/held_pages.hpp"
#include "capi/pool_handle.hpp"
#include "vmcache.h"
#include "vmcache/buffer_pool.hpp"

namespace vmcache::capi {

//! A slot for a page that is about to be fixed. It goes back unless something was put into it.
class NewSlot {
 public:
  //! Throws std::bad_alloc; Error kWrongThread if this thread is ending.
  NewSlot() : _slot(take_slot()) {
    if (_slot == nullptr)
      throw Error(Errc::kWrongThread, "this thread is ending and cannot fix pages any more");
  }
  ~NewSlot() {
    if (_slot != nullptr) give_back(_slot);
  }
  NewSlot(const NewSlot&) = delete;
  NewSlot& operator=(const NewSlot&) = delete;

  void fill(vmcache_pool& handle, SharedGuard&& guard, struct vmcache_page* page) noexcept {
    void* data = handle.pool().address(guard.page_id());
    keep(std::exchange(_slot, nullptr), &handle, guard.detach(), false, data, page);
  }
  void fill(vmcache_pool& handle, ExclusiveGuard&& guard, struct vmcache_page* page) noexcept {
    void* data = guard.data();
    keep(std::exchange(_slot, nullptr), &handle, guard.detach(), true, data, page);
  }

 private:
  HeldPage* _slot;
};

}  // namespace vmcache::capi

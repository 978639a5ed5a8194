// SPDX-License-Identifier: MIT
#include <algorithm>
#include <span>
#include <vector>

#include "capi/failure.hpp"
#include "capi/held_pages.hpp"
#include "capi/new_slot.hpp"
#include "capi/pool_handle.hpp"
#include "vmcache.h"
#include "vmcache/buffer_pool.hpp"

namespace vmcache::capi {
namespace {

using Page = struct vmcache_page;

//! Checks what all calls have that make a vmcache_page, and clears it.
int begin(const char* call, const vmcache_pool* pool, int mode, Page* page) noexcept {
  if (page == nullptr) return fail_null(call, "page");
  *page = {};
  if (pool == nullptr) return fail_null(call, "pool");
  return check_mode(call, mode);
}

template <typename Guard>
int try_fix(const char* call, vmcache_pool& handle, PageId page_id, unsigned order, Page* page) {
  NewSlot slot;
  Guard guard;
  switch (handle.pool().try_fix(page_id, guard)) {
    case TryFix::kFixed:
      break;
    case TryFix::kBusy:
      return answer(VMCACHE_BUSY, "vmcache_try_fix: the page is latched");
    case TryFix::kMiss:
      (void)handle.pool().root(0);  // throws if no page can be there: closed, another process
      return answer(VMCACHE_MISS, "vmcache_try_fix: the page is not in memory");
  }
  const unsigned found = guard.state().load(std::memory_order_relaxed).order();
  if (found != order) {
    detail::let_go(guard);
    return fail(VMCACHE_INVALID_PAGE, "%s: page %llu is an extent of order %u, not %u", call,
                static_cast<unsigned long long>(page_id), found, order);
  }
  slot.fill(handle, std::move(guard), page);
  return VMCACHE_OK;
}

template <typename Guard>
int upgrade(vmcache_pool& handle, const OptimisticGuard& from, Page* page) {
  NewSlot slot;
  Guard guard;
  if (!from.try_upgrade(guard))
    return answer(VMCACHE_CHANGED, "vmcache_read_upgrade: the page has changed or is latched");
  slot.fill(handle, std::move(guard), page);
  return VMCACHE_OK;
}

OptimisticGuard guard_of(const struct vmcache_read& read) noexcept {
  auto* handle = reinterpret_cast<vmcache_pool*>(read.opaque[0]);
  return {handle->pool().page_ref(read.page_id), PageState{read.opaque[1]}};
}

int unfix(const char* call, Page* page, bool unchanged) noexcept {
  int code = VMCACHE_OK;
  HeldPage* slot = find_held(call, page, code);
  if (slot == nullptr) return code;
  const bool exclusive = slot->exclusive;
  const PageRef latched = forget(slot, page);
  if (!exclusive) {
    SharedGuard{latched}.release();
  } else if (unchanged) {
    ExclusiveGuard{latched}.release_unmodified();
  } else {
    ExclusiveGuard{latched}.release();
  }
  give_back(slot);
  return VMCACHE_OK;
}

}  // namespace
}  // namespace vmcache::capi

using namespace vmcache;
using namespace vmcache::capi;

int vmcache_fix(struct vmcache_pool* pool, uint64_t page_id, unsigned order, int mode,
                struct vmcache_page* page) {
  constexpr const char* kCall = "vmcache_fix";
  if (const int code = begin(kCall, pool, mode, page)) return code;
  if (const int code = pool->refuse_change(kCall, page_id, mode)) return code;
  return guarded(kCall, [&] {
    NewSlot slot;
    if (mode == VMCACHE_SHARED) {
      slot.fill(*pool, pool->pool().fix_shared(page_id, order), page);
    } else {
      slot.fill(*pool, pool->pool().fix_exclusive(page_id, order), page);
    }
  });
}

int vmcache_try_fix(struct vmcache_pool* pool, uint64_t page_id, unsigned order, int mode,
                    struct vmcache_page* page) {
  constexpr const char* kCall = "vmcache_try_fix";
  if (const int code = begin(kCall, pool, mode, page)) return code;
  if (const int code = pool->refuse_change(kCall, page_id, mode)) return code;
  return guarded(kCall, [&] {
    return mode == VMCACHE_SHARED
               ? capi::try_fix<SharedGuard>(kCall, *pool, page_id, order, page)
               : capi::try_fix<ExclusiveGuard>(kCall, *pool, page_id, order, page);
  });
}

int vmcache_unfix(struct vmcache_page* page) {
  return unfix("vmcache_unfix", page, false);
}

int vmcache_unfix_unchanged(struct vmcache_page* page) {
  return unfix("vmcache_unfix_unchanged", page, true);
}

int vmcache_read_begin(struct vmcache_pool* pool, uint64_t page_id, unsigned order,
                       struct vmcache_read* read) {
  constexpr const char* kCall = "vmcache_read_begin";
  if (read == nullptr) return fail_null(kCall, "read");
  *read = {};
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] {
    const OptimisticGuard guard = pool->pool().fix_optimistic(page_id, order);
    read->data = guard.data();
    read->page_id = page_id;
    read->opaque[0] = reinterpret_cast<std::uintptr_t>(pool);
    read->opaque[1] = guard.seen().bits;
  });
}

int vmcache_read_validate(const struct vmcache_read* read) {
  constexpr const char* kCall = "vmcache_read_validate";
  if (read == nullptr) return fail_null(kCall, "read");
  if (read->opaque[0] == 0) return fail(VMCACHE_INVALID_OPTION, "%s: read has not begun", kCall);
  if (guard_of(*read).validate()) return VMCACHE_OK;
  return answer(VMCACHE_CHANGED, "vmcache_read_validate: the page has changed");
}

int vmcache_read_upgrade(const struct vmcache_read* read, int mode, struct vmcache_page* page) {
  constexpr const char* kCall = "vmcache_read_upgrade";
  if (page == nullptr) return fail_null(kCall, "page");
  *page = {};
  if (read == nullptr) return fail_null(kCall, "read");
  if (read->opaque[0] == 0) return fail(VMCACHE_INVALID_OPTION, "%s: read has not begun", kCall);
  if (const int code = check_mode(kCall, mode)) return code;
  vmcache_pool& handle = *reinterpret_cast<vmcache_pool*>(read->opaque[0]);
  if (const int code = handle.refuse_change(kCall, read->page_id, mode)) return code;
  return guarded(kCall, [&] {
    return mode == VMCACHE_SHARED ? upgrade<SharedGuard>(handle, guard_of(*read), page)
                                  : upgrade<ExclusiveGuard>(handle, guard_of(*read), page);
  });
}

namespace {

int pin_extent(const char* call, struct vmcache_pool* pool, uint64_t page_id, unsigned order,
               struct vmcache_pin* pin) noexcept {
  if (pin == nullptr) return fail_null(call, "pin");
  *pin = {};
  if (pool == nullptr) return fail_null(call, "pool");
  return guarded(call, [&] {
    Pin made = pool->pool().pin(page_id, order);
    const std::byte* data = made.data();
    const std::uint64_t number = pool->pins().add(std::move(made));
    pin->data = data;
    pin->page_id = page_id;
    pin->opaque[0] = reinterpret_cast<std::uintptr_t>(pool);
    pin->opaque[1] = number;
  });
}

}  // namespace

int vmcache_pin_page(struct vmcache_pool* pool, uint64_t page_id, struct vmcache_pin* pin) {
  return pin_extent("vmcache_pin_page", pool, page_id, 0, pin);
}

int vmcache_pin_extent(struct vmcache_pool* pool, uint64_t page_id, unsigned order,
                       struct vmcache_pin* pin) {
  return pin_extent("vmcache_pin_extent", pool, page_id, order, pin);
}

int vmcache_unpin(struct vmcache_pin* pin) {
  constexpr const char* kCall = "vmcache_unpin";
  if (pin == nullptr) return fail_null(kCall, "pin");
  if (pin->opaque[0] == 0)
    return fail(VMCACHE_INVALID_OPTION, "%s: pin holds no page, or was unpinned", kCall);
  auto* handle = reinterpret_cast<vmcache_pool*>(pin->opaque[0]);
  return guarded(kCall, [&] {
    handle->process().require("the pin");
    if (!handle->pins().remove(pin->opaque[1]))
      return fail(VMCACHE_INVALID_OPTION, "%s: pin is a copy of one that was unpinned (page %llu)",
                  kCall, static_cast<unsigned long long>(pin->page_id));
    *pin = {};
    return int{VMCACHE_OK};
  });
}

int vmcache_allocate(struct vmcache_pool* pool, unsigned order, struct vmcache_page* page) {
  constexpr const char* kCall = "vmcache_allocate";
  if (const int code = begin(kCall, pool, VMCACHE_EXCLUSIVE, page)) return code;
  if (const int code = pool->refuse_database(kCall)) return code;
  return guarded(kCall, [&] {
    NewSlot slot;
    slot.fill(*pool, pool->pool().allocate(order), page);
  });
}

int vmcache_allocate_pages(struct vmcache_pool* pool, size_t count, int placement,
                           struct vmcache_page* pages) {
  constexpr const char* kCall = "vmcache_allocate_pages";
  if (pages == nullptr) return fail_null(kCall, "pages");
  if (pool == nullptr) return fail_null(kCall, "pool");
  if (placement != VMCACHE_ANYWHERE && placement != VMCACHE_IN_A_ROW)
    return fail(VMCACHE_INVALID_OPTION, "%s: placement is %d: allowed are 0 and 1", kCall,
                placement);
  if (const int code = pool->refuse_database(kCall)) return code;
  return guarded(kCall, [&] {
    // Before slots for more pages than the pool has: this says what is allowed.
    const std::size_t slots_wanted = std::min<std::size_t>(count, pool->pool().pool_pages());
    std::vector<NewSlot> slots(slots_wanted);
    std::vector<ExclusiveGuard> made = pool->pool().allocate_pages(
        count, placement == VMCACHE_IN_A_ROW ? BufferPool::Placement::kInARow
                                             : BufferPool::Placement::kAnywhere);
    for (std::size_t n = 0; n < made.size(); ++n)
      slots[n].fill(*pool, std::move(made[n]), &pages[n]);
  });
}

int vmcache_free(struct vmcache_page* page) {
  constexpr const char* kCall = "vmcache_free";
  int code = VMCACHE_OK;
  HeldPage* slot = find_held(kCall, page, code);
  if (slot == nullptr) return code;
  if (!slot->exclusive)
    return fail(VMCACHE_INVALID_OPTION,
                "%s: page %llu is fixed in shared mode: allowed is "
                "VMCACHE_EXCLUSIVE",
                kCall, static_cast<unsigned long long>(page->page_id));
  if (const int refused = slot->handle->refuse_database(kCall)) return refused;
  ExclusiveGuard guard{slot->page};
  code = guarded(kCall, [&] { slot->handle->pool().free(std::move(guard)); });
  if (code != VMCACHE_OK) {
    (void)guard.detach();  // the slot still has it
    return code;
  }
  (void)forget(slot, page);
  give_back(slot);
  return VMCACHE_OK;
}

int vmcache_free_extent(struct vmcache_pool* pool, uint64_t page_id, unsigned order) {
  constexpr const char* kCall = "vmcache_free_extent";
  if (pool == nullptr) return fail_null(kCall, "pool");
  if (const int code = pool->refuse_database(kCall)) return code;
  return guarded(kCall, [&] {
    if (pool->pool().try_free({page_id, order})) return int{VMCACHE_OK};
    return answer(VMCACHE_BUSY, "vmcache_free_extent: a latch, a fault or a pin is in the way");
  });
}

int vmcache_drop(struct vmcache_pool* pool, uint64_t page_id) {
  constexpr const char* kCall = "vmcache_drop";
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] { pool->pool().drop(page_id); });
}

int vmcache_prefetch(struct vmcache_pool* pool, const struct vmcache_extent* extents,
                     size_t count) {
  constexpr const char* kCall = "vmcache_prefetch";
  if (pool == nullptr) return fail_null(kCall, "pool");
  if (extents == nullptr && count != 0) return fail_null(kCall, "extents");
  return guarded(kCall, [&] {
    std::vector<Extent> cpp(count);
    for (std::size_t n = 0; n < count; ++n) {
      if (extents[n].reserved != 0) throw Error(Errc::kInvalidOption, "extents: reserved is not 0");
      cpp[n] = {extents[n].page_id, extents[n].order};
    }
    pool->pool().prefetch(cpp);
  });
}

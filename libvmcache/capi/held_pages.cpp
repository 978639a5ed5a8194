// SPDX-License-Identifier: MIT
#include "capi/held_pages.hpp"

#include <array>
#include <utility>

#include "capi/failure.hpp"
#include "capi/pool_handle.hpp"

namespace vmcache::capi {

struct HeldBlock {
  static constexpr std::size_t kSlots = 32;

  std::atomic<std::uint64_t> owner{0};  //!< number of a thread, or 0
  HeldBlock* next_of_all = nullptr;     // set before it is published
  HeldBlock* next_of_thread = nullptr;  // the owner's
  std::array<HeldPage, kSlots> slots;

  HeldBlock() noexcept {
    for (HeldPage& slot : slots) slot.block = this;
  }
};

namespace {

std::atomic<HeldBlock*> all_blocks{nullptr};
std::atomic<std::uint64_t> last_thread{0};
std::atomic<std::uint64_t> last_use{0};

void release(HeldPage& slot) noexcept {
  const PageRef page = std::exchange(slot.page, PageRef{});
  slot.use.store(0, std::memory_order_relaxed);
  if (slot.exclusive) {
    ExclusiveGuard{page}.release();
  } else {
    SharedGuard{page}.release();
  }
  slot.pool.store(0, std::memory_order_release);
}

class ThreadPages {
 public:
  constexpr ThreadPages() noexcept = default;
  ThreadPages(const ThreadPages&) = delete;
  ThreadPages& operator=(const ThreadPages&) = delete;
  ~ThreadPages() {
    for (HeldBlock* block = std::exchange(_blocks, nullptr); block != nullptr;) {
      HeldBlock* const next = block->next_of_thread;
      for (HeldPage& slot : block->slots) {
        if (slot.use.load(std::memory_order_relaxed) == 0) continue;
        // In a child of fork() another thread may have had the callback, and its lock, for ever.
        if (slot.handle->process().here())
          slot.handle->log_format(VMCACHE_LOG_WARNING,
                                  "a thread has ended with page %llu fixed: it is unfixed",
                                  static_cast<unsigned long long>(slot.page.page_id()));
        release(slot);
      }
      block->owner.store(0, std::memory_order_release);  // pairs with adopt()
      block = next;
    }
    _free = nullptr;
    _ended = true;
  }

  [[nodiscard]] std::uint64_t number() const noexcept { return _number; }
  [[nodiscard]] HeldPage* take() {
    if (_free == nullptr) [[unlikely]] {
      if (_ended) return nullptr;
      grow();
    }
    return std::exchange(_free, _free->next_free);
  }
  void put(HeldPage* slot) noexcept { slot->next_free = std::exchange(_free, slot); }
  //! Taken from last_use in lots, so that a fix writes nothing that threads share.
  [[nodiscard]] std::uint64_t next_use() noexcept {
    constexpr std::uint64_t kLot = std::uint64_t{1} << 32;
    if (_uses_left == 0) {
      _next_use = last_use.fetch_add(kLot, std::memory_order_relaxed) + 1;
      _uses_left = kLot - 1;
    }
    --_uses_left;
    return _next_use++;
  }

 private:
  void grow() {
    if (_number == 0) _number = last_thread.fetch_add(1, std::memory_order_relaxed) + 1;
    HeldBlock* block = adopt();
    if (block == nullptr) {
      block = new HeldBlock;
      block->owner.store(_number, std::memory_order_relaxed);
      block->next_of_all = all_blocks.load(std::memory_order_relaxed);
      // Pairs with the loads in adopt() and holds_pages().
      while (!all_blocks.compare_exchange_weak(block->next_of_all, block, std::memory_order_release,
                                               std::memory_order_relaxed)) {
      }
    }
    block->next_of_thread = std::exchange(_blocks, block);
    for (HeldPage& slot : block->slots) put(&slot);
  }
  //! A block of a thread that has ended.
  [[nodiscard]] HeldBlock* adopt() const noexcept {
    HeldBlock* block = all_blocks.load(std::memory_order_acquire);
    for (; block != nullptr; block = block->next_of_all) {
      std::uint64_t nobody = 0;
      // Acquire: what the last owner has left in the slots.
      if (block->owner.compare_exchange_strong(nobody, _number, std::memory_order_acquire)) break;
    }
    return block;
  }

  HeldPage* _free = nullptr;
  HeldBlock* _blocks = nullptr;
  std::uint64_t _number = 0;
  std::uint64_t _next_use = 0;
  std::uint64_t _uses_left = 0;
  bool _ended = false;
};

constinit thread_local ThreadPages thread_pages;

}  // namespace

HeldPage* take_slot() {
  return thread_pages.take();
}

void give_back(HeldPage* slot) noexcept {
  // After the latch: pairs with holds_pages() in whoever destroys the pool.
  slot->pool.store(0, std::memory_order_release);
  thread_pages.put(slot);
}

void keep(HeldPage* slot, vmcache_pool* handle, const PageRef& latched, bool exclusive, void* data,
          struct vmcache_page* page) noexcept {
  const std::uint64_t use = thread_pages.next_use();
  slot->handle = handle;
  slot->page = latched;
  slot->exclusive = exclusive;
  slot->pool.store(handle->number(), std::memory_order_relaxed);
  slot->use.store(use, std::memory_order_relaxed);
  page->data = data;
  page->page_id = latched.page_id();
  page->opaque[0] = reinterpret_cast<std::uintptr_t>(slot);
  page->opaque[1] = use;
}

HeldPage* find_held(const char* call, const struct vmcache_page* page, int& code) noexcept {
  if (page == nullptr) {
    code = fail_null(call, "page");
    return nullptr;
  }
  if (page->opaque[0] == 0) {
    code = fail(VMCACHE_INVALID_OPTION, "%s: page holds no page, or was unfixed", call);
    return nullptr;
  }
  auto* slot = reinterpret_cast<HeldPage*>(page->opaque[0]);
  if (slot->use.load(std::memory_order_relaxed) != page->opaque[1]) {
    code = fail(VMCACHE_INVALID_OPTION, "%s: page is a copy of one that was unfixed (page %llu)",
                call, static_cast<unsigned long long>(page->page_id));
    return nullptr;
  }
  if (slot->block->owner.load(std::memory_order_relaxed) != thread_pages.number()) {
    code = fail(VMCACHE_WRONG_THREAD, "%s: page %llu was fixed by another thread", call,
                static_cast<unsigned long long>(page->page_id));
    return nullptr;
  }
  return slot;
}

PageRef forget(HeldPage* slot, struct vmcache_page* page) noexcept {
  const PageRef latched = std::exchange(slot->page, PageRef{});
  slot->use.store(0, std::memory_order_relaxed);
  *page = {};
  return latched;
}

bool holds_pages(std::uint64_t pool) noexcept {
  const HeldBlock* block = all_blocks.load(std::memory_order_acquire);
  for (; block != nullptr; block = block->next_of_all) {
    for (const HeldPage& slot : block->slots) {
      // Pairs with the release in give_back().
      if (slot.pool.load(std::memory_order_acquire) == pool) return true;
    }
  }
  return false;
}

}  // namespace vmcache::capi

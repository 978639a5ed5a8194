// SPDX-License-Identifier: MIT
//
// Operations. Code of a data structure that is written as an operation runs both blocking and
// awaited. The hit path needs no coroutine, no allocation and no virtual call.
//
// An operation has a function, step(), that works on resident pages. If step() lacks something, it
// releases its latches and returns what it lacks. The caller gets that, by blocking or as a
// suspended task, and calls step() again.
#pragma once

#include <concepts>
#include <cstdint>

#include "vmcache/detail/safepoint.hpp"
#include "vmcache/error.hpp"
#include "vmcache/export.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

class BufferPool;

//! What an operation lacks.
struct Need {
  enum class Kind : std::uint8_t {
    kNothing,  //!< the operation is complete
    kPage,     //!< `extent` must be resident
    //! Somebody else held a latch (that of extent.page_id, if known). Try again a little later.
    kLatch,
    //! It waits for something outside the pool. Try again after a pause.
    kPause,
    kTurn,       //!< Nothing, but it is others' turn (LongOperation).
    kNewExtent,  //!< a new extent of `extent.order`, which supply() hands over
  };
  Kind kind = Kind::kNothing;
  Extent extent;

  [[nodiscard]] static constexpr Need nothing() noexcept { return {}; }
  [[nodiscard]] static constexpr Need page(PageId page_id, unsigned order = 0) noexcept {
    return {Kind::kPage, {page_id, order}};
  }
  [[nodiscard]] static constexpr Need latch(PageId page_id = kNoPage) noexcept {
    return {Kind::kLatch, {page_id, 0}};
  }
  [[nodiscard]] static constexpr Need pause() noexcept { return {Kind::kPause, {}}; }
  [[nodiscard]] static constexpr Need turn() noexcept { return {Kind::kTurn, {}}; }
  [[nodiscard]] static constexpr Need new_extent(unsigned order = 0) noexcept {
    return {Kind::kNewExtent, {kNoPage, order}};
  }
  //! Turns a failed attempt to fix `page_id` into the matching need.
  [[nodiscard]] static constexpr Need after(TryFix result, PageId page_id,
                                            unsigned order = 0) noexcept {
    return result == TryFix::kMiss ? page(page_id, order) : latch(page_id);
  }
  //! Whether the operation may go on after its need ended with `status`. A page may have been freed
  //! between the operation's look at the page id and the fault. That is a lost race like any other,
  //! and the next step() finds its way anew. `stale` counts such races in a row. After 1000 in a
  //! row it cannot be a race: the page id leads nowhere, and the operation fails.
  [[nodiscard]] constexpr bool tolerates(const Status& status, unsigned& stale) const noexcept {
    constexpr unsigned kStaleInARow = 1000;
    if (status.ok()) {
      stale = 0;
      return true;
    }
    return status.code == Errc::kInvalidPage && kind == Kind::kPage && ++stale < kStaleInARow;
  }
  [[nodiscard]] constexpr bool done() const noexcept { return kind == Kind::kNothing; }
};

//! step() does all it can and returns what it lacks. Once it returns Need::kNothing, the operation
//! is complete and the result is in the object. If it returns anything else, it must hold no latch,
//! except on pages from supply(). It reports its own errors as exceptions. supply() takes a new
//! extent, zeroed and exclusively latched. The operation must free extents that it does not use
//! (BufferPool::free) before it completes or is destroyed.
template <typename T>
concept Operation = requires(T& op, BufferPool& pool, ExclusiveGuard&& fresh) {
  { op.step(pool) } -> std::same_as<Need>;
  op.supply(static_cast<ExclusiveGuard&&>(fresh));
};

//! An operation that may take longer than a task should hold up others, such as a scan. While a
//! Worker performs it, it knows the Worker's safepoint. When due() is true, step() should return
//! Need::turn() where it could as well lack a page. Null: nobody else waits.
template <typename T>
concept LongOperation = Operation<T> && requires(T& op, const detail::Safepoint* safepoint) {
  op.heed(safepoint);
};

}  // namespace vmcache

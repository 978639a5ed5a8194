// SPDX-License-Identifier: MIT
//
// Operations: how a data structure is written once and runs both blocking and awaitable, without a coroutine,
// an allocation or a virtual call on the hit path.
//
// An operation is a plain function that works on resident pages and gives up, holding no latch, as soon as it
// lacks something. It says what; a driver gets it (blocking, or as a suspended task) and calls again from the
// start.
#pragma once

#include <concepts>
#include <cstdint>

#include "vmcache/error.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

class BufferPool;

//! What an operation lacks.
struct Need {
  enum class Kind : std::uint8_t {
    kNothing,    //!< the operation is complete
    kPage,       //!< `extent` must be resident
    kLatch,      //!< somebody's latch was in the way (extent.page_id's, if known): try again a little later
    kPause,      //!< something outside of the pool that may take its time: try again after a pause
    kNewExtent,  //!< a new extent of `extent.order`; it comes through supply()
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
  [[nodiscard]] static constexpr Need new_extent(unsigned order = 0) noexcept {
    return {Kind::kNewExtent, {kNoPage, order}};
  }
  //! Turns a failed attempt to fix `page_id` into the need behind it.
  [[nodiscard]] static constexpr Need after(TryFix result, PageId page_id, unsigned order = 0) noexcept {
    return result == TryFix::kMiss ? page(page_id, order) : latch(page_id);
  }
  //! Whether the operation may go on after its need ended in `status`. A page that was freed between the operation's
  //! look at the page id and the fault is a lost race like any other: the next step() finds its way anew. `stale` counts
  //! such races in a row; past a bound it is no race but a page id that leads nowhere, and the operation fails.
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

//! step() does all it can and returns what it lacks; with Need::kNothing the result is in the object. It must
//! hold no latch of a page when it returns anything else, except on pages it got through supply(). Errors of
//! its own it throws. supply() takes a new extent, zeroed and exclusively latched; what it does not use in
//! the end it gives back (BufferPool::free) before it completes or is destroyed.
template <typename T>
concept Operation = requires(T& op, BufferPool& pool, ExclusiveGuard&& fresh) {
  { op.step(pool) } -> std::same_as<Need>;
  op.supply(static_cast<ExclusiveGuard&&>(fresh));
};

}  // namespace vmcache

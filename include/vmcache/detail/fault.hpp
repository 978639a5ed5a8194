// SPDX-License-Identifier: MIT
//
// A fault as an object: what a thread or task asks of the pool when a page is missing. It lives in
// the caller's frame (stack or coroutine), so a miss allocates nothing.
#pragma once

#include <cstdint>

#include "vmcache/error.hpp"
#include "vmcache/export.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

//! One request to the fault engine. The caller fills it in. From then until it has ended, it
//! belongs to the engine.
struct FaultRequest : IoRequest {
  enum class Goal : std::uint8_t {
    kResident,   //!< in memory, at least at the moment of completion
    kShared,     //!< also shared-latched for the caller
    kExclusive,  //!< also exclusively latched for the caller
    //! Newly allocated: zeroed instead of read, and exclusively latched for the caller.
    kNew,
    //! Frees the extent, which the caller has latched exclusively and checked (Worker::free()).
    kFree,
    //! Does nothing and ends in the engine's next turn. The engine waits a little first if it has
    //! nothing else to do and the first page of `extent` is latched, or no page is named (kNoPage).
    //! It waits longer the longer the request has been tried in vain.
    kRetry,
    kPause,  //!< as kRetry, but waits whatever the page's latch is
    kTurn,   //!< does nothing and ends in the engine's next turn, which does not wait for it
  };

  Extent extent;
  Goal goal = Goal::kResident;
  Status status;  //!< how it ended
  //! The engine's thread calls it once, at the end of a turn. The engine is then consistent, so the
  //! function may start requests, make blocking calls of the pool and destroy this request. If it
  //! is null the caller looks at `ended`.
  void (*on_complete)(FaultRequest&) noexcept = nullptr;
  void* user_data = nullptr;       //!< for `on_complete`
  bool keeps_readers_out = false;  //!< PageState::kWriterWaits is set for it (the engine's)
  //! The engine no longer uses the request. Set only if `on_complete` is null.
  bool ended = false;

  // The engine's.
  PageState claimed;       //!< the word before it became faulting
  std::uint32_t slot = 0;  //!< where the page will reside
  //! Since when it has found no frame, or has waited for another engine's load; 0 if it does
  //! neither.
  std::uint64_t starved_ns = 0;
  //! Since when it has waited for a latch or been tried in vain; 0 if it does neither.
  std::uint64_t waits_ns = 0;
  FaultRequest* next_ended = nullptr;  //!< the next one whose caller has not been told yet
};

}  // namespace vmcache

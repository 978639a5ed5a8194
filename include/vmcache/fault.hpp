// SPDX-License-Identifier: MIT
//
// A fault as an object: what a thread or task asks of the pool when a page is not there. It lives in the
// asker's frame (stack or coroutine), so a miss allocates nothing.
#pragma once

#include <cstdint>

#include "vmcache/error.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

//! One request to the fault engine. Filled by the asker, then the engine's until `done` is called.
struct FaultRequest : IoRequest {
  enum class Goal : std::uint8_t {
    kResident,   //!< in memory, at least at the moment of completion
    kShared,     //!< and shared-latched for the asker
    kExclusive,  //!< and exclusively latched for the asker
    kNew,        //!< newly allocated: not read but zeroed, and exclusively latched for the asker
    kRetry,      //!< nothing: completes in the engine's next turn
    kPause,      //!< the same, but the engine waits a little before that turn if it has nothing else to do
  };

  Extent extent;
  Goal goal = Goal::kResident;
  Status status;  //!< how it ended
  void (*done)(FaultRequest&) noexcept =
      nullptr;            //!< called once, by the engine's thread; may destroy the request
  void* asker = nullptr;  //!< for `done`

  // The engine's.
  PageState claimed;             //!< the word as it was when we made it faulting
  std::uint32_t slot = 0;        //!< where the page will reside
  std::uint64_t starved_ns = 0;  //!< since when it finds no frame; 0 if it does not starve
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pool/engine_base.hpp"
#include "pool/fault_queue.hpp"
#include "pool/request_ends.hpp"
#include "vmcache/detail/fault.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

//! An engine's requests from their start until they have claimed their page, or have ended without.
class RequestQueue {
 public:
  RequestQueue(EngineBase& base, FaultQueue& faults, RequestEnds& ends) noexcept
      : _base(base), _core(base.core), _faults(faults), _ends(ends) {}

  //! Whether there is room for that many requests.
  [[nodiscard]] bool has_room(std::size_t requests) const noexcept {
    return requests <= _arrived.capacity();
  }
  //! Room for that many. Throws std::bad_alloc.
  void reserve(std::size_t requests);
  //! Takes a request, for which there is room.
  void add(FaultRequest& request) noexcept { _arrived.push_back(&request); }

  //! Looks at the requests that are new, and again at those that wait.
  void advance() {
    _waits_ns = 0;
    if (!_arrived.empty() || !_waiting.empty()) advance_all();
  }
  //! The turn has waited: ends the requests that only paused.
  void end_pauses() {
    if (!_pausing.empty()) end_all_pauses();
  }

  //! Whether there are requests that no turn has looked at yet.
  [[nodiscard]] bool has_new() const noexcept { return !_arrived.empty(); }
  //! Whether requests wait for what no completion announces: a latch, another engine's load.
  [[nodiscard]] bool waits() const noexcept { return !_waiting.empty() || !_pausing.empty(); }
  //! Since when the latest of them waits (CLOCK_MONOTONIC); 0 if none does.
  [[nodiscard]] std::uint64_t waits_since_ns() const noexcept { return _waits_ns; }

 private:
  void advance_all();
  void end_all_pauses();
  void advance(FaultRequest& request);
  void advance_pause(FaultRequest& request);
  void advance_page(FaultRequest& request);
  [[nodiscard]] Status check_held(Extent extent) const;
  void advance_resident(FaultRequest& request, PageState word);
  void advance_resident_new(FaultRequest& request);
  void take_new(FaultRequest& request);
  void wait_in(std::vector<FaultRequest*>& list, FaultRequest& request) noexcept;
  void wait_for_freed(FaultRequest& request);
  [[nodiscard]] bool waits_in_vain(FaultRequest& request) const;
  void free_extents();

  EngineBase& _base;
  PoolCore& _core;
  FaultQueue& _faults;
  RequestEnds& _ends;
  std::vector<FaultRequest*> _arrived;  // started, not looked at
  std::vector<FaultRequest*> _waiting;  // for a latch, or for another's load
  std::vector<FaultRequest*> _pausing;  // kRetry and kPause, until this turn has waited
  std::vector<FaultRequest*> _freed;    // extents whose frames go in this turn
  std::vector<FaultRequest*> _now;      // scratch of advance()
  std::vector<Extent> _dropped;         // scratch of free_extents()
  std::uint64_t _waits_ns = 0;
};

}  // namespace vmcache::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "pool/engine_base.hpp"
#include "vmcache/detail/fault.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {

//! Counts an engine's requests, notes which have ended, and tells their callers at the end of a
//! turn (E1, E2 of engine.hpp).
class RequestEnds {
 public:
  explicit RequestEnds(EngineBase& base) noexcept : _base(base) {}

  void begin_turn() noexcept { _news = false; }
  void started() noexcept { ++_unfinished; }
  //! Requests that were started and whose callers do not know of their end.
  [[nodiscard]] std::size_t unfinished() const noexcept { return _unfinished; }
  //! Whether the turn may wait: nothing has ended in it that somebody waits for. Those who are told
  //! within a callback's blocking call are not waited for by it (E2).
  [[nodiscard]] bool nothing_to_tell() const noexcept {
    return !_news && (_telling || _first == nullptr);
  }

  //! The request waits for readers to go (latch_wait.hpp).
  void hold_readers_off(FaultRequest& request) noexcept;
  //! Notes how the request has ended (E1).
  void finish(FaultRequest& request, Status status) noexcept;
  //! Calls on_complete() of what has ended so far. What callbacks add is told by the next turn, so
  //! that tasks that are ready come first.
  void tell() {
    if (_first != nullptr && !_telling) tell_all();
  }

 private:
  void tell_all();
  void let_readers_in(FaultRequest& request) noexcept;

  EngineBase& _base;
  std::size_t _unfinished = 0;
  FaultRequest* _first = nullptr;  // whose callers are to be told: a list by next_ended
  FaultRequest* _last = nullptr;
  bool _telling = false;  // a callback is running
  bool _news = false;     // a request has ended in this turn
};

}  // namespace vmcache::detail

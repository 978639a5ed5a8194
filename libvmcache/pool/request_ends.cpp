// SPDX-License-Identifier: MIT
#include "pool/request_ends.hpp"

#include "pool/latch_wait.hpp"

namespace vmcache::detail {

void RequestEnds::finish(FaultRequest& request, Status status) noexcept {
  request.status = status;
  let_readers_in(request);
  _news = true;
  if (request.on_complete == nullptr) {
    --_unfinished;
    request.ended = true;
    return;
  }
  request.next_ended = nullptr;
  (_first == nullptr ? _first : _last->next_ended) = &request;
  _last = &request;
}

void RequestEnds::tell_all() {
  _telling = true;
  const FaultRequest* const last = _last;
  for (bool more = true; more;) {
    FaultRequest& request = *_first;
    more = &request != last;
    _first = request.next_ended;
    --_unfinished;  // only now: the callback may start the request again, and that cannot fail
    request.on_complete(request);
  }
  _telling = false;
}

void RequestEnds::hold_readers_off(FaultRequest& request) noexcept {
  if (keeps_readers_out(_base.now - request.waits_ns)) {
    if (set_writer_waits(_base.core, request.extent.page_id)) request.keeps_readers_out = true;
  } else {
    let_readers_in(request);
  }
}

void RequestEnds::let_readers_in(FaultRequest& request) noexcept {
  if (!request.keeps_readers_out) return;
  request.keeps_readers_out = false;
  clear_writer_waits(_base.core, request.extent.page_id);
}

}  // namespace vmcache::detail

// SPDX-License-Identifier: MIT
#include "pool/request_queue.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#include "pool/freeing.hpp"
#include "pool/inner_pages.hpp"
#include "pool/pool_core.hpp"
#include "pool/raw_file.hpp"
#include "vmcache/guard.hpp"

namespace vmcache::detail {
namespace {

using Goal = FaultRequest::Goal;

}  // namespace

void RequestQueue::reserve(std::size_t requests) {
  for (auto* list : {&_waiting, &_freed, &_pausing, &_now}) list->reserve(requests);
  _dropped.reserve(kMaxBatch);
  _arrived.reserve(requests);  // last: has_room() asks it
}

void RequestQueue::advance_all() {
  _now.clear();
  _now.swap(_waiting);
  _now.insert(_now.end(), _arrived.begin(), _arrived.end());
  _arrived.clear();
  for (FaultRequest* request : _now) advance(*request);
  if (!_freed.empty()) free_extents();
}

void RequestQueue::end_all_pauses() {
  for (FaultRequest* request : _pausing) _ends.finish(*request, {});
  _pausing.clear();
}

//! For another look in a later turn.
void RequestQueue::wait_in(std::vector<FaultRequest*>& list, FaultRequest& request) noexcept {
  if (request.waits_ns == 0) request.waits_ns = _base.now;
  _waits_ns = std::max(_waits_ns, request.waits_ns);
  list.push_back(&request);
}

//! A new extent's pages were free. So a latch there is a sweep's, which ends at once, or that of
//! somebody who has kept a page that was freed. That one is not waited for without a bound: it may
//! be this thread.
void RequestQueue::wait_for_freed(FaultRequest& request) {
  if (request.waits_ns != 0 && _base.now - request.waits_ns > _core.patience_ns())
    return _ends.finish(request, {Errc::kBusy, 0, request.extent.page_id});
  wait_in(_waiting, request);
}

//! For a page that another engine loads: that one comes to an end, unless it is a Worker's whose
//! thread has stopped.
bool RequestQueue::waits_in_vain(FaultRequest& request) const {
  if (request.starved_ns == 0) request.starved_ns = _base.now;
  const std::uint64_t patience = _core.patience_ns();
  return _base.now - request.starved_ns > patience &&
         _core.engines.worker_stands_still(_base.now, patience);
}

void RequestQueue::advance(FaultRequest& request) {
  // R14. A pause is for what is no page: the log, say. A file's page is looked at once it is held.
  if (const int error = _core.storage_flush.error();
      error != 0 && request.goal != Goal::kPause && request.goal != Goal::kTurn &&
      _core.files.of_database(request.extent.page_id)) [[unlikely]]
    return _ends.finish(request, {Errc::kIo, error, request.extent.page_id});
  switch (request.goal) {
    case Goal::kRetry:
    case Goal::kPause:
      return advance_pause(request);
    case Goal::kTurn:
      return _ends.finish(request, {});
    case Goal::kFree:
      return _freed.push_back(&request);
    default:
      return advance_page(request);
  }
}

void RequestQueue::advance_pause(FaultRequest& request) {
  if (request.goal == Goal::kPause) return wait_in(_pausing, request);
  const PageId page_id = request.extent.page_id;
  const bool is_page = page_id < _core.files.capacity_pages();
  _base.counters.latch_waits.add(1);
  if (is_page && !_core.states()[page_id].load().latched()) return _ends.finish(request, {});
  wait_in(_pausing, request);
  // An operation that finds readers in its way, time and again, wants the page exclusively.
  if (is_page) _ends.hold_readers_off(request);
}

void RequestQueue::advance_page(FaultRequest& request) {
  const Extent extent = request.extent;
  const bool of_file = !_core.files.of_database(extent.page_id);
  const std::uint64_t end =
      of_file ? _core.files.end_of(extent.page_id) : _core.database.allocator.next_page();
  const bool valid = extent.page_id != kNoPage && extent.order <= kMaxOrder &&
                     extent.page_id < end && extent.pages() <= end - extent.page_id &&
                     (extent.page_id & (extent.pages() - 1)) == 0;
  if (!valid) return _ends.finish(request, {Errc::kInvalidPage, 0, extent.page_id});

  if (request.goal == Goal::kNew && extent.order > 0) return take_new(request);
  AtomicPageState& state = _core.states()[extent.page_id];
  PageState word = state.load();
  const bool fresh = request.goal == Goal::kNew;
  while (word.evicted()) {
    if (!fresh && !word.admits(extent.order))
      return _ends.finish(request, {Errc::kInvalidPage, 0, extent.page_id});
    if (!state.compare_exchange(word, word.with_latch(PageState::kFaulting))) continue;
    const bool marks =
        !fresh && extent.order > 0 && word.use() == PageState::Use::kUnknown;  // unknown so far
    if (marks && !mark_inner(_core, extent)) {
      state.store(word);
      return _ends.finish(request, {Errc::kInvalidPage, 0, extent.page_id});
    }
    if (of_file) {
      if (const Status status = check_held(extent); !status.ok()) {
        if (marks) unmark_inner(_core, extent.page_id, extent.page_id + extent.pages());
        state.store(word);
        return _ends.finish(request, status);
      }
    }
    return _faults.add(request, word);
  }
  if (word.faulting()) {
    if (waits_in_vain(request)) return _ends.finish(request, {Errc::kBusy, 0, extent.page_id});
    wait_in(_waiting, request);
  } else if (!fresh && !word.admits(extent.order)) {
    _ends.finish(request, {Errc::kInvalidPage, 0, extent.page_id});
  } else {
    advance_resident(request, word);
  }
}

//! For an extent of a file that is now claimed, with its inner pages marked.
Status RequestQueue::check_held(Extent extent) const {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // D1 of file_set.hpp
  const PageId page_id = extent.page_id;
  if (page_id + extent.pages() > _core.files.end_of(page_id))
    return {Errc::kInvalidPage, 0, page_id};
  RawFile& file = *_core.files.file_of(page_id);
  const PagedStore* const store = file.paged();
  if (store != nullptr && !store->allocator.covers({page_id - store->first, extent.order}))  // T3
    return {Errc::kInvalidPage, 0, page_id};
  const int error = file.flush().error();  // R14
  return error == 0 ? Status{} : Status{Errc::kIo, error, page_id};
}

void RequestQueue::advance_resident(FaultRequest& request, PageState word) {
  AtomicPageState& state = _core.states()[request.extent.page_id];
  TryFix result = TryFix::kFixed;
  if (request.goal == Goal::kShared) result = latch::try_shared(state, word);
  if (request.goal == Goal::kExclusive || request.goal == Goal::kNew)
    result = latch::try_exclusive(state, word);
  if (result != TryFix::kFixed) {
    _base.counters.latch_waits.add(1);
    if (request.goal == Goal::kNew) return wait_for_freed(request);
    wait_in(_waiting, request);
    if (result == TryFix::kBusy && request.goal != Goal::kShared) _ends.hold_readers_off(request);
    return;
  }
  request.waits_ns = 0;
  if (request.goal == Goal::kNew) return advance_resident_new(request);
  _ends.finish(request, {});
}

//! A page that was freed while it was resident comes back without I/O. It is exclusively latched.
void RequestQueue::advance_resident_new(FaultRequest& request) {
  AtomicPageState& state = _core.states()[request.extent.page_id];
  const PageState held = state.load(std::memory_order_relaxed);
  if (held.order() > 0) {  // a stale page id was fixed in that size: all its frames go first
    const Extent resident{request.extent.page_id, held.order()};
    (void)drop(_core, _base.context, {&resident, 1});
    return wait_in(_waiting, request);
  }
  std::memset(_core.memory->base() + request.extent.page_id * kPageSize, 0, kPageSize);
  state.store(
      held.next_version().with(PageState::kDirty).with_order(0).with_use(PageState::Use::kExtent));
  _ends.finish(request, {});
}

//! A new extent of several pages: single pages that were freed may still be resident inside it,
//! with words and frames of their own. They leave first, and faults for them are refused from now
//! on (I6).
void RequestQueue::take_new(FaultRequest& request) {
  const Extent extent = request.extent;
  for (PageId page_id = extent.page_id; page_id < extent.page_id + extent.pages(); ++page_id) {
    AtomicPageState& state = _core.states()[page_id];
    PageState word = state.load();
    if (!word.evicted()) {
      if (latch::try_exclusive(state, word) != TryFix::kFixed) {
        // The sweep is just looking at it, or a late fault is loading it.
        return wait_for_freed(request);
      }
      const Extent resident{page_id, state.load(std::memory_order_relaxed).order()};
      const Status status = drop(_core, _base.context, {&resident, 1});
      if (!status.ok()) return _ends.finish(request, status);
      word = state.load();
    }
    if (page_id == extent.page_id) continue;
    if (!word.evicted() || !state.compare_exchange(word, word.with_use(PageState::Use::kInner))) {
      return wait_for_freed(request);
    }
  }
  AtomicPageState& state = _core.states()[extent.page_id];
  PageState word = state.load();
  do {
    if (!word.evicted()) {
      return wait_for_freed(request);
    }
  } while (!state.compare_exchange(word, word.with_latch(PageState::kFaulting)));
  _faults.add(request, word);
}

//! Extents that tasks free leave together, with as few page-table calls as it takes.
void RequestQueue::free_extents() {
  for (std::span<FaultRequest* const> rest = _freed; !rest.empty();) {
    const auto now = rest.first(std::min(rest.size(), kMaxBatch));
    rest = rest.subspan(now.size());
    _dropped.clear();
    for (const FaultRequest* request : now) _dropped.push_back(request->extent);
    const Status status = drop(_core, _base.context, _dropped);
    free_dropped(_core, _dropped, status);
    for (FaultRequest* request : now) _ends.finish(*request, {});
  }
  _freed.clear();
}

}  // namespace vmcache::detail

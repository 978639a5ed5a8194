// SPDX-License-Identifier: MIT
//
// The engine's side of write-back.
//
// There are two ways. A page that is to leave memory, and an extent of several pages, is written under a shared latch that is
// held until the write has completed. A checkpoint copies: it has thousands of pages to write that are in use and stay so, and
// whoever changes one must not wait for storage, nor for the log. So it latches a page for as long as the copy takes, and the
// copies of neighbours go out as one write. W1 ... are the invariants of write_claims.hpp.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "pool/engine.hpp"
#include "pool/pool_core.hpp"

namespace vmcache::detail {
namespace {

void unlatch_shared(AtomicPageState& state) noexcept {
  PageState word = state.load(std::memory_order_relaxed);
  while (!state.compare_exchange(word, PageState{word.bits - 1})) {
  }
}

}  // namespace

bool Engine::write_back(Extent extent, WriteBatch& batch) {
  have_writes(1);
  AtomicPageState& state = _core.states()[extent.page_id];
  PageState word = state.load();
  do {
    if (word.exclusive() || word.latch() == PageState::kSharedLast) return false;
    // In another size it is something newer: the extent was freed, and its page ids are in use again.
    if (!word.readable() || !word.dirty() || word.order() != extent.order) return true;
  } while (!state.compare_exchange(word, PageState{word.bits + 1}));
  while (room() == 0) turn(true);
  ++batch.outstanding;  // first: it may end at once
  if (start_write(extent, 0, &batch)) return true;
  --batch.outstanding;
  return false;
}

std::size_t Engine::write_back_run(std::span<const Extent> pages, WriteBatch& batch) {
  while (room() == 0) turn(true);
  have_writes(1);
  WriteRequest& request = *_free_writes.back();
  pages = pages.first(std::min(pages.size(), kRunPages));
  std::byte* const copies = request.sealed.reserve(pages.size() * kPageSize);
  if (copies == nullptr) throw std::bad_alloc();

  request.lsn = 0;
  request.run = 0;
  std::size_t seen = 0;
  while (seen < pages.size()) {
    const Copied copied = copy_page(pages[seen], copies + request.run * kPageSize, request);
    if (copied == Copied::kBusy) break;
    ++seen;
    if (copied == Copied::kClean && request.run > 0) break;
  }
  if (request.run == 0) return seen;

  _free_writes.pop_back();
  ++batch.outstanding;
  prepare_request(request, &batch, copies, request.run * kPageSize);
  submit_or_hold(request);
  return seen;
}

//! W1, W2. The copy is of one moment, and `request` remembers which.
Engine::Copied Engine::copy_page(Extent page, std::byte* to, WriteRequest& request) noexcept {
  AtomicPageState& state = _core.states()[page.page_id];
  if (!_core.writes.try_claim(page.page_id)) return Copied::kBusy;
  PageState word = state.load();
  do {
    const bool busy = word.exclusive() || word.latch() == PageState::kSharedLast;
    if (busy || !word.readable() || !word.dirty() || word.order() != 0) {
      _core.writes.release(page.page_id);
      return busy ? Copied::kBusy : Copied::kClean;
    }
  } while (!state.compare_exchange(word, PageState{word.bits + 1}));
  std::memcpy(to, _core.memory->base() + page.page_id * kPageSize, kPageSize);
  unlatch_shared(state);
  if (_core.write_ahead != nullptr) request.lsn = std::max(request.lsn, lsn_of(to));
  if (_core.options.page_header) seal_in_place(page, to);
  if (request.run == 0) request.extent = page;
  request.words[request.run++] = word;
  return Copied::kYes;
}

//! Before pages are latched for write-back. Throws std::bad_alloc.
void Engine::have_writes(std::size_t count) {
  while (_free_writes.size() < count) {
    _free_writes.reserve(_writes.size() + 1);  // all may be free at once
    _writes.push_back(std::make_unique<WriteRequest>());
    _free_writes.push_back(_writes.back().get());
  }
}

//! Under a shared latch that is ours (I5), and is given back if the page is claimed: then nothing was started.
bool Engine::start_write(Extent extent, std::uint32_t slot, WriteBatch* batch) noexcept {
  if (!claim(extent)) {
    unlatch_shared(_core.states()[extent.page_id]);
    return false;
  }
  WriteRequest& request = *_free_writes.back();
  _free_writes.pop_back();
  request.extent = extent;
  request.slot = slot;
  request.run = 0;
  prepare_request(request, batch, _core.memory->base() + extent.page_id * kPageSize, extent.bytes());
  request.registered = _core.memory->io_address(extent);
  request.lsn = _core.write_ahead != nullptr ? lsn_of(request.data) : 0;
  if (batch == nullptr) ++_eviction_writes;
  submit_or_hold(request);
  return true;
}

//! W1, W3.
bool Engine::claim(Extent extent) noexcept {
  if (!_core.writes.try_claim(extent.page_id)) return false;
  for (PageId inner = extent.page_id + 1; inner < extent.page_id + extent.pages(); ++inner) {
    if (!_core.writes.claimed(inner)) continue;
    _core.writes.release(extent.page_id);
    return false;
  }
  return true;
}

void Engine::prepare_request(WriteRequest& request, WriteBatch* batch, std::byte* data,
                             std::size_t bytes) noexcept {
  request.op = IoRequest::Op::kWrite;
  request.data = data;
  request.registered = nullptr;
  request.bytes = static_cast<std::uint32_t>(bytes);
  request.done_bytes = 0;
  request.error = 0;
  request.device_status = 0;
  request.batch = batch;
}

//! Log before page.
void Engine::submit_or_hold(WriteRequest& request) noexcept {
  WriteAhead* const log = _core.write_ahead;
  if (log != nullptr && (log->durable_lsn() < request.lsn || log->log_error() != 0)) {
    log->want_durable(request.lsn);
    _held.push_back(&request);
  } else {
    prepare_write(request);
  }
}

//! The log does not stand in the way any more.
void Engine::prepare_write(WriteRequest& request) {
  request.started_ns = _now_ns;
  request.offset = request.extent.page_id * kPageSize;
  if (request.run == 0 && _core.options.page_header) {
    request.data = request.sealed.seal(request.extent, request.data);
    request.registered = nullptr;
  }
  if (request.data == nullptr) {
    request.error = ENOMEM;
    return complete_write(request);
  }
  _prepared.push_back(&request);
}

//! Log before page: what waited for the log goes on if the log is durable, and fails if it never will be.
void Engine::release_held() {
  if (_held.empty()) return;
  const int error = _core.write_ahead->log_error();
  const Lsn durable = _core.write_ahead->durable_lsn();
  _held_before.clear();
  _held_before.swap(_held);
  for (WriteRequest* request : _held_before) {
    if (error != 0) {
      request->error = error;
      request->started_ns = _now_ns;
      complete_write(*request);
    } else if (durable >= request->lsn) {
      prepare_write(*request);
    } else {
      _held.push_back(request);
    }
  }
}

void Engine::complete_write(WriteRequest& request) {
  _counters.writes.add(1);
  _counters.written_pages.add(request.bytes / kPageSize);
  _counters.write_latency.add(_now_ns - request.started_ns);
  _counters.retries.add(request.retries);
  const bool written = request.error == 0;
  if (written && _core.sums) _core.sums->set(request.extent.page_id, {request.data, request.bytes});
  if (request.run > 0) {
    settle_copies(request);
  } else {
    settle_latched(request);
  }
  if (written) {
    _progress_ns = _now_ns;
    _core.clear_write_error();
  } else {
    fail_write(request);
  }
  if (request.batch == nullptr) {
    --_eviction_writes;
  } else {
    --request.batch->outstanding;
  }
  _free_writes.push_back(&request);
}

void Engine::settle_latched(const WriteRequest& request) noexcept {
  const bool written = request.error == 0;
  AtomicPageState& state = _core.states()[request.extent.page_id];
  PageState word = state.load();
  PageState next;
  do {
    next = PageState{word.bits - 1};                      // our shared latch
    if (written) next = next.without(PageState::kDirty);  // I5; a failed write leaves the page dirty
  } while (!state.compare_exchange(word, next));
  _core.writes.release(request.extent.page_id);
  // Still marked: nobody wanted it while it was written.
  const bool evict = written && request.batch == nullptr;
  if (evict && next.unlocked() && next.marked()) _written.push_back({request.extent, request.slot, next});
}

//! I5: clean are the pages that are still what was copied. If somebody is changing one it stays dirty, and so does one that was changed
//! since, or freed and taken again: then it has another version.
void Engine::settle_copies(const WriteRequest& request) noexcept {
  for (std::uint32_t n = 0; n < request.run; ++n) {
    const PageId page_id = request.extent.page_id + n;
    AtomicPageState& state = _core.states()[page_id];
    PageState word = state.load();
    while (request.error == 0 && word.readable() && word.dirty() && word.same_version(request.words[n]) &&
           !state.compare_exchange(word, word.without(PageState::kDirty))) {
    }
    _core.writes.release(page_id);
  }
}

void Engine::fail_write(const WriteRequest& request) noexcept {
  _write_failed_ns = _now_ns;
  _counters.write_errors.add(std::max<std::uint32_t>(request.run, 1));
  const Status status{Errc::kIo, request.error, request.extent.page_id, request.device_status};
  _core.report_write_error(status);
  if (request.batch == nullptr) return;
  if (request.batch->first_error.ok()) request.batch->first_error = status;
  // Which of several pages could not be written is found out by writing them one by one.
  for (std::uint32_t n = 0; request.run > 1 && n < request.run; ++n) {
    request.batch->again.push_back({request.extent.page_id + n, 0});
  }
}

}  // namespace vmcache::detail

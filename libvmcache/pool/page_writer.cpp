// SPDX-License-Identifier: MIT
#include "pool/page_writer.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "pool/pool_core.hpp"
#include "pool/raw_file.hpp"

namespace vmcache::detail {
namespace {

void unlatch_shared(AtomicPageState& state) noexcept {
  PageState word = state.load(std::memory_order_relaxed);
  while (!state.compare_exchange(word, PageState{word.bits - 1})) {
  }
}

//! Log before page. An error of the log is told apart by its own name.
bool log_allows(const WriteAhead* log, Lsn lsn) noexcept {
  return log == nullptr || (log->durable_lsn() >= lsn && log->log_error() == 0);
}
//! The log does not allow it yet, and has not failed.
bool ahead_of(const WriteAhead* log, Lsn lsn) noexcept {
  return !log_allows(log, lsn) && log->log_error() == 0;
}

}  // namespace

void PageWriter::bind() {
  for (auto* list : {&_held, &_held_before}) list->reserve(_io.depth());
  _written.reserve(_io.depth());
}

PageWriter::Outcome PageWriter::write_back(Extent extent, WriteBatch& batch, bool ahead_of_log) {
  reserve(1);
  AtomicPageState& state = _core.states()[extent.page_id];
  PageState word = state.load();
  do {
    if (word.exclusive() || word.latch() == PageState::kSharedLast) return Outcome::kBusy;
    // In another size it is something newer: the extent was freed, and its page ids are in use
    // again.
    if (!word.readable() || !word.dirty() || word.order() != extent.order) return Outcome::kDone;
  } while (!state.compare_exchange(word, PageState{word.bits + 1}));
  WriteAhead* const log = _core.log_of(extent.page_id);
  const Lsn lsn = lsn_in(extent.page_id, bytes_of(extent));
  if (!ahead_of_log && ahead_of(log, lsn)) {
    log->want_durable(lsn);  // under the latch, which keeps a file and its log there (D2)
    unlatch_shared(state);   // E4
    return Outcome::kAheadOfLog;
  }
  ++batch.outstanding;  // first: it may end at once
  if (start(extent, &batch)) return Outcome::kDone;
  --batch.outstanding;
  return Outcome::kBusy;
}

std::size_t PageWriter::write_back_run(std::span<const Extent> pages, WriteBatch& batch) {
  reserve(1);
  WriteRequest& request = *_free.back();
  pages = pages.first(std::min(pages.size(), kRunPages));
  std::byte* const copies = request.copies.reserve(pages.size() * kPageSize);
  if (copies == nullptr) throw std::bad_alloc();

  ask_log(request, pages.front().page_id);
  request.run = 0;
  std::size_t seen = 0;
  while (seen < pages.size()) {
    const Copied copied = copy_page(pages[seen], copies + request.run * kPageSize, request);
    if (copied == Copied::kBusy) break;
    ++seen;
    if (copied == Copied::kClean && request.run > 0) break;
  }
  if (request.run == 0) return seen;

  _free.pop_back();
  ++batch.outstanding;
  describe(request, &batch, copies, request.run * kPageSize);
  submit_or_hold(request);
  return seen;
}

//! W1, W2. The copy is of one moment, and `request` remembers which.
PageWriter::Copied PageWriter::copy_page(Extent page, std::byte* to,
                                         WriteRequest& request) noexcept {
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
  request.lsn = std::max(request.lsn, lsn_in(page.page_id, {to, kPageSize}));
  if (const PageFormat* const format = _core.format_of(page.page_id))
    format->before_write(_core.offset_of(page.page_id), {to, kPageSize});
  if (request.run == 0) request.extent = page;
  request.words[request.run++] = word;
  return Copied::kYes;
}

void PageWriter::reserve(std::size_t count) {
  while (_free.size() < count) {
    _free.reserve(_all.size() + 1);  // all may be free at once
    _all.push_back(std::make_unique<WriteRequest>());
    _free.push_back(_all.back().get());
  }
}

//! Under a shared latch that is ours (I5), and is given back if the page is claimed, or is to be
//! evicted and ahead of the log (E4): then nothing was started.
bool PageWriter::start(Extent extent, WriteBatch* batch) noexcept {
  const std::span<std::byte> data = bytes_of(extent);
  WriteAhead* const log = _core.log_of(extent.page_id);
  const Lsn lsn = lsn_in(extent.page_id, data);
  const bool waits = batch == nullptr && ahead_of(log, lsn);
  if (waits || !claim(extent)) {
    if (waits) {
      ++_victims_ahead;
      log->want_durable(lsn);  // under the latch: D2
    }
    unlatch_shared(_core.states()[extent.page_id]);
    return false;
  }
  WriteRequest& request = *_free.back();
  _free.pop_back();
  request.extent = extent;
  request.run = 0;
  describe(request, batch, data.data(), data.size());
  request.registered = _core.memory->io_address(extent);
  ask_log(request, extent.page_id);
  request.lsn = lsn;
  if (batch == nullptr) {
    ++_victims_in_flight;
    _core.eviction_writes.fetch_add(1, std::memory_order_relaxed);
  }
  submit_or_hold(request);
  return true;
}

//! W1, W3.
bool PageWriter::claim(Extent extent) noexcept {
  if (!_core.writes.try_claim(extent.page_id)) return false;
  for (PageId inner = extent.page_id + 1; inner < extent.page_id + extent.pages(); ++inner) {
    if (!_core.writes.claimed(inner)) continue;
    _core.writes.release(extent.page_id);
    return false;
  }
  return true;
}

void PageWriter::describe(WriteRequest& request, WriteBatch* batch, std::byte* data,
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

std::span<std::byte> PageWriter::bytes_of(Extent extent) const noexcept {
  return {_core.memory->base() + extent.page_id * kPageSize, extent.bytes()};
}

//! How far the log must be durable before the page may be written.
Lsn PageWriter::lsn_in(PageId page_id, std::span<const std::byte> page) const noexcept {
  return _core.log_of(page_id) != nullptr ? _core.format_of(page_id)->lsn_of(page) : 0;
}

//! Before the pages are looked at: what is changed later has a greater LSN.
void PageWriter::ask_log(WriteRequest& request, PageId page_id) const noexcept {
  request.log = _core.log_of(page_id);
  request.lsn = 0;
  request.durable = request.log != nullptr ? request.log->durable_lsn() : 0;
}

//! A victim is here only if the log has failed or allows it (E4).
void PageWriter::submit_or_hold(WriteRequest& request) noexcept {
  if (log_allows(request.log, request.lsn)) return prepare(request);
  if (request.batch == nullptr) {
    request.error = request.log->log_error();
    if (request.error == 0) request.error = EIO;
    request.started_ns = _base.now;
    return complete_write(request);
  }
  request.log->want_durable(request.lsn);
  _held.push_back(&request);
  _io.keep(_held.size());
}

PageId PageWriter::give_up_held(WriteBatch& batch) noexcept {
  PageId page_id = kNoPage;
  std::erase_if(_held, [&](WriteRequest* request) {
    if (request->batch != &batch) return false;
    page_id = request->extent.page_id;
    give_up(*request);
    return true;
  });
  _io.keep(_held.size());
  return page_id;
}

void PageWriter::give_up_all_held() noexcept {
  for (WriteRequest* request : _held) give_up(*request);
  _held.clear();
  _io.keep(0);
}

void PageWriter::give_up(WriteRequest& request) noexcept {
  request.error = ECANCELED;
  settle(request);
}

//! The log does not stand in the way any more.
void PageWriter::prepare(WriteRequest& request) {
  request.started_ns = _base.now;
  const PageId page_id = request.extent.page_id;
  if (_core.read_only(page_id)) [[unlikely]]
    return drop_changes(request);
  _core.set_place(request, page_id);
  if (const PageFormat* const format = _core.format_of(page_id); format && request.run == 0) {
    request.data = request.copies.copy_in_format(*format, request.offset, bytes_of(request.extent));
    request.registered = nullptr;
  }
  if (request.data == nullptr) request.error = ENOMEM;
  // R14: nothing that is written now will count, so the page stays dirty.
  if (const int error = _core.flush_error(page_id); error != 0) request.error = error;
  if (request.error != 0) return complete_write(request);
  _io.prepare(request);
}

//! Whoever has changed a page that is read only is told by the log; the page leaves memory as a
//! clean one does, so that it is in nobody's way.
void PageWriter::drop_changes(WriteRequest& request) noexcept {
  _core.report_dropped(request.extent.page_id);
  _base.progressed();
  settle(request);
}

void PageWriter::release_all_held() {
  _held_before.clear();
  _held_before.swap(_held);
  for (WriteRequest* request : _held_before) {
    if (const int error = request->log->log_error(); error != 0) {
      request->error = error;
      request->started_ns = _base.now;
      complete_write(*request);
    } else if (request->log->durable_lsn() >= request->lsn) {
      prepare(*request);
    } else {
      _held.push_back(request);
    }
  }
  _io.keep(_held.size());
}

void PageWriter::complete_write(WriteRequest& request) {
  _base.counters.writes.add(1);
  _base.counters.written_pages.add(request.bytes / kPageSize);
  _base.counters.write_latency.add(_base.now - request.started_ns);
  _base.counters.retries.add(request.retries);
  const bool written = request.error == 0;
  if (PagedStore* const store = _core.paged_of(request.extent.page_id);
      written && store != nullptr && store->sums)
    store->sums->set(request.extent.page_id - store->first, {request.data, request.bytes});
  if (written) {
    if (request.file != nullptr) note_in_storage(request);
    _base.progressed();
    _core.write_errors.clear();
  } else {
    fail(request);
  }
  settle(request);
}

void PageWriter::note_in_storage(const WriteRequest& request) noexcept {
  RawFile& file = *_core.files.file_of(request.extent.page_id);
  const std::uint64_t pages = request.run > 0 ? request.run : request.extent.pages();
  for (std::uint64_t n = 0; n < pages; ++n)
    file.in_storage(request.extent.page_id + n, request.durable);
}

//! The write is over, done or not: gives back what it held.
void PageWriter::settle(WriteRequest& request) noexcept {
  if (request.run > 0) {
    settle_copies(request);
  } else {
    settle_latched(request);
  }
  if (request.batch == nullptr) {
    --_victims_in_flight;
    _core.eviction_writes.fetch_sub(1, std::memory_order_relaxed);
  } else {
    --request.batch->outstanding;
  }
  _free.push_back(&request);
}

void PageWriter::settle_latched(const WriteRequest& request) noexcept {
  const bool written = request.error == 0;
  AtomicPageState& state = _core.states()[request.extent.page_id];
  PageState word = state.load();
  PageState next;
  do {
    next = PageState{word.bits - 1};  // our shared latch
    // I5; a failed write leaves the page dirty.
    if (written) next = next.without(PageState::kDirty);
  } while (!state.compare_exchange(word, next));
  _core.writes.release(request.extent.page_id);
  // Still marked: nobody wanted it while it was written.
  const bool evict = written && request.batch == nullptr;
  if (evict && next.unlocked() && next.marked()) _written.push_back({request.extent, next});
}

//! I5: clean are the pages that are still what was copied. If somebody is changing one it stays
//! dirty, and so does one that was changed since, or freed and taken again: then it has another
//! version.
void PageWriter::settle_copies(const WriteRequest& request) noexcept {
  for (std::uint32_t n = 0; n < request.run; ++n) {
    const PageId page_id = request.extent.page_id + n;
    AtomicPageState& state = _core.states()[page_id];
    PageState word = state.load();
    while (request.error == 0 && word.readable() && word.dirty() &&
           word.same_version(request.words[n]) &&
           !state.compare_exchange(word, word.without(PageState::kDirty))) {
    }
    _core.writes.release(page_id);
  }
}

void PageWriter::fail(const WriteRequest& request) noexcept {
  _base.counters.write_errors.add(std::max<std::uint32_t>(request.run, 1));
  const Status status{Errc::kIo, request.error, request.extent.page_id, request.device_status};
  _core.report_write_error(status, _base.now);
  if (request.batch == nullptr) return;
  if (request.batch->first_error.ok()) request.batch->first_error = status;
  // Which of several pages could not be written is found out by writing them one by one.
  for (std::uint32_t n = 0; request.run > 1 && n < request.run; ++n) {
    request.batch->again.push_back({request.extent.page_id + n, 0});
  }
}

}  // namespace vmcache::detail

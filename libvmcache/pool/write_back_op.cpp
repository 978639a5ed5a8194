// SPDX-License-Identifier: MIT
#include "pool/write_back_op.hpp"

#include <algorithm>
#include <new>
#include <span>
#include <utility>

#include "clock.hpp"
#include "pool/engine.hpp"
#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"

namespace vmcache::detail {

WriteBackOp::WriteBackOp(BufferPool& pages, Engine& engine, std::vector<Extent> extents,
                         WriteAhead* log)
    : _pages(pages),
      _core(core_of(pages)),
      _engine(engine),
      _log(log),
      _extents(std::move(extents)) {
  _waiting.reserve(_extents.size());
  _batch.again.reserve(_extents.size());
}

WriteBackOp::~WriteBackOp() {
  if (_batch.outstanding == 0) return;
  (void)_engine.writer().give_up_held(_batch);
  while (_batch.outstanding > 0) _engine.turn(true);
}

Need WriteBackOp::step(BufferPool& pool) {
  const bool failed = !_late.ok() || _out_of_memory;
  try {
    if (!failed) start_runs();
    if (!failed) start_waiting();
  } catch (const std::bad_alloc&) {
    _out_of_memory = true;  // told when what was started has ended
  }
  watch_log();
  if (_batch.outstanding > 0) return Need::pause();
  if (!_late.ok() || _out_of_memory) throw_failure(pool);
  if (_next < _extents.size() || !_waiting.empty()) return Need::pause();
  if (!_batch.again.empty()) {
    begin_second_try();
    return Need::pause();
  }
  throw_failure(pool);
  return Need::nothing();
}

bool WriteBackOp::may_start() const noexcept {
  // Enough for a device, few enough for the memory of their copies.
  constexpr std::uint64_t kRequests = 16;
  return _batch.outstanding < kRequests && _engine.has_room_beside_faults();
}

void WriteBackOp::start_runs() {
  while (_next < _extents.size() && may_start()) {
    const std::span rest = std::span(_extents).subspan(_next);
    std::size_t seen = 0;
    if (rest.front().order == 0) {
      std::size_t run = 1;
      while (run < rest.size() && run < kRunPages && rest[run].order == 0 &&
             rest[run].page_id == rest[0].page_id + run)
        ++run;
      seen = _engine.writer().write_back_run(rest.first(run), _batch);
    } else if (_engine.writer().write_back(rest.front(), _batch, false) ==
               PageWriter::Outcome::kDone) {
      seen = 1;
    }
    if (seen == 0) {
      _waiting.push_back({rest.front(), {}});
      seen = 1;
    }
    _next += seen;
  }
}

//! What was in the way of these may be gone.
void WriteBackOp::start_waiting() {
  _ahead_of_log = false;
  std::size_t kept = 0;
  for (std::size_t n = 0; n < _waiting.size(); ++n) {
    Waiting& waiting = _waiting[kept] = _waiting[n];
    const bool tries = may_start();
    if (tries && try_start(waiting)) continue;
    ++kept;
    if (tries && waiting.busy.gives_up(_core, waiting.extent.page_id))
      _late = {Errc::kBusy, 0, waiting.extent.page_id};
  }
  _waiting.resize(kept);
  // It may be on its way to storage in an engine that no thread has.
  if (kept > 0) _core.engines.reap_idle();
}

bool WriteBackOp::try_start(const Waiting& waiting) {
  const Extent extent = waiting.extent;
  if (extent.order == 0) return _engine.writer().write_back_run({&extent, 1}, _batch) > 0;
  // An extent of several pages that is changed so often that the log is always behind it is latched
  // in the end, until the log has caught up: once half of the time is over.
  const PageWriter::Outcome outcome =
      _engine.writer().write_back(extent, _batch, waiting.busy.is_late(_core));
  if (outcome == PageWriter::Outcome::kAheadOfLog) _ahead_of_log = true;
  return outcome == PageWriter::Outcome::kDone;
}

//! Writes that wait for a log that does not move are given up: it may be this thread's to flush
//! (E4 in engine.hpp).
void WriteBackOp::watch_log() noexcept {
  if (!_ahead_of_log && !_engine.writer().holds()) return _watch.reset();
  if (!_watch) _watch.emplace(_core, _log);
  if (!_watch->stands_still()) return;
  PageId page_id = _engine.writer().give_up_held(_batch);
  if (page_id == kNoPage && _ahead_of_log) page_id = _waiting.front().extent.page_id;
  if (page_id == kNoPage) return;
  _late = {Errc::kBusy, 0, page_id};
  _log_stands = true;
}

//! The failure is told even if each of the pages can be written now; else the page that cannot.
void WriteBackOp::begin_second_try() {
  for (const Extent& extent : std::exchange(_batch.again, {})) _waiting.push_back({extent, {}});
  _of_several = std::exchange(_batch.first_error, {});
}

//! With the page ids that the Worker's pool has.
void WriteBackOp::throw_failure(const BufferPool& pool) const {
  const PagedStore& store = store_of(pool);
  if (_out_of_memory) throw std::bad_alloc();
  const Status& failed = _batch.first_error.ok() ? _of_several : _batch.first_error;
  if (!failed.ok()) throw Error(store.told(failed), "write-back");
  if (!_late.ok()) throw Error(store.told(_late), why_late(_log_stands));
}

}  // namespace vmcache::detail

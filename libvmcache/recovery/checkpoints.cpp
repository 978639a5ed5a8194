// SPDX-License-Identifier: MIT
#include "recovery/checkpoints.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

#include "pool/paged_store.hpp"
#include "pool/write_back.hpp"
#include "recovery/log_format.hpp"
#include "recovery/snapshot.hpp"
#include "recovery/tree_set.hpp"

namespace vmcache {
namespace {

//! Whether a checkpoint will end before the log is full, if the log goes on filling as fast as
//! since the checkpoint's begin.
bool in_time(const detail::CheckpointProgress& progress, std::uint64_t filled,
             std::uint64_t room) noexcept {
  // A quarter is left for commits that come faster later.
  const std::uint64_t planned = room / 4 * 3;
  return static_cast<double>(filled) * static_cast<double>(progress.all) <=
         static_cast<double>(progress.done) * static_cast<double>(planned);
}

}  // namespace

Checkpoints::Checkpoints(WriteAheadLog& log, BufferPool& pool, detail::PagedStore& store,
                         Gate& gate, ChangeRecorder& recorder, const LogSpace& log_space,
                         const Logger& messages, unsigned percent)
    : _log(log),
      _pool(pool),
      _store(store),
      _gate(gate),
      _recorder(recorder),
      _log_space(log_space),
      _messages(messages),
      _throttle(percent) {}

void Checkpoints::start_thread() {
  _checkpointer.emplace([this] { return try_make(); });
}

void Checkpoints::make() {
  const std::lock_guard lock(_mutex);
  make_locked();
}

void Checkpoints::make_unless(FunctionRef<bool()> not_needed) {
  const Throttle::Lifted lifted(_throttle);
  const std::lock_guard lock(_mutex);
  if (!not_needed()) make_locked();
}

void Checkpoints::make_due() noexcept {
  if (_checkpointer) return _checkpointer->request();
  {
    const std::unique_lock lock(_mutex, std::try_to_lock);
    if (!lock.owns_lock()) return;  // another thread is making one
  }
  (void)try_make();
}

//! Returns whether it was made. If not, that is logged.
bool Checkpoints::try_make() noexcept {
  try {
    make();
    return true;
  } catch (const std::exception& error) {
    // No commit has failed with it. If the checkpoints go on failing, commits will find no log
    // space, and say why.
    _failed.fetch_add(1, std::memory_order_release);
    try {
      _messages(LogLevel::kError, fmt::format("checkpoint: {}", error.what()));
    } catch (const std::exception&) {  // NOLINT: there is no memory for the message
    }
    return false;
  }
}

//! pair_check.hpp has the order of its writes, and says why a crash between any two of them leaves
//! a page file and a log that are known to belong together.
void Checkpoints::make_locked() {
  _store.storage_flush.refuse_if_failed("checkpoint");  // before anything is appended
  // First the one that has failed, if any: it gives log space back and appends nothing (R10).
  if (_unfinished) finish();
  take_snapshot();
  finish();
}

//! Does no I/O. The list of free extents is written later, to pages that are held for it from now
//! on (R19).
void Checkpoints::take_snapshot() {
  const Gate::Closed closed(_gate);
  Snapshot snapshot{.begin = _log.end(), .end = 0, .identity = _log.next_identity(), .free = {}};
  std::vector<PageId> roots;
  for (unsigned index = 0; index < TreeSet::kTrees; ++index) roots.push_back(_pool.root(index));
  snapshot.free = _store.allocator.begin_list(SnapshotHeader::kExtents);
  try {
    append_snapshot(_log, snapshot.identity, snapshot.free, roots);
  } catch (...) {
    _store.allocator.cancel_list();
    throw;
  }
  snapshot.end = _log.end();
  _recorder.begin_images(snapshot.begin);
  _unfinished = std::move(snapshot);
}

//! Finishes the checkpoint of the snapshot taken last, which may be any time ago: the pages that
//! were dirty then are written since, or are still dirty.
void Checkpoints::finish() {
  const std::uint64_t used = _log.used_bytes();
  const std::uint64_t room = _log_space.max() - std::min(_log_space.max(), used);
  _log.wait_durable(_unfinished->end);  // before page 0 names this checkpoint
  // Not earlier: only now are all records durable that say that its pages are free (L2).
  PageAllocator::FreeList& free = _unfinished->free;
  detail::write_list(_store, listed_extents(free), free.pages,
                     {_unfinished->identity.generation, _unfinished->identity.nonce});
  free = {};
  const auto throttle = [&](const detail::CheckpointProgress& progress) {
    return in_time(progress, _log.used_bytes() - used, room) && _throttle.pause(progress.worked_ns);
  };
  detail::checkpoint(_store, throttle, &_unfinished->identity);
  _log.set_begin(_unfinished->begin);
  _store.allocator.end_list();
  _unfinished.reset();
  _made.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Commits in a Worker's tasks. Where the blocking forms wait, a task lets other tasks run and looks
// again afterwards.
#include <cerrno>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

#include "pool/storage_flush.hpp"
#include "recovery/committer.hpp"
#include "recovery/transaction_state.hpp"
#include "vmcache/operation.hpp"

namespace vmcache {
namespace {

//! Waits until the log is durable up to a position.
class DurableOp {
 public:
  DurableOp(WriteAheadLog& log, Lsn lsn) noexcept : _log(log), _lsn(lsn) {}

  [[nodiscard]] Need step(BufferPool& /*pool*/) {
    if (_log.durable_lsn() >= _lsn) return Need::nothing();
    _log.throw_if_failed("making durable");
    return Need::pause();
  }
  void supply(ExclusiveGuard&& /*fresh*/) noexcept {}

 private:
  WriteAheadLog& _log;
  const Lsn _lsn;
};

}  // namespace

// The steps are those of committer.hpp. A task waits for the checkpoint's thread, which waits for
// the commits inside the gate, and these may be tasks of the same thread. So no step() waits, and
// no task holds a place in the gate while it lacks log space.

//! Gets log space.
class Committer::ReserveLogOp {
 public:
  //! Throws Error kTooLarge; kInvalidOption without a thread for checkpoints.
  ReserveLogOp(Committer& committer, std::uint64_t bytes) : _committer(committer), _bytes(bytes) {
    committer.check_log_size(bytes);
    if (!committer._checkpoints.has_thread())
      throw Error(Errc::kInvalidOption,
                  "a commit in a Worker's task needs DatabaseOptions::checkpoint_thread");
  }

  [[nodiscard]] Need step(BufferPool& /*pool*/) {
    _committer._log.throw_if_failed("appending to");
    _committer._storage_flush.refuse_if_failed("commit");
    return try_reserve() ? Need::nothing() : Need::pause();
  }
  void supply(ExclusiveGuard&& /*fresh*/) noexcept {}

 private:
  [[nodiscard]] bool try_reserve() {
    Checkpoints& checkpoints = _committer._checkpoints;
    const std::uint64_t failed = checkpoints.failed();
    if (LogReservation space = _committer._log_space.try_reserve(_bytes)) {
      _space.emplace(std::move(space));
      _no_sleep.reset();
      return true;
    }
    if (!_no_sleep) {
      _failed_before = failed;
      _no_sleep.emplace(checkpoints.throttle());
    } else if (failed != _failed_before) {
      throw Error(Status{Errc::kIo, ENOSPC, kNoPage},
                  "no room in " + _committer._log.description() +
                      ": its checkpoint has failed, which the log callback was told of");
    }
    checkpoints.request();
    return false;
  }

  Committer& _committer;
  const std::uint64_t _bytes;
  std::optional<Throttle::Lifted> _no_sleep;  // while it waits for a checkpoint
  std::uint64_t _failed_before = 0;
  std::optional<LogReservation> _space;
};

//! Gets a place in the gate.
class Committer::GateOp {
 public:
  explicit GateOp(Committer& committer) noexcept : _committer(committer) {}

  [[nodiscard]] Need step(BufferPool& /*pool*/) {
    _committer._log.throw_if_failed("appending to");
    _committer._storage_flush.refuse_if_failed("commit");
    _inside.emplace(_committer._gate, std::try_to_lock);
    if (_inside->entered()) return Need::nothing();
    _inside.reset();
    return Need::pause();
  }
  void supply(ExclusiveGuard&& /*fresh*/) noexcept {}

 private:
  Committer& _committer;
  std::optional<Gate::Inside> _inside;
};

Task<PageReservation> Committer::reserve_exact_pages(Worker& worker, const WriteSet& changes) {
  std::vector<std::uint64_t> pages(changes.changes());
  for (std::size_t n = 0; n < changes.changes(); ++n) {
    const WriteSet::Change change = changes.change(n);
    if (change.erased) continue;
    const std::optional<std::size_t> old =
        co_await tree_of(change).lookup(worker, change.key, std::span<std::byte>{});
    pages[n] = old ? _needs.pages_to_replace(change, *old) : _needs.max_pages(change);
  }
  std::size_t next = 0;
  co_return reserve_pages_or_throw(
      _needs.sum(changes, [&](const WriteSet::Change&) { return pages[next++]; }));
}

Task<Lsn> Committer::commit(Worker& worker, const WriteSet& changes, LockOwner& owner) {
  Lsn end = 0;
  _storage_flush.refuse_if_failed("commit");
  {
    ReserveLogOp log_space(*this, CommitNeeds::max_log_bytes(changes));
    co_await worker.perform(log_space);
    const CommitNeeds::Pages needed = _needs.pages(changes);
    PageReservation pages = _page_space.try_reserve(needed.max);
    if (!pages) pages = co_await reserve_exact_pages(worker, changes);
    GateOp gate(*this);
    co_await worker.perform(gate);
    PlacedValues placed;
    for (std::size_t n = 0; needed.large_values && n < changes.changes(); ++n) {
      const WriteSet::Change change = changes.change(n);
      if (!change.erased && BTree::is_large(change.key, change.value))
        placed.push_back(co_await tree_of(change).place(worker, change.value));
    }
    auto next_placed = placed.begin();
    end = append(changes, owner);
    try {
      for (std::size_t n = 0; n < changes.changes(); ++n) {
        const WriteSet::Change change = changes.change(n);
        if (change.erased) {
          co_await tree_of(change).erase(worker, change.key);
        } else if (BTree::is_large(change.key, change.value)) {
          co_await tree_of(change).upsert(worker, change.key, std::move(*next_placed++));
        } else {
          co_await tree_of(change).upsert(worker, change.key, change.value);
        }
      }
    } catch (const std::exception& error) {
      fail_half_made(error, owner);
      throw;
    }
  }
  _checkpoints.make_if_due(end);
  co_return end;
}

Task<> Committer::wait_durable(Worker& worker, Lsn lsn) {
  _log.want_durable(lsn);
  DurableOp durable(_log, lsn);
  co_await worker.perform(durable);
}

Task<> Database::wait_durable(Worker& worker, Lsn lsn) {
  return _impl->committer().wait_durable(worker, lsn);
}

Task<Lsn> Transaction::commit_no_wait(Worker& worker) {
  _state->database.require_usable();
  const State::End end(*_state);
  if (_state->changes.empty()) co_return _state->read_lsn;
  co_return co_await _state->database.committer().commit(worker, _state->changes, *_state);
}

Task<Lsn> Transaction::commit(Worker& worker) {
  const Lsn lsn = co_await commit_no_wait(worker);
  co_await _state->database.committer().wait_durable(worker, lsn);
  co_return lsn;
}

Task<std::optional<std::string>> Transaction::get(Worker& worker, unsigned tree, Bytes key) {
  std::optional<std::string> value;
  if (_state->has_own(tree, LockTable::hash_of(tree, key), key, value)) co_return value;
  Lsn lsn = 0;
  value = co_await _state->database.tree(tree).get(worker, key, lsn);
  _state->note_read(lsn);
  co_return value;
}

Task<std::optional<std::string>> Transaction::get_for_update(Worker& worker, unsigned tree,
                                                             Bytes key) {
  _state->lock(tree, LockTable::hash_of(tree, key));
  co_return co_await get(worker, tree, key);
}

}  // namespace vmcache

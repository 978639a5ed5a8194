// SPDX-License-Identifier: MIT
//
// Transactions in a Worker's tasks: what the blocking ones wait for, a task comes back to when others have run.
#include <cerrno>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

#include "recovery/transaction_state.hpp"
#include "vmcache/operation.hpp"

namespace vmcache {
namespace {

//! Until the log is durable up to a position.
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

//! All that a commit must have before it logs: room in the log, then the gate (R10). What it has it keeps until it is destroyed.
//!
//! It waits for the checkpoint's thread, which waits for those inside the gate, which may be tasks of this thread: so it
//! never waits in a step. It holds no place in the gate while it lacks room.
class Database::Impl::Entry {
 public:
  Entry(Impl& database, std::uint64_t bytes) : _database(database), _bytes(bytes) {
    database.check_room(bytes);
    if (!database._checkpointer)
      throw Error(Errc::kInvalidOption,
                  "a commit in a Worker's task needs DatabaseOptions::checkpoint_thread");
  }

  [[nodiscard]] Need step(BufferPool& /*pool*/) {
    _database.log.throw_if_failed("appending to");
    if (!_room && !take_room()) return Need::pause();
    _inside.emplace(_database._gate, std::try_to_lock);
    if (_inside->entered()) return Need::nothing();
    _inside.reset();
    return Need::pause();
  }
  void supply(ExclusiveGuard&& /*fresh*/) noexcept {}

 private:
  [[nodiscard]] bool take_room() {
    const std::uint64_t failed = _database._failed_checkpoints.load(std::memory_order_acquire);
    if (LogRoom::Held room = _database._room.try_take(_bytes)) {
      _room.emplace(std::move(room));
      _hurry.reset();
      return true;
    }
    if (!_hurry) {
      _failed_before = failed;
      _hurry.emplace(_database._pace);
    } else if (failed != _failed_before) {
      throw Error(Status{Errc::kIo, ENOSPC, kNoPage},
                  "no room in " + _database.log.description() +
                      ": its checkpoint has failed, which the log callback was told of");
    }
    _database._checkpointer->request();
    return false;
  }

  Impl& _database;
  const std::uint64_t _bytes;
  std::optional<Pace::Hurry> _hurry;  // while we wait for a checkpoint
  std::uint64_t _failed_before = 0;
  std::optional<LogRoom::Held> _room;
  std::optional<Gate::Inside> _inside;  // last: left before the room is given back
};

Task<Lsn> Database::Impl::apply(Worker& worker, const WriteSet& changes) {
  Lsn end = 0;
  {
    Entry entry(*this, most_logged(changes));
    co_await worker.perform(entry);
    end = log_commit(changes);
    try {
      for (std::size_t n = 0; n < changes.changes(); ++n) {
        const WriteSet::Change change = changes.change(n);
        if (change.erased) {
          co_await tree_of(change).erase(worker, change.key);
        } else {
          co_await tree_of(change).upsert(worker, change.key, change.value);
        }
      }
    } catch (const std::exception& error) {
      fail_half_made(error);
      throw;
    }
  }
  checkpoint_if_due(end);
  co_return end;
}

Task<> Database::Impl::wait_durable(Worker& worker, Lsn lsn) {
  log.want_durable(lsn);
  DurableOp durable(log, lsn);
  co_await worker.perform(durable);
}

Task<> Database::wait_durable(Worker& worker, Lsn lsn) {
  return _impl->wait_durable(worker, lsn);
}

Task<Lsn> Transaction::commit_no_wait(Worker& worker) {
  const State::End end(*_state);
  if (_state->changes.empty()) co_return 0;
  co_return co_await _state->database.apply(worker, _state->changes);
}

Task<Lsn> Transaction::commit(Worker& worker) {
  const Lsn lsn = co_await commit_no_wait(worker);
  co_await _state->database.wait_durable(worker, lsn);
  co_return lsn;
}

Task<std::optional<std::string>> Transaction::get(Worker& worker, unsigned tree, Bytes key) {
  std::optional<std::string> value;
  if (_state->has_own(tree, LockTable::hash_of(tree, key), key, value)) co_return value;
  co_return co_await _state->database.tree(tree).get(worker, key);
}

Task<std::optional<std::string>> Transaction::get_for_update(Worker& worker, unsigned tree, Bytes key) {
  _state->lock(tree, LockTable::hash_of(tree, key));
  co_return co_await get(worker, tree, key);
}

}  // namespace vmcache

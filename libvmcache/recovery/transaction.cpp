// SPDX-License-Identifier: MIT
#include <cstddef>
#include <new>
#include <optional>
#include <string>

#include "recovery/transaction_state.hpp"
#include "vmcache/database.hpp"

namespace vmcache {

Transaction::Transaction(Database& database)
    : _state(::new (static_cast<void*>(_memory)) State(*database._impl)) {
  static_assert(sizeof(State) <= sizeof _memory && alignof(State) <= alignof(std::max_align_t));
}

Transaction::~Transaction() {
  rollback();
  _state->~State();
}

std::optional<std::string> Transaction::get(unsigned tree, Bytes key) {
  return _state->get(tree, LockTable::hash_of(tree, key), key);
}

std::optional<std::string> Transaction::get_for_update(unsigned tree, Bytes key) {
  const std::uint64_t hash = LockTable::hash_of(tree, key);
  _state->lock(tree, hash);
  return _state->get(tree, hash, key);
}

void Transaction::put(unsigned tree, Bytes key, Bytes value) {
  _state->change(tree, key, value);
}

void Transaction::erase(unsigned tree, Bytes key) {
  _state->change(tree, key, std::nullopt);
}

Lsn Transaction::commit_no_wait() {
  _state->database.require_usable();
  _state->database.refuse_in_task("a commit without the Worker");
  // Before the record is durable, because who sees the changes commits after us.
  const State::End end(*_state);
  if (_state->changes.empty()) return _state->read_lsn;
  return _state->database.committer().commit(_state->changes, *_state);
}

Lsn Transaction::commit() {
  const Lsn lsn = commit_no_wait();
  _state->database.log().wait_durable(lsn);
  return lsn;
}

void Transaction::rollback() noexcept {
  _state->end();
}

}  // namespace vmcache

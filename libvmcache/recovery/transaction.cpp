// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <cstddef>
#include <new>
#include <optional>
#include <string>

#include "recovery/database_impl.hpp"
#include "recovery/write_set.hpp"
#include "vmcache/database.hpp"

namespace vmcache {

class Transaction::State {
 public:
  explicit State(Database::Impl& owner) : database(owner) {}

  void lock(unsigned tree, std::uint64_t hash) {
    locked.reserve_more(1);  // what is locked will be unlocked
    const LockTable::Result result = database.locks.lock(hash, this);
    if (result == LockTable::Result::kTaken) locked.push_back(hash);
    if (result == LockTable::Result::kConflict) {
      throw Error(Errc::kConflict, fmt::format("tree {}: another transaction has locked the key", tree));
    }
  }
  void end() noexcept {
    for (const std::uint64_t hash : locked) database.locks.unlock(hash);
    locked.shrink_to(0);
    changes.clear();
  }
  void change(unsigned tree, Bytes key, std::optional<Bytes> value) {
    if (key.size() > BTree::kMaxKey) {
      throw Error(Errc::kTooLarge,
                  fmt::format("a key of {} bytes; at most {} are allowed", key.size(), BTree::kMaxKey));
    }
    if (changes.body().size() + WriteSet::size_of(key, value) > kMaxBytes) {
      throw Error(Errc::kTooLarge, fmt::format("a transaction of more than {} bytes", kMaxBytes));
    }
    const std::uint64_t hash = LockTable::hash_of(tree, key);
    database.locks.prefetch(hash);
    if (changes.empty()) database.log.about_to_append();
    const PageId root = database.tree(tree).root();  // it exists from now on
    // The lock comes last: its line is on the way meanwhile. A key that had a change already is locked.
    const bool added = changes.set(hash, tree, root, key, value);
    try {
      lock(tree, hash);
    } catch (...) {
      if (added) changes.remove_last();
      throw;
    }
  }
  std::optional<std::string> get(unsigned tree, std::uint64_t hash, Bytes key) const {
    if (const std::optional<WriteSet::Change> own = changes.find(hash, tree, key)) {
      if (own->erased) return std::nullopt;
      return std::string(own->value.view());
    }
    return database.tree(tree).get(key);
  }

  Database::Impl& database;
  WriteSet changes;
  SmallBuffer<std::uint64_t, 8> locked;
};

Transaction::Transaction(Database& database) : _state(::new (static_cast<void*>(_memory)) State(database.impl())) {
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
  // Whatever happens, the locks go; before the record is durable, because who sees the changes commits after us.
  struct End {
    State& state;
    ~End() { state.end(); }
  } const end{*_state};
  if (_state->changes.empty()) return 0;
  return _state->database.apply(_state->changes);
}

Lsn Transaction::commit() {
  const Lsn lsn = commit_no_wait();
  _state->database.log.wait_durable(lsn);
  return lsn;
}

void Transaction::rollback() noexcept {
  _state->end();
}

}  // namespace vmcache

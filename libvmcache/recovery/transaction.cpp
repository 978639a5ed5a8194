// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <array>
#include <memory_resource>
#include <optional>
#include <string>
#include <vector>

#include "recovery/database_impl.hpp"
#include "recovery/write_set.hpp"
#include "vmcache/database.hpp"

namespace vmcache {

class Transaction::State {
 public:
  explicit State(Database::Impl& owner) : database(owner) {}

  void lock(unsigned tree, std::uint64_t hash) {
    locked.reserve(locked.size() + 1);  // what is locked will be unlocked
    const LockTable::Result result = database.locks.lock(hash, this);
    if (result == LockTable::Result::kTaken) locked.push_back(hash);
    if (result == LockTable::Result::kConflict) {
      throw Error(Errc::kConflict, fmt::format("tree {}: another transaction has locked the key", tree));
    }
  }
  void end() noexcept {
    for (const std::uint64_t hash : locked) database.locks.unlock(hash);
    locked.clear();
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
    const PageId root = database.tree(tree).root();  // it exists from now on
    const std::uint64_t hash = LockTable::hash_of(tree, key);
    lock(tree, hash);
    changes.set(hash, tree, root, key, value);
  }
  std::optional<std::string> get(unsigned tree, std::uint64_t hash, Bytes key) const {
    if (const std::optional<WriteSet::Change> own = changes.find(hash, tree, key)) {
      if (own->erased) return std::nullopt;
      return std::string(own->value.view());
    }
    return database.tree(tree).get(key);
  }

  Database::Impl& database;

 private:
  //! Small transactions need no other memory. (All of State stays within what malloc keeps for each thread.)
  std::array<std::byte, 640> _front;
  std::pmr::monotonic_buffer_resource _memory{_front.data(), _front.size()};

 public:
  WriteSet changes{&_memory};
  std::pmr::vector<std::uint64_t> locked{&_memory};
};

Transaction::Transaction(Database& database) : _state(std::make_unique<State>(database.impl())) {}

Transaction::~Transaction() {
  rollback();
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

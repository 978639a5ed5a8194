// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <string>

#include "recovery/database_impl.hpp"
#include "recovery/small_buffer.hpp"
#include "recovery/write_set.hpp"
#include "vmcache/database.hpp"

namespace vmcache {

class Transaction::State {
 public:
  explicit State(Database::Impl& owner) noexcept : database(owner) {}

  //! Its locks go, committed or not, and whatever it still holds.
  class End {
   public:
    explicit End(State& state) noexcept : _state(state) {}
    ~End() { _state.end(); }
    End(const End&) = delete;
    End& operator=(const End&) = delete;

   private:
    State& _state;
  };

  void lock(unsigned tree, std::uint64_t hash) {
    locked.reserve_more(1);  // what is locked will be unlocked
    LockTable::Result result = database.locks.try_lock(hash, this);
    // In a task it may be another one of the thread that has it, which would be waited for in vain.
    if (result == LockTable::Result::kConflict && !database.in_task())
      result = database.locks.lock(hash, this);
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
  //! Whether the transaction has changed the key, and then what get() says of it.
  [[nodiscard]] bool has_own(unsigned tree, std::uint64_t hash, Bytes key,
                             std::optional<std::string>& value) const {
    const std::optional<WriteSet::Change> own = changes.find(hash, tree, key);
    if (own && !own->erased) value.emplace(own->value.view());
    return own.has_value();
  }
  [[nodiscard]] std::optional<std::string> get(unsigned tree, std::uint64_t hash, Bytes key) const {
    std::optional<std::string> value;
    if (has_own(tree, hash, key, value)) return value;
    return database.tree(tree).get(key);
  }

  Database::Impl& database;
  WriteSet changes;
  SmallBuffer<std::uint64_t, 8> locked;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "recovery/database_impl.hpp"
#include "recovery/small_buffer.hpp"
#include "recovery/write_set.hpp"
#include "vmcache/database.hpp"

namespace vmcache {

class Transaction::State : public LockOwner {
 public:
  explicit State(Database::Impl& owner) noexcept : database(owner) {}

  //! Ends the transaction in its destructor: releases its locks and forgets its changes, whether
  //! they were committed or not.
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
    database.require_usable();
    locked.reserve_more(1);  // so that what is locked can be noted
    LockTable::Result result = database.locks().try_lock(hash, this);
    // In a task the holder may be another task of the same thread, for which waiting is of no use.
    if (result == LockTable::Result::kConflict && !database.in_task())
      result = database.locks().lock(hash, this);
    if (result == LockTable::Result::kTaken) locked.push_back(hash);
    if (result == LockTable::Result::kConflict) {
      // Of a commit that has failed half-way, and with it the log: for good.
      database.log().throw_if_failed("no more changes are possible since the failure of");
      throw Error(Errc::kConflict,
                  fmt::format("tree {}: another transaction has locked the key", tree));
    }
  }
  void end() noexcept {
    // A transaction that has ended holds no locks, and may outlive its database. In a child of
    // fork() a thread that does not exist there may hold a bucket's latch.
    if (!locked.empty() && database.here()) {
      for (const std::uint64_t hash : locked) {
        half_made ? database.locks().abandon(hash) : database.locks().unlock(hash);
      }
    }
    applying.store(0, std::memory_order_relaxed);
    locked.shrink_to(0);
    changes.clear();
    read_lsn = 0;
  }
  void change(unsigned tree, Bytes key, std::optional<Bytes> value) {
    database.require_usable();
    if (key.size() > BTree::kMaxKey) {
      throw Error(Errc::kTooLarge, fmt::format("a key of {} bytes; at most {} are allowed",
                                               key.size(), BTree::kMaxKey));
    }
    if (changes.body().size() + WriteSet::size_of(key, value) > kMaxBytes) {
      throw Error(Errc::kTooLarge, fmt::format("a transaction of more than {} bytes", kMaxBytes));
    }
    const std::uint64_t hash = LockTable::hash_of(tree, key);
    database.locks().prefetch(hash);
    if (changes.empty()) database.log().about_to_append();
    const PageId root = database.tree(tree).root();  // it exists from now on
    // The lock is taken last, while its cache line is on the way. A key that had a change already
    // is locked.
    const bool added = changes.set(hash, tree, root, key, value);
    try {
      lock(tree, hash);
    } catch (...) {
      if (added) changes.remove_last();
      throw;
    }
  }
  //! Whether the transaction has changed the key. If so, `value` becomes what get() returns.
  [[nodiscard]] bool has_own(unsigned tree, std::uint64_t hash, Bytes key,
                             std::optional<std::string>& value) const {
    database.refuse_if_failed("get");
    const std::optional<WriteSet::Change> own = changes.find(hash, tree, key);
    if (own && !own->erased) value.emplace(own->value.view());
    return own.has_value();
  }
  [[nodiscard]] std::optional<std::string> get(unsigned tree, std::uint64_t hash, Bytes key) {
    std::optional<std::string> value;
    if (has_own(tree, hash, key, value)) return value;
    Lsn lsn = 0;
    value = database.tree(tree).get(key, lsn);
    note_read(lsn);
    return value;
  }
  void note_read(Lsn lsn) noexcept { read_lsn = std::max(read_lsn, lsn); }

  Database::Impl& database;
  WriteSet changes;
  SmallBuffer<std::uint64_t, 8> locked;
  //! All that was read is durable once the log is durable up to here (R16).
  Lsn read_lsn = 0;
};

}  // namespace vmcache

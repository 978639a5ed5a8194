// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "recovery/database_impl.hpp"
#include "vmcache/database.hpp"

namespace vmcache {

class Transaction::State {
 public:
  using Key = std::pair<unsigned, std::string>;
  struct Less {
    using is_transparent = void;
    bool operator()(const auto& a, const auto& b) const noexcept {
      if (a.first != b.first) return a.first < b.first;
      return std::string_view(a.second) < std::string_view(b.second);
    }
  };

  explicit State(Database::Impl& owner) noexcept : database(owner) {}

  void lock(unsigned tree, Bytes key) {
    const std::uint64_t hash = LockTable::hash_of(tree, key);
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
    bytes = 0;
  }
  void change(unsigned tree, Bytes key, std::optional<Bytes> value) {
    const std::size_t size = key.size() + (value ? value->size() : 0);
    if (key.size() > BTree::kMaxKey ||
        (value && (value->size() > BTree::kMaxInlineValue || size > btree::kMaxLeafPayload))) {
      throw Error(Errc::kTooLarge,
                  fmt::format("a key of {} bytes with a value of {}; at most {} and {} are allowed, {} "
                              "together",
                              key.size(), size - key.size(), BTree::kMaxKey, BTree::kMaxInlineValue,
                              btree::kMaxLeafPayload));
    }
    const std::size_t more = size + sizeof(ChangeHeader);
    if (bytes + more > kMaxBytes) {
      throw Error(Errc::kTooLarge, fmt::format("a transaction of more than {} bytes", kMaxBytes));
    }
    (void)database.tree(tree);  // it exists from now on
    lock(tree, key);
    std::optional<std::string>& entry = changes[{tree, std::string(key.view())}];
    entry.reset();
    if (value) entry.emplace(value->view());
    bytes += more;
  }
  //! The commit record's body.
  std::vector<std::byte> serialize() const {
    std::vector<std::byte> body;
    body.reserve(bytes);
    const auto add = [&](Bytes part) { body.insert(body.end(), part.begin(), part.end()); };
    for (const auto& [key, value] : changes) {
      const ChangeHeader header{.tree = database.tree(key.first).root(),
                                .erased = value ? 0U : 1U,
                                .key_bytes = static_cast<std::uint32_t>(key.second.size()),
                                .value_bytes = value ? value->size() : 0};
      add(bytes_of(header));
      add(key.second);
      if (value) add(*value);
    }
    return body;
  }

  Database::Impl& database;
  std::map<Key, std::optional<std::string>, Less> changes;  // nullopt: erased
  std::vector<std::uint64_t> locked;
  std::size_t bytes = 0;
};

Transaction::Transaction(Database& database) : _state(std::make_unique<State>(database.impl())) {}

Transaction::~Transaction() {
  rollback();
}

std::optional<std::string> Transaction::get(unsigned tree, Bytes key) {
  if (!_state->changes.empty()) {
    const auto own = _state->changes.find(std::pair{tree, key.view()});
    if (own != _state->changes.end()) return own->second;
  }
  return _state->database.tree(tree).get(key);
}

std::optional<std::string> Transaction::get_for_update(unsigned tree, Bytes key) {
  _state->lock(tree, key);
  return get(tree, key);
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
  const std::vector<std::byte> body = _state->serialize();
  return _state->database.apply({body.data(), body.size()}, _state->changes.size());
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

// SPDX-License-Identifier: MIT
#include "recovery/commit_redo.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <new>

#include "recovery/log_format.hpp"
#include "vmcache/log.hpp"

namespace vmcache {
namespace {

//! At least the longest record.
constexpr std::size_t kBatchBytes = 2 * WriteAheadLog::kMaxRecord;
constexpr std::size_t kMostTasks = 64;
//! A task in the middle of a split latches a few pages, and the pool must be able to go on beside all of them.
constexpr std::uint64_t kFramesPerTask = 32;

}  // namespace

std::size_t CommitRedo::Hash::operator()(const Key& key) const noexcept {
  return std::hash<std::string_view>{}(key.bytes) ^ std::hash<BTree*>{}(key.tree);
}

CommitRedo::CommitRedo(BufferPool& pool, TreeOf tree_of)
    : _pool(pool),
      _tree_of(tree_of),
      _tasks(std::clamp<std::uint64_t>(pool.pool_pages() / kFramesPerTask, 1, kMostTasks)),
      _bytes(std::make_unique_for_overwrite<std::byte[]>(kBatchBytes)) {}

std::uint64_t CommitRedo::add(Bytes body) {
  if (body.size() > kBatchBytes - _used) finish();
  std::byte* const copy = _bytes.get() + _used;
  std::memcpy(copy, body.data(), body.size());
  _used += body.size();
  std::uint64_t changes = 0;
  for (BodyReader reader(Bytes{copy, body.size()}); !reader.at_end(); ++changes) {
    const auto header = reader.take_as<ChangeHeader>();
    const Bytes key = reader.take(header.key_bytes);
    const Bytes value = reader.take(header.value_bytes);
    _changes[{&_tree_of(header.tree), key.view()}] = {header.erased != 0, value};
  }
  return changes;
}

void CommitRedo::finish() {
  if (_changes.empty()) return;
  _next = _changes.begin();
  {
    Worker worker(_pool);
    try {
      for (std::size_t n = 0; n < std::min(_tasks, _changes.size()); ++n) worker.spawn(make_changes(worker));
    } catch (const std::bad_alloc&) {
      if (worker.tasks() == 0) throw;  // else fewer do it
    }
    worker.run();
  }
  _changes.clear();
  _used = 0;
}

Task<> CommitRedo::make_changes(Worker& worker) {
  try {
    while (_next != _changes.end()) {
      const auto& [key, change] = *_next++;
      const Bytes name(key.bytes);
      if (change.erased) {
        co_await key.tree->erase(worker, name);
      } else {
        co_await key.tree->upsert(worker, name, change.value);
      }
    }
  } catch (...) {
    _next = _changes.end();  // the others need not go on
    throw;
  }
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include "recovery/commit_redo.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "recovery/log_format.hpp"
#include "vmcache/detail/btree/write_operations.hpp"

namespace vmcache {
namespace {

//! At least the longest record.
constexpr std::size_t kBatchBytes = 2 * WriteAheadLog::kMaxRecord;
constexpr std::size_t kMaxTasks = 64;
//! A task in the middle of a split latches a few pages, and the pool must be able to go on beside
//! all of them.
constexpr std::uint64_t kFramesPerTask = 32;

//! Calls use(root, erased, key, value) for each change of a commit.
template <typename Use>
void for_each_change(Bytes body, Use use) {
  for (BodyReader reader(body); !reader.at_end();) {
    const auto header = reader.take_as<ChangeHeader>();
    const Bytes key = reader.take(header.key_bytes);
    use(header.tree, header.erased != 0, key, reader.take(header.value_bytes));
  }
}

bool is_commit(const WriteAheadLog::Record& record) noexcept {
  return static_cast<RecordType>(record.type) == RecordType::kCommit;
}

//! What fails after the tree has the result concerns the tidying up alone.
template <typename Op>
Task<> perform(Worker& worker, Op& op) {
  try {
    co_await worker.perform(op);
  } catch (const Error&) {
    if (!op.committed()) throw;
  }
}

}  // namespace

CommitRedo::CommitRedo(BufferPool& pool, detail::PagedStore& store)
    : _pool(pool),
      _tasks(std::clamp<std::uint64_t>(pool.pool_pages() / kFramesPerTask, 1, kMaxTasks)),
      _large(pool, store),
      _bytes(std::make_unique_for_overwrite<std::byte[]>(kBatchBytes)) {}

void CommitRedo::run(Scan scan, std::uint64_t changes) {
  if (changes == 0) return;
  _final.begin(changes);
  std::vector<bool> unfinished(_final.parts(), true);
  for (const bool may_split : {false, true}) {
    _may_split = may_split;
    for (const auto& [root, tree] : _trees) tree->set_structure({may_split, false});
    for (std::uint64_t part = 0; part < _final.parts(); ++part) {
      if (!unfinished[part]) continue;
      // The only part is indexed still, with what is made already.
      if (!may_split || _final.parts() > 1) {
        _final.begin_part(part);
        index(scan);
      }
      _left = 0;
      apply(scan);
      unfinished[part] = _left > 0;
    }
  }
}

void CommitRedo::index(Scan scan) {
  scan([&](const WriteAheadLog::Record& record) {
    if (!is_commit(record)) return;
    for_each_change(record.body, [&](PageId root, bool, Bytes key, Bytes) {
      const FinalChanges::Key hash = _final.key_of(root, key);
      if (_final.in_part(hash)) _final.note(hash, record.end);
    });
  });
}

void CommitRedo::apply(Scan scan) {
  scan([&](const WriteAheadLog::Record& record) {
    if (is_commit(record)) add(record);
  });
  make_batch();
}

//! Takes those of its changes that are to be made.
void CommitRedo::add(const WriteAheadLog::Record& record) {
  if (record.body.size() > kBatchBytes - _used) make_batch();
  std::byte* const copy = _bytes.get() + _used;
  const std::size_t before = _batch.size();
  const std::byte* const body = record.body.data();
  for_each_change(record.body, [&](PageId root, bool erased, Bytes key, Bytes value) {
    const FinalChanges::Key hash = _final.key_of(root, key);
    if (!_final.in_part(hash)) return;
    FinalChanges::Entry* const entry = _final.find(hash, record.end);
    if (entry == nullptr || entry->made) return;
    const auto in_copy = [&](Bytes part) {
      return Bytes{copy + (part.data() - body), part.size()};
    };
    _batch.push_back({&tree_at(root), erased, in_copy(key), in_copy(value), record.end, entry});
  });
  if (_batch.size() == before) return;
  std::memcpy(copy, body, record.body.size());
  _used += record.body.size();
}

void CommitRedo::make_batch() {
  _next = 0;
  if (!_batch.empty()) {
    Worker worker(_pool);
    try {
      for (std::size_t n = 0; n < std::min(_tasks, _batch.size()); ++n)
        worker.spawn(make_changes(worker));
    } catch (const std::bad_alloc&) {
      if (worker.tasks() == 0) throw;  // else fewer do it
    }
    worker.run();
  }
  _batch.clear();
  _used = 0;
}

Task<> CommitRedo::make_changes(Worker& worker) {
  try {
    while (_next < _batch.size()) {
      const Change& change = _batch[_next++];
      if (co_await make(worker, change)) {
        change.entry->made = true;
      } else {
        ++_left;
      }
    }
  } catch (...) {
    _next = _batch.size();  // the others need not go on
    throw;
  }
}

//! False if there was no room in the leaf.
Task<bool> CommitRedo::make(Worker& worker, const Change& change) {
  if (change.erased) {
    btree::EraseOp op(*change.tree, change.key);
    co_await perform(worker, op);
    co_return true;
  }
  if (LargeRedo::is_large(change.key, change.value))
    co_return co_await _large.put(worker, *change.tree, change.key, change.value, change.lsn);
  btree::WriteOp op(*change.tree, btree::WriteOp::Mode::kUpsert, change.key, change.value);
  co_await perform(worker, op);
  co_return !op.found_no_room();
}

btree::TreeContext& CommitRedo::tree_at(PageId root) {
  std::unique_ptr<btree::TreeContext>& tree = _trees[root];
  if (!tree) {
    tree = std::make_unique<btree::TreeContext>(_pool, root);
    tree->set_structure({_may_split, false});
  }
  return *tree;
}

}  // namespace vmcache

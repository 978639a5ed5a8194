// SPDX-License-Identifier: MIT
#include "recovery/committer.hpp"

#include <fmt/format.h>

#include <optional>
#include <span>
#include <utility>

#include "pool/paged_store.hpp"
#include "recovery/log_failure.hpp"

namespace vmcache {

Committer::Committer(WriteAheadLog& log, BufferPool& pool, detail::PagedStore& store, Gate& gate,
                     TreeSet& trees, ChangeRecorder& recorder, LogSpace& log_space,
                     Checkpoints& checkpoints)
    : _log(log),
      _pool(pool),
      _allocator(store.allocator),
      _storage_flush(store.storage_flush),
      _gate(gate),
      _trees(trees),
      _recorder(recorder),
      _log_space(log_space),
      _checkpoints(checkpoints),
      _needs(pool, trees),
      _page_space(store.allocator) {}

//! Throws Error kTooLarge if not even an empty log has that much space.
void Committer::check_log_size(std::uint64_t bytes) const {
  if (bytes <= _log_space.max_reserved()) return;
  throw Error(Errc::kTooLarge,
              fmt::format("a transaction that may need {} bytes of log; with a "
                          "log of {} bytes at most {} are allowed",
                          bytes, _log.capacity_bytes(), _log_space.max_reserved()));
}

//! Makes checkpoints until there is space (R10).
LogReservation Committer::reserve_log(std::uint64_t bytes) {
  check_log_size(bytes);
  LogReservation space = _log_space.try_reserve(bytes);
  while (!space) {
    // Another thread may have made a checkpoint meanwhile.
    _checkpoints.make_unless([&] {
      space = _log_space.try_reserve(bytes);
      return static_cast<bool>(space);
    });
    if (!space) space = _log_space.try_reserve(bytes);
  }
  return space;
}

//! Throws Error kDatabaseFull. Nothing has happened then.
PageReservation Committer::reserve_pages_or_throw(std::uint64_t pages) {
  if (PageReservation reserved = _page_space.try_reserve(pages)) return reserved;
  throw Error(
      Status{Errc::kDatabaseFull, _allocator.growth_error(), kNoPage},
      fmt::format(
          "a change that may need {} pages: {} are free, of a capacity of {}; nothing was changed",
          pages, _allocator.available(), _pool.capacity_pages()));
}

//! For a database that is nearly full: changes that replace values may still fit.
PageReservation Committer::reserve_exact_pages(const WriteSet& changes) {
  return reserve_pages_or_throw(
      _needs.sum(changes, [&](const WriteSet::Change& change) -> std::uint64_t {
        if (change.erased) return 0;
        const std::optional<std::size_t> old =
            tree_of(change).lookup(change.key, std::span<std::byte>{});
        return old ? _needs.pages_to_replace(change, *old) : _needs.max_pages(change);
      }));
}

Committer::PlacedValues Committer::place_large(const WriteSet& changes) {
  PlacedValues placed;
  for (std::size_t n = 0; n < changes.changes(); ++n) {
    const WriteSet::Change change = changes.change(n);
    if (!change.erased && BTree::is_large(change.key, change.value))
      placed.push_back(tree_of(change).place(change.value));
  }
  return placed;
}

Lsn Committer::append(const WriteSet& changes, LockOwner& owner) {
  const Lsn end = _recorder.append_commit(changes.body());  // R2: before the trees change
  // Before the first change is in a tree (V3). Readers see it because they read the leaf's latch
  // word, which the change writes later.
  owner.applying.store(end, std::memory_order_release);
  return end;
}

//! Only a recovery can complete what is in the log and only half in the trees.
void Committer::fail_half_made(const std::exception& error, LockOwner& owner) noexcept {
  owner.half_made = true;
  _log.fail(errno_of(error));
}

Lsn Committer::commit(const WriteSet& changes, LockOwner& owner) {
  Lsn end = 0;
  _storage_flush.refuse_if_failed("commit");
  {
    _log.about_to_append();
    const LogReservation log_space = reserve_log(CommitNeeds::max_log_bytes(changes));
    const CommitNeeds::Pages needed = _needs.pages(changes);
    PageReservation pages = _page_space.try_reserve(needed.max);
    if (!pages) pages = reserve_exact_pages(changes);
    const Gate::Inside inside(_gate);
    PlacedValues placed;
    if (needed.large_values) placed = place_large(changes);
    auto next_placed = placed.begin();
    end = append(changes, owner);
    try {
      for (std::size_t n = 0; n < changes.changes(); ++n) {
        const WriteSet::Change change = changes.change(n);
        if (change.erased) {
          tree_of(change).erase(change.key);
        } else if (BTree::is_large(change.key, change.value)) {
          tree_of(change).upsert(change.key, std::move(*next_placed++));
        } else {
          tree_of(change).upsert(change.key, change.value);
        }
      }
    } catch (const std::exception& error) {
      fail_half_made(error, owner);
      throw;
    }
  }
  _checkpoints.make_if_due(end);
  return end;
}

const BTree& Committer::open_tree(unsigned index) {
  const LogReservation log_space = reserve_log(4 * kPageSize);
  const PageReservation pages = reserve_pages_or_throw(1);
  const Gate::Inside inside(_gate);
  return _trees.open(_pool, index, [&] {
    return BTree::create(_pool, [&](PageId page_id) { _recorder.append_root(page_id, 1 + index); });
  });
}

}  // namespace vmcache

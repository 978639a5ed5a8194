// SPDX-License-Identifier: MIT
#include "recovery/visibility.hpp"

namespace vmcache {

Lsn Visibility::applied_lsn() noexcept {
  const Lsn known = _applied.load(std::memory_order_acquire);
  // To look takes some two hundred instructions, and reads cache lines that committers write.
  constexpr unsigned kEvery = 16;
  static thread_local unsigned calls = 0;
  if (calls++ % kEvery != 0) return known;
  const Lsn end = _log.end();  // first (V2)
  if (!_gate.empty() || end <= known) return known;
  _applied.store(end, std::memory_order_release);
  return end;
}

std::uint64_t Visibility::commit_being_applied(PageId root, Bytes key) {
  for (unsigned index = 0; index < TreeSet::kTrees; ++index) {
    const BTree* const tree = _trees.find(index);
    if (tree == nullptr || tree->root() != root) continue;
    const std::uint64_t commit = _locks.applying(LockTable::hash_of(index, key));
    if (commit != 0) _log.throw_if_failed("reading a key that a commit was changing, with");
    return commit;
  }
  return 0;  // nobody can have changed it through this database
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// The second half of recovery: it applies the commits of the log again. Of each key it makes only
// the final change, and it leaves the trees' structure as it is where it can. So it needs no log
// space and no pages besides those that normal work has reserved:
//
//   C1  Let an *applied* commit be one whose changes were in the trees before the log's found end.
//       The leaf of a key that it has changed has an image behind E, because the change has logged
//       the image (R3) or the page had one already. If the entry has moved since, a structure
//       change has moved it, and has logged the image of the page to which the entry went.
//   C2  So the last changes of applied commits lie in leaves with images. At the log's end such a
//       leaf held the final values of all its keys at once. Recovery changes it key by key from the
//       image to that state, and each key that shrinks or goes frees some space. A change that does
//       not fit in the first pass is left for the second. By then all that shrinks has shrunk, and
//       the change fits.
//   C3  The other commits were inside the gate at the log's found end (R5). They had reserved log
//       space and pages for their images and splits (R10, R15). Nothing of what they may have used
//       since is in the log.
//   C4  Merges are left out. A leaf that an applied commit has made small was merged then, or may
//       stay as it was.
//
// So recovery logs pages, allocates pages and splits only for the commits of C3. It logs each page
// at most once, however often it is cut (R9). If it made all changes again in the log's order,
// leaves would hold mixtures of old and new entries that never existed. They would be split or
// merged for them, and would log pages for which normal work had reserved nothing.
//
// A pass over the log finds the last change of each key, with an index of salted 128-bit hashes.
// The index is bounded. If there are more changes than it holds, keys are taken in several parts,
// each with its own passes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "recovery/final_changes.hpp"
#include "recovery/large_redo.hpp"
#include "vmcache/bytes.hpp"
#include "vmcache/detail/btree/tree_context.hpp"
#include "vmcache/function_ref.hpp"
#include "vmcache/worker.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

namespace detail {
class PagedStore;
}

//! Applies the commits of a log again. Most changes wait until a leaf is read, so tasks make many
//! of them at a time. One thread's.
class CommitRedo {
 public:
  //! Calls its argument for all records, in the log's order. CommitRedo calls it several times.
  using Scan = FunctionRef<void(const WriteAheadLog::Visitor&)>;

  //! Throws std::bad_alloc.
  CommitRedo(BufferPool& pool, detail::PagedStore& store);

  //! `changes` is the number of changes in all commits together. Throws Error: kCorrupt if a record
  //! makes no sense, and what changing a tree throws; std::bad_alloc.
  void run(Scan scan, std::uint64_t changes);

 private:
  struct Change {
    btree::TreeContext* tree = nullptr;
    bool erased = false;
    Bytes key;
    Bytes value;
    Lsn lsn = 0;  // the commit's
    FinalChanges::Entry* entry = nullptr;
  };

  void index(Scan scan);
  void apply(Scan scan);
  void add(const WriteAheadLog::Record& record);
  void make_batch();
  Task<> make_changes(Worker& worker);
  Task<bool> make(Worker& worker, const Change& change);
  [[nodiscard]] btree::TreeContext& tree_at(PageId root);

  BufferPool& _pool;
  const std::size_t _tasks;
  LargeRedo _large;
  std::map<PageId, std::unique_ptr<btree::TreeContext>> _trees;
  FinalChanges _final;
  bool _may_split = false;
  std::uint64_t _left = 0;                    // changes that found no room
  const std::unique_ptr<std::byte[]> _bytes;  // of the bodies of a batch
  std::size_t _used = 0;
  std::vector<Change> _batch;
  std::size_t _next = 0;  // of the batch, to be made
};

}  // namespace vmcache

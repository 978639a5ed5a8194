// SPDX-License-Identifier: MIT
//
// The first half of recovery: what a log says about the page file. The second half applies the
// commits again and needs the trees (CommitRedo).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "recovery/log_format.hpp"
#include "vmcache/function_ref.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

//! The snapshot records that a log holds.
struct Snapshots {
  struct Checkpoint {
    std::uint64_t generation = 0;
    std::uint64_t nonce = 0;
  };
  std::vector<Checkpoint> all;  //!< in the order of the log
  std::uint64_t first_next_page = 0;
};

class ImageBatch;

//! Reads the log from its begin to its end, then brings the page file up to date.
class Redo {
 public:
  explicit Redo(std::uint64_t capacity_pages) noexcept : _capacity_pages(capacity_pages) {}

  //! Throws Error kCorrupt if the records contradict themselves.
  void visit(const WriteAheadLog::Record& record);
  //! Calls its argument once more for all records that visit() was given.
  using Scan = FunctionRef<void(const WriteAheadLog::Visitor&)>;
  //! Writes the last image of each page, and returns the number of pages. Throws Error kIo.
  std::uint64_t write_pages(Storage& storage, Scan scan);
  //! The number of commits, and of the changes in them.
  [[nodiscard]] std::uint64_t commits() const noexcept { return _commits; }
  [[nodiscard]] std::uint64_t changes() const noexcept { return _changes; }
  //! Throws Error kCorrupt if the log does not begin with a snapshot.
  void require_snapshot() const;
  //! Reads the list of free extents that the snapshot names (R19). Call it after the last visit(),
  //! and before anything is written to the page file. Throws Error: kIo; kCorrupt with the page of
  //! the list. It is kCorrupt, too, if a page of the list was given to something else: then a later
  //! checkpoint was finished, and the master that says so is lost.
  void read_free_list(Storage& storage);
  //! Free extents, roots and the lowest page id never handed out, as of the log's end. Call it
  //! after read_free_list().
  [[nodiscard]] RecoveredState state() const;
  [[nodiscard]] const Snapshots& snapshots() const noexcept { return _snapshots; }

 private:
  void visit_snapshot(BodyReader body, bool first);
  void visit_pages(BodyReader body, Lsn end);
  void visit_commit(BodyReader body);
  void write_images(const WriteAheadLog::Record& record, ImageBatch& batch) const;
  void set_used(Extent extent, bool used);
  void set_free_at_snapshot(Extent extent);
  void check(PageId page_id) const;

  const std::uint64_t _capacity_pages;
  bool _started = false;
  Snapshots _snapshots;
  SnapshotHeader _snapshot;  // the first one
  std::vector<bool> _used;   // by page id, up to the highest ever handed out
  std::vector<bool> _named;  // whether a record after the snapshot has named the page
  std::vector<PageId> _list_pages;
  std::vector<PageId> _roots;
  //! Where the record with a page's last image ends. The images themselves are read again, because
  //! there may be a log full of them.
  std::unordered_map<PageId, Lsn> _images;
  std::uint64_t _commits = 0;
  std::uint64_t _changes = 0;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// What a log says of the page file: the first half of recovery. The second, applying the commits again, needs the trees
// (Database::Impl).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "recovery/log_format.hpp"
#include "vmcache/log.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache {

//! Reads the log from its begin to its end, then brings the page file up to date.
class Redo {
 public:
  explicit Redo(std::uint64_t capacity_pages) noexcept : _capacity_pages(capacity_pages) {}

  //! Throws Error kCorrupt if the records contradict themselves.
  void visit(const WriteAheadLog::Record& record);
  //! Writes the last image of each page. Returns how many. Throws Error kIo.
  std::uint64_t write_pages(Storage& storage);
  //! Free extents, roots and the lowest page id never handed out, as of the log's end. Throws Error kCorrupt if there
  //! was no whole snapshot.
  [[nodiscard]] RecoveredState state() const;

 private:
  struct Image {
    Lsn lsn = 0;
    std::unique_ptr<std::byte[]> bytes;
  };
  void visit_snapshot(BodyReader body);
  void visit_free_extents(BodyReader& body);
  void visit_pages(BodyReader body, Lsn end);
  void set_used(Extent extent, bool used);
  void check(PageId page_id) const;

  const std::uint64_t _capacity_pages;
  bool _started = false;
  std::uint64_t _free_to_come = 0;
  std::vector<bool> _used;  // by page id, up to the highest ever handed out
  std::vector<PageId> _roots;
  std::unordered_map<PageId, Image> _images;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "btree/tree_walk.hpp"
#include "report.hpp"
#include "storage/aligned_buffer.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::check {

//! The page file as it is to be checked.
struct PageFile {
  Storage& storage;
  std::function<std::string(std::uint64_t)> file_of;  //!< of an offset
  bool checksums = false;                             //!< pages have a PageHeader
  //! The extents of large values have checksums that can be checked.
  bool large_checksums = false;
  //! Pages may belong to structures that are not B+trees.
  bool foreign = false;
};

//! Which pages are free, and which belong to trees: each of them to one.
class PageCheck final : private btree::TreeSource {
 public:
  //! Calls tick() once a page.
  PageCheck(const PageFile& file, std::uint64_t next_page, Report& report,
            const std::function<void()>& tick);

  void add_free(Extent extent, Region said_by);
  //! False if the two sets of free pages differ.
  [[nodiscard]] bool same_free(const PageCheck& other) const { return _free == other._free; }
  void walk(unsigned index, PageId root);
  //! After all: fills in the report's counts.
  void finish();

 private:
  [[nodiscard]] bool read(PageId page_id, std::byte* to) override;
  [[nodiscard]] bool claim(Extent extent, PageId parent) override;
  void visit(const btree::Node& node) override;
  void visit_large(Extent extent) override;
  void fault(PageId page_id, const btree::Node& node, const std::string& what) override;

  [[nodiscard]] bool load(Extent extent, Region region);
  [[nodiscard]] bool begins_larger_extent(PageId page_id);
  [[nodiscard]] bool is_other_root(PageId page_id, const std::byte* page);
  [[nodiscard]] bool outside(Extent extent) const noexcept;
  void damage(Region region, PageId page_id, std::string what);
  void stopped() noexcept { _report.counts.complete = false; }

  const PageFile& _file;
  const std::uint64_t _next_page;
  Report& _report;
  const std::function<void()>& _tick;
  const AlignedBuffer _buffer;
  std::vector<bool> _free;
  std::vector<bool> _reached;
  unsigned _root = 0;
  bool _at_root = false;
  PageId _broken = kNoPage;  // its checksum was wrong: that is said already
};

}  // namespace vmcache::check

// SPDX-License-Identifier: MIT
#include "page_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "pool/page_checksum.hpp"

namespace vmcache::check {
namespace {

Region region_of(const btree::NodeReader& node) noexcept {
  if (!node.is_node()) return Region::kNode;
  return node.is_leaf() ? Region::kLeaf : Region::kInner;
}

}  // namespace

PageCheck::PageCheck(const PageFile& file, std::uint64_t next_page, Report& report,
                     const std::function<void()>& tick)
    : _file(file),
      _next_page(next_page),
      _report(report),
      _tick(tick),
      _buffer(kPageSize << kMaxOrder),
      _free(next_page, false),
      _reached(next_page, false) {}

void PageCheck::damage(Region region, PageId page_id, std::string what) {
  _report.add({.region = region,
               .file = _file.file_of(page_id * kPageSize),
               .place = fmt::format("page {}", page_id),
               .what = std::move(what)});
}

bool PageCheck::outside(Extent extent) const noexcept {
  return extent.page_id == kNoPage || extent.order > kMaxOrder || extent.page_id >= _next_page ||
         extent.pages() > _next_page - extent.page_id;
}

void PageCheck::add_free(Extent extent, Region said_by) {
  if (outside(extent) || extent.page_id % extent.pages() != 0) {
    return damage(
        said_by, extent.page_id,
        fmt::format("a free extent of {} pages begins here: out of range (1 to {}) or not aligned",
                    extent.pages(), _next_page - 1));
  }
  for (PageId page_id = extent.page_id; page_id < extent.page_id + extent.pages(); ++page_id) {
    if (_free[page_id]) damage(said_by, page_id, "is in two free extents");
    _free[page_id] = true;
  }
}

void PageCheck::walk(unsigned index, PageId root) {
  _root = index;
  _at_root = true;
  btree::TreeWalk{*this, _file.checksums ? sizeof(PageHeader) : 0}.run(root);
}

void PageCheck::finish() {
  const auto count = [](const std::vector<bool>& set) {
    return static_cast<std::uint64_t>(std::count(set.begin(), set.end(), true));
  };
  _report.counts.pages = _next_page;
  _report.counts.free = count(_free);
  std::uint64_t unreached = 0;
  for (PageId page_id = 1; page_id < _next_page; ++page_id)
    unreached += !_free[page_id] && !_reached[page_id];
  _report.counts.unreached = unreached;
}

bool PageCheck::claim(Extent extent, PageId parent) {
  if (outside(extent) || extent.page_id % extent.pages() != 0) {
    stopped();
    const std::string named = parent == kNoPage ? fmt::format("root {} names", _root) : "names";
    damage(parent == kNoPage ? Region::kHeader : Region::kPageIds, parent,
           fmt::format("{} page {} as {} of its tree: out of range (1 to {}) or not aligned", named,
                       extent.page_id,
                       extent.order == 0 ? "one" : fmt::format("the first of {}", extent.pages()),
                       _next_page - 1));
    return false;
  }
  bool first = true;
  for (PageId page_id = extent.page_id; page_id < extent.page_id + extent.pages(); ++page_id) {
    if (_free[page_id]) {
      damage(Region::kPageIds, page_id,
             fmt::format("is free, and part of tree {}, below page {}", _root, parent));
    }
    if (_reached[page_id]) {
      damage(Region::kPageIds, page_id,
             fmt::format("is part of a tree twice; here of tree {}, below page {}", _root, parent));
      first = false;
    }
    _reached[page_id] = true;
  }
  return first;
}

//! True if a root is the first page of a larger extent, whose checksum covers it. Leaves the
//! extent's first bytes in the buffer.
bool PageCheck::begins_larger_extent(PageId page_id) {
  for (unsigned order = 1; order <= kMaxOrder; ++order) {
    const Extent extent{page_id, order};
    if (outside(extent) || page_id % extent.pages() != 0) return false;
    const std::span<std::byte> bytes = _buffer.bytes().first(extent.bytes());
    if (_file.storage.read(page_id * kPageSize, bytes) != 0) return false;
    if (verify_checksum(extent, bytes.data()).ok()) return true;
  }
  return false;
}

//! Reads the extent into the buffer. False if that fails. A wrong checksum is reported, but the
//! page is checked all the same.
bool PageCheck::load(Extent extent, Region region) {
  _tick();
  const std::span<std::byte> bytes = _buffer.bytes().first(extent.bytes());
  if (const int error = _file.storage.read(extent.page_id * kPageSize, bytes); error != 0) {
    stopped();
    damage(region, extent.page_id,
           fmt::format("cannot be read: {} {}", Status{Errc::kIo, error, kNoPage}.to_string(),
                       _file.storage.last_failure()));
    return false;
  }
  const bool checked = region == Region::kLargeValue ? _file.large_checksums : _file.checksums;
  if (!checked) return true;
  if (const Status status = verify_checksum(extent, bytes.data()); !status.ok()) {
    if (_at_root && _file.foreign && begins_larger_extent(extent.page_id)) return true;
    if (region == Region::kNode) region = region_of(btree::NodeReader{bytes.data()});
    damage(region, extent.page_id, status.to_string());
    _broken = extent.page_id;
  }
  return true;
}

//! Whether a root leads to something that is no B+tree but a structure of the embedder's own. A
//! damaged node is none: its checksum is wrong, or, without checksums, its magic differs in a few
//! bits from what it should be.
bool PageCheck::is_other_root(PageId page_id, const std::byte* page) {
  constexpr int kFewBits = 3;
  if (!_file.foreign) return false;
  std::remove_cv_t<decltype(btree::kNodeMagic)> magic{};
  std::memcpy(&magic, page + btree::kHeaderAt + offsetof(btree::NodeHeader, magic), sizeof magic);
  const int bits = std::popcount(static_cast<std::uint64_t>(magic ^ btree::kNodeMagic));
  return _broken != page_id && bits > kFewBits;
}

bool PageCheck::read(PageId page_id, std::byte* to) {
  if (!load({page_id, 0}, Region::kNode)) return false;
  std::memcpy(to, _buffer.bytes().data(), kPageSize);
  if (_at_root && is_other_root(page_id, to)) {
    _report.add(
        {.damage = false,
         .region = Region::kNode,
         .file = _file.file_of(page_id * kPageSize),
         .place = fmt::format("page {}", page_id),
         .what = fmt::format("root {} is not a B+tree: only this page of it was checked", _root)});
    return false;
  }
  _at_root = false;
  return true;
}

void PageCheck::visit(const btree::Node& node) {
  Report::Counts& counts = _report.counts;
  ++(node.level() == 0 ? counts.leaves : counts.inner);
  if (node.level() == 0) counts.entries += node.count();
}

void PageCheck::visit_large(Extent extent) {
  _report.counts.large += extent.pages();
  (void)load(extent, Region::kLargeValue);
}

void PageCheck::fault(PageId page_id, const btree::Node& node, const std::string& what) {
  stopped();
  if (_broken == page_id) return;
  damage(region_of(node.read()), page_id, fmt::format("{} (tree {})", what, _root));
}

}  // namespace vmcache::check

// SPDX-License-Identifier: MIT
#include "recovery/redo.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#include "pool/header.hpp"
#include "recovery/image_writer.hpp"

namespace vmcache {

void Redo::check(PageId page_id) const {
  if (page_id == kNoPage || page_id >= _capacity_pages) {
    throw Error(Status{Errc::kCorrupt, 0, page_id},
                "log: a record names a page outside the database's capacity");
  }
}

void Redo::visit(const WriteAheadLog::Record& record) {
  BodyReader body(record.body);
  switch (static_cast<RecordType>(record.type)) {
    case RecordType::kSnapshot:
      // A later one is of a checkpoint that did not come to its end, and says what we know already.
      if (!_started) return visit_snapshot(body);
      break;
    case RecordType::kSnapshotMore:
      if (_free_to_come > 0) return visit_free_extents(body);
      break;
    case RecordType::kPages:
      return visit_pages(body, record.end);
    case RecordType::kCommit:
      break;
    default:
      throw Error(Errc::kCorrupt, "log: a record of unknown type " + std::to_string(record.type));
  }
}

void Redo::visit_snapshot(BodyReader body) {
  const auto header = body.take_as<SnapshotHeader>();
  if (header.next_page == 0 || header.next_page > _capacity_pages || header.roots > Header::kRoots) {
    throw Error(Errc::kInvalidOption,
                "capacity_bytes is less than the database had when its log was written");
  }
  _started = true;
  _used.assign(header.next_page, true);
  for (std::uint64_t i = 0; i < header.roots; ++i) _roots.push_back(body.take_as<PageId>());
  _free_to_come = header.free_extents;
  visit_free_extents(body);
}

void Redo::visit_free_extents(BodyReader& body) {
  for (; _free_to_come > 0 && !body.at_end(); --_free_to_come) {
    const auto packed = body.take_as<std::uint64_t>();
    set_used({packed >> 4, static_cast<unsigned>(packed & 0xf)}, false);
  }
}

void Redo::visit_pages(BodyReader body, Lsn end) {
  if (!_started) throw Error(Errc::kCorrupt, "log: does not begin with a snapshot");
  const auto header = body.take_as<PagesHeader>();
  std::vector<PageEntry> entries;
  for (std::uint32_t i = 0; i < header.pages; ++i) entries.push_back(body.take_as<PageEntry>());
  for (const PageEntry& entry : entries) {
    const PageChange change = entry.change();
    check(entry.page_id);
    switch (change.kind) {
      case PageChange::Kind::kChanged:
        break;
      case PageChange::Kind::kAllocated:
      case PageChange::Kind::kValueAllocated:
        set_used({entry.page_id, entry.order}, true);
        break;
      case PageChange::Kind::kFreed:
      case PageChange::Kind::kValueFreed:
        set_used({entry.page_id, entry.order}, false);
        _images.erase(entry.page_id);
        break;
      default:
        throw Error(Errc::kCorrupt, "log: a change of unknown kind " + std::to_string(entry.kind));
    }
    if (!change.has_image()) continue;
    Image& image = _images[entry.page_id];
    if (!image.bytes) image.bytes = std::make_unique_for_overwrite<std::byte[]>(kPageSize);
    std::memcpy(image.bytes.get(), body.take(kPageSize).data(), kPageSize);
    image.lsn = end;
  }
  if (header.root == 0) return;
  if (header.root > Header::kRoots || entries.empty())
    throw Error(Errc::kCorrupt, "log: a root out of range");
  if (_roots.size() < header.root) _roots.resize(header.root, kNoPage);
  _roots[header.root - 1] = entries.front().page_id;
}

void Redo::set_used(Extent extent, bool used) {
  if (extent.order > kMaxOrder) throw Error(Errc::kCorrupt, "log: an extent of unknown order");
  for (PageId page_id = extent.page_id; page_id < extent.page_id + extent.pages(); ++page_id) {
    check(page_id);
    if (page_id >= _used.size()) _used.resize(page_id + 1, false);
    _used[page_id] = used;
  }
}

std::uint64_t Redo::write_pages(Storage& storage) {
  const std::uint64_t bytes = std::max<std::uint64_t>(_used.size(), 1) * kPageSize;
  // Also where it is long enough: devices of a stripe that have lost their labels get them with it, before they get pages.
  if (const int error = storage.resize(std::max(bytes, storage.size_bytes())); error != 0)
    throw Error(Status{Errc::kIo, error, kNoPage}, "recovering " + storage.description());
  std::vector<PageId> order;
  for (const auto& [page_id, image] : _images) order.push_back(page_id);
  std::ranges::sort(order);
  if (!order.empty()) {
    ImageWriter writer(storage);
    for (const PageId page_id : order) {
      const Image& image = _images[page_id];
      writer.add(page_id, std::span<const std::byte, kPageSize>(image.bytes.get(), kPageSize), image.lsn);
    }
    writer.finish();
  }
  _images.clear();
  return order.size();
}

RecoveredState Redo::state() const {
  if (!_started || _free_to_come > 0) throw Error(Errc::kCorrupt, "log: its snapshot is not whole");
  RecoveredState state;
  state.next_page = _used.size();
  state.roots = _roots;
  for (PageId page_id = 1; page_id < _used.size(); ++page_id) {
    if (!_used[page_id]) state.free.push_back({page_id, 0});
  }
  return state;
}

}  // namespace vmcache

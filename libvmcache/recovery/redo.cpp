// SPDX-License-Identifier: MIT
#include "recovery/redo.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "pool/free_list.hpp"
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
      return visit_snapshot(body, !_started);
    case RecordType::kPages:
      return visit_pages(body, record.end);
    case RecordType::kCommit:
      return visit_commit(body);
    default:
      throw Error(Errc::kCorrupt, "log: a record of unknown type " + std::to_string(record.type));
  }
}

//! One that is not the first is of a checkpoint that did not come to its end, and says little that
//! we do not know already.
void Redo::visit_snapshot(BodyReader body, bool first) {
  const auto header = body.take_as<SnapshotHeader>();
  _snapshots.all.push_back({header.generation, header.nonce});
  if (!first) return;
  _snapshots.first_next_page = header.next_page;
  if (header.next_page == 0 || header.next_page > _capacity_pages ||
      header.roots > Header::kRoots) {
    throw Error(Errc::kInvalidOption,
                "capacity_bytes is less than the database had when its log was written");
  }
  _started = true;
  _snapshot = header;
  _used.assign(header.next_page, true);
  _named.assign(header.next_page, false);
  for (std::uint64_t i = 0; i < header.roots; ++i) _roots.push_back(body.take_as<PageId>());
  for (const std::uint64_t packed : header.extents) {
    if (packed != 0) set_free_at_snapshot({packed >> 4, static_cast<unsigned>(packed & 0xf)});
  }
}

void Redo::require_snapshot() const {
  if (!_started) throw Error(Errc::kCorrupt, "log: does not begin with a snapshot");
}

void Redo::read_free_list(Storage& storage) {
  require_snapshot();
  std::uint64_t extents = 0;
  _list_pages =
      vmcache::read_free_list(storage, _snapshot.list_begin, _snapshot.next_page,
                              {_snapshot.generation, _snapshot.nonce}, [&](Extent extent) {
                                set_free_at_snapshot(extent);
                                ++extents;
                              });
  if (extents != _snapshot.listed) {
    throw Error(Status{Errc::kCorrupt, 0, _snapshot.list_begin},
                fmt::format("the list of free pages: has {} extents, and the log says {}", extents,
                            _snapshot.listed));
  }
  for (const PageId page_id : _list_pages) {
    // Its pages were held for as long as the log begins with it (L1): the log has begun later.
    if (_used[page_id]) {
      throw Error(Status{Errc::kCorrupt, 0, page_id},
                  "the list of free pages: the page was given to something else since, so a later "
                  "checkpoint was "
                  "finished, of which the log's master does not say: the master is damaged");
    }
  }
}

//! What later records say of its pages counts more.
void Redo::set_free_at_snapshot(Extent extent) {
  if (extent.order > kMaxOrder || extent.page_id == kNoPage ||
      extent.page_id + extent.pages() > _snapshot.next_page)
    throw Error(Status{Errc::kCorrupt, 0, extent.page_id}, "log: a free extent is out of range");
  for (PageId page_id = extent.page_id; page_id < extent.page_id + extent.pages(); ++page_id) {
    if (!_named[page_id]) _used[page_id] = false;
  }
}

void Redo::visit_commit(BodyReader body) {
  ++_commits;
  for (; !body.at_end(); ++_changes) {
    const auto header = body.take_as<ChangeHeader>();
    (void)body.take(header.key_bytes);
    (void)body.take(header.value_bytes);
  }
}

void Redo::visit_pages(BodyReader body, Lsn end) {
  require_snapshot();
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
    (void)body.take(kPageSize);
    _images[entry.page_id] = end;
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
    if (page_id >= _used.size()) {
      _used.resize(page_id + 1, false);
      _named.resize(page_id + 1, true);
    }
    _used[page_id] = used;
    _named[page_id] = true;
  }
}

std::uint64_t Redo::write_pages(Storage& storage, Scan scan) {
  const std::uint64_t bytes = std::max<std::uint64_t>(_used.size(), 1) * kPageSize;
  // Also where it is long enough: devices of a stripe that have lost their labels get them with it,
  // before they get pages.
  if (const int error = storage.resize(std::max(bytes, storage.size_bytes())); error != 0)
    throw Error(Status{Errc::kIo, error, kNoPage}, "recovering " + storage.description());
  const std::uint64_t pages = _images.size();
  if (pages > 0) {
    ImageBatch batch(storage);
    scan([&](const WriteAheadLog::Record& record) {
      if (static_cast<RecordType>(record.type) == RecordType::kPages) write_images(record, batch);
    });
    batch.finish();
  }
  _images.clear();
  return pages;
}

//! Those of a record that are the last ones of their pages.
void Redo::write_images(const WriteAheadLog::Record& record, ImageBatch& batch) const {
  BodyReader body(record.body);
  const auto header = body.take_as<PagesHeader>();
  BodyReader entries(body.take(header.pages * sizeof(PageEntry)));
  for (std::uint32_t i = 0; i < header.pages; ++i) {
    const PageChange change = entries.take_as<PageEntry>().change();
    if (!change.has_image()) continue;
    const Bytes image = body.take(kPageSize);
    const auto last = _images.find(change.page_id);
    if (last != _images.end() && last->second == record.end)
      batch.add(change.page_id, image, record.end);
  }
}

RecoveredState Redo::state() const {
  require_snapshot();
  RecoveredState state;
  state.next_page = _used.size();
  state.roots = _roots;
  state.list_pages = _list_pages;
  std::vector<PageId> list = _list_pages;
  std::ranges::sort(list);
  for (PageId page_id = 1; page_id < _used.size(); ++page_id) {
    if (!_used[page_id] && !std::ranges::binary_search(list, page_id))
      state.free.push_back({page_id, 0});
  }
  return state;
}

}  // namespace vmcache

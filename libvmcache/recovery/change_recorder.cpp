// SPDX-License-Identifier: MIT
#include "recovery/change_recorder.hpp"

#include <algorithm>
#include <array>
#include <exception>

#include "pool/page_checksum.hpp"
#include "recovery/log_failure.hpp"
#include "recovery/log_format.hpp"
#include "vmcache/detail/btree/large_value.hpp"

namespace vmcache {
namespace {

//! The last commit that this thread has logged, and in which log. With it page_changed() need not
//! read the log's end, which all committers move. A task may change pages after its thread has
//! logged another task's commit. It then uses a later position, which does no harm.
struct Logged {
  const WriteAheadLog* log = nullptr;
  Lsn end = 0;
};
thread_local Logged logged;

}  // namespace

void ChangeRecorder::begin_recovery(BufferPool& pool) noexcept {
  _pool = &pool;
  // Pages that were changed since the begin have their image behind it (R3), so making the changes
  // again needs no new images.
  begin_images(_log.begin());
}

Lsn ChangeRecorder::append_commit(Bytes body) {
  const Lsn end = _log.append(number_of(RecordType::kCommit), {&body, 1});
  logged = {&_log, end};
  return end;
}

void ChangeRecorder::append_root(PageId page_id, unsigned root) {
  const PageChange change{page_id, PageChange::Kind::kAllocated};
  append_pages({&change, 1}, root);
}

//! Only recovery logs what a page was before its change (R9), unless the log has that already.
void ChangeRecorder::page_will_change(PageId page_id) noexcept {
  if (!_recovering ||
      lsn_of(_pool->address(page_id)) > _image_after.load(std::memory_order_relaxed))
    return;
  const PageChange change{page_id, PageChange::Kind::kChanged};
  append_or_fail({&change, 1});
}

//! The caller is inside the gate, and _image_after changes only while the gate is closed. So a
//! relaxed load gives its current value.
void ChangeRecorder::page_changed(PageId page_id) noexcept {
  std::byte* page = _pool->address(page_id);
  if (_recovering) return;  // the page keeps the LSN of its image (R9)
  if (lsn_of(page) > _image_after.load(std::memory_order_relaxed)) {
    const Lsn commit = logged.log == &_log ? logged.end : _log.end();
    // At least the LSN of every commit that has changed the page (R2).
    set_lsn(page, std::max(lsn_of(page), commit));
    return;
  }
  const PageChange change{page_id, PageChange::Kind::kChanged};
  append_or_fail({&change, 1});
}

void ChangeRecorder::structure_changed(std::span<const PageChange> pages) noexcept {
  if (!_recovering) return append_or_fail(pages);
  // The log has what the pages were before, or they were free (R9). A page that was made anew has
  // lost its LSN with its other bytes.
  for (const PageChange& change : pages) {
    if (change.has_image()) set_lsn(_pool->address(change.page_id), _log.end());
  }
}

//! The extent must not be written before the record is durable that says that its last owner has
//! given it back (R4).
void ChangeRecorder::value_written(PageId page_id) noexcept {
  set_lsn(_pool->address(page_id), _log.end());
}

void ChangeRecorder::append_or_fail(std::span<const PageChange> pages) noexcept {
  try {
    append_pages(pages, 0);
  } catch (const std::exception& error) {
    // The pages are already changed, or will be, and must not be written (R1). No page is written
    // once the log has failed.
    _log.fail(errno_of(error));
  }
}

void ChangeRecorder::append_pages(std::span<const PageChange> pages, unsigned root) {
  constexpr std::size_t kMaxImages = 3;
  constexpr std::size_t kMax = kMaxImages + 2 * btree::kMaxExtents;
  const PagesHeader header{static_cast<std::uint32_t>(pages.size()), root};
  std::array<PageEntry, kMax> entries;
  std::array<Bytes, kMaxImages + 2> parts;
  std::size_t used = 2;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    entries[i] = {pages[i].page_id, static_cast<std::uint32_t>(pages[i].kind), pages[i].order};
    if (pages[i].has_image()) parts[used++] = {_pool->address(pages[i].page_id), kPageSize};
  }
  parts[0] = bytes_of(header);
  parts[1] = bytes_of_all(std::span<const PageEntry>(entries.data(), pages.size()));
  const Lsn end = _log.append(number_of(RecordType::kPages), {parts.data(), used});
  for (const PageChange& change : pages) {
    // An extent with a value is not latched. It got its LSN in value_written().
    if (change.has_image() || change.kind == PageChange::Kind::kFreed)
      set_lsn(_pool->address(change.page_id), end);
  }
}

}  // namespace vmcache

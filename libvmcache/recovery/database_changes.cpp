// SPDX-License-Identifier: MIT
//
// Changes on their way into log and trees.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <new>
#include <utility>

#include "pool/page_seal.hpp"
#include "recovery/database_impl.hpp"
#include "vmcache/btree/large_value.hpp"

namespace vmcache {
namespace {

//! What one change may append at worst, but for its bytes: its leaf's image and a split's three, with their headers. Taller splits are
//! paid for by the many inserts before them.
constexpr std::uint64_t kLogBytesPerChange = 5 * kPageSize;

//! What the log is failed with.
int errno_of(const std::exception& error) noexcept {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return ENOMEM;
  const auto* own = dynamic_cast<const Error*>(&error);
  return own != nullptr && own->os_error() != 0 ? own->os_error() : EIO;
}

//! The last commit that this thread has logged, and where: lets page_changed() do without the log's end, which all
//! committers move. A task that changes pages after its thread has logged another task's commit meets a later position: no harm.
struct Logged {
  const WriteAheadLog* log = nullptr;
  Lsn end = 0;
};
thread_local Logged logged;

}  // namespace

void Database::Impl::check_room(std::uint64_t bytes) const {
  if (bytes <= _room.most_held()) return;
  throw Error(
      Errc::kTooLarge,
      fmt::format(
          "a transaction that may need {} bytes of log; with a log of {} bytes at most {} are allowed", bytes,
          log.capacity_bytes(), _room.most_held()));
}

LogRoom::Held Database::Impl::take_room(std::uint64_t bytes) {
  check_room(bytes);
  for (;;) {
    if (LogRoom::Held room = _room.try_take(bytes)) return room;
    const Pace::Hurry hurry(_pace);
    const std::lock_guard lock(_checkpoint_mutex);
    // By now somebody else may have made one.
    if (LogRoom::Held room = _room.try_take(bytes)) return room;
    make_checkpoint();
  }
}

std::uint64_t Database::Impl::most_logged(const WriteSet& changes) noexcept {
  return changes.body().size() + changes.changes() * kLogBytesPerChange;
}

Lsn Database::Impl::log_commit(const WriteSet& changes) {
  const Bytes body = changes.body();
  const Lsn end = log.append(number_of(RecordType::kCommit), {&body, 1});  // R2: before the trees
  logged = {&log, end};
  return end;
}

void Database::Impl::fail_half_made(const std::exception& error) noexcept {
  log.fail(errno_of(error));
}

Lsn Database::Impl::apply(const WriteSet& changes) {
  Lsn end = 0;
  {
    log.about_to_append();
    const LogRoom::Held room = take_room(most_logged(changes));
    const Gate::Inside inside(_gate);
    end = log_commit(changes);
    try {
      for (std::size_t n = 0; n < changes.changes(); ++n) {
        const WriteSet::Change change = changes.change(n);
        if (change.erased) {
          tree_of(change).erase(change.key);
        } else {
          tree_of(change).upsert(change.key, change.value);
        }
      }
    } catch (const std::exception& error) {
      fail_half_made(error);
      throw;
    }
  }
  checkpoint_if_due(end);
  return end;
}

//! After something was appended up to `end`.
void Database::Impl::checkpoint_if_due(Lsn end) noexcept {
  if (end - log.begin() < log.capacity_bytes() / 2) return;
  if (_checkpointer) return _checkpointer->request();
  {
    const std::unique_lock lock(_checkpoint_mutex, std::try_to_lock);
    if (!lock.owns_lock()) return;  // somebody is at it
  }
  (void)try_checkpoint();
}

//! Recovery alone logs what a page was before (R9), if the log does not know that yet.
void Database::Impl::page_will_change(PageId page_id) noexcept {
  if (_open || lsn_of(pool->address(page_id)) > _image_after.load(std::memory_order_relaxed)) return;
  const PageChange change{page_id, PageChange::Kind::kChanged};
  append_or_fail({&change, 1});
}

//! Whoever changes pages is inside the gate, and E moves while it is closed: so E is known here without more ado.
void Database::Impl::page_changed(PageId page_id) noexcept {
  std::byte* page = pool->address(page_id);
  if (!_open) return;  // its LSN is that of its image (R9)
  if (lsn_of(page) > _image_after.load(std::memory_order_relaxed)) {
    const Lsn commit = logged.log == &log ? logged.end : log.end();
    set_lsn(page, std::max(lsn_of(page), commit));  // not less than that of any commit it holds (R2)
    return;
  }
  const PageChange change{page_id, PageChange::Kind::kChanged};
  append_or_fail({&change, 1});
}

void Database::Impl::structure_changed(std::span<const PageChange> pages) noexcept {
  if (_open) return append_or_fail(pages);
  // What was there is in the log, or was free (R9). A page that was made anew has lost its LSN with the rest.
  for (const PageChange& change : pages) {
    if (change.has_image()) set_lsn(pool->address(change.page_id), log.end());
  }
}

//! Not before the log says that whoever had the place before has given it back (R4).
void Database::Impl::value_written(PageId page_id) noexcept {
  set_lsn(pool->address(page_id), log.end());
}

void Database::Impl::append_or_fail(std::span<const PageChange> pages) noexcept {
  try {
    append_pages(pages, 0);
  } catch (const std::exception& error) {
    // The pages are changed already, or will be, and must not be written (R1): a failed log sees to that.
    log.fail(errno_of(error));
  }
}

void Database::Impl::append_pages(std::span<const PageChange> pages, unsigned root) {
  constexpr std::size_t kMostImages = 3;
  constexpr std::size_t kMost = kMostImages + 2 * btree::kMaxExtents;
  const PagesHeader header{static_cast<std::uint32_t>(pages.size()), root};
  std::array<PageEntry, kMost> entries;
  std::array<Bytes, kMostImages + 2> parts;
  std::size_t used = 2;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    entries[i] = {pages[i].page_id, static_cast<std::uint32_t>(pages[i].kind), pages[i].order};
    if (pages[i].has_image()) parts[used++] = {pool->address(pages[i].page_id), kPageSize};
  }
  parts[0] = bytes_of(header);
  parts[1] = bytes_of_all(std::span<const PageEntry>(entries.data(), pages.size()));
  const Lsn end = log.append(number_of(RecordType::kPages), {parts.data(), used});
  for (const PageChange& change : pages) {
    // Extents with a value are not latched; theirs they have (value_written()).
    if (change.has_image() || change.kind == PageChange::Kind::kFreed)
      set_lsn(pool->address(change.page_id), end);
  }
}

}  // namespace vmcache

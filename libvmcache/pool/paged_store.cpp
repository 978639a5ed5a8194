// SPDX-License-Identifier: MIT
#include "pool/paged_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "random_id.hpp"

namespace vmcache::detail {
namespace {

std::uint32_t format_of(const PoolOptions& options) {
  return options.page_header ? HeaderFront::kPageHeaders : 0;
}

Header new_header(const PoolOptions& options) {
  Header header;
  header.front.format = format_of(options);
  header.front.identity.database = random_id();
  return header;
}

//! From the log. Of page 0 only its front is looked at: the rest may be torn.
Header recovered_header(const FirstPage& page, const Storage& storage, const PoolOptions& options) {
  const RecoveredState& state = *options.recovered;
  if (state.next_page == 0 || state.next_page > options.capacity_bytes / kPageSize ||
      state.roots.size() > Header::kRoots) {
    throw Error(
        Errc::kInvalidOption,
        fmt::format("recovered: next_page = {}, {} roots; allowed are 1 to {}, and {} roots",
                    state.next_page, state.roots.size(), options.capacity_bytes / kPageSize,
                    Header::kRoots));
  }
  Header header = new_header(options);
  header.next_page = state.next_page;
  std::ranges::copy(state.roots, header.roots.begin());
  const bool logged = state.identity.database != DatabaseId{};
  if (logged && page.front && page.front->identity.database != state.identity.database) {
    throw Error(Errc::kMismatch,
                fmt::format("{}: is of database {}, the log of database {}; not touched",
                            storage.description(), to_text(page.front->identity.database),
                            to_text(state.identity.database)));
  }
  if (logged) {
    header.front.identity = state.identity;
    header.front.format |= HeaderFront::kLogged;
  } else if (page.front) {
    header.front.identity = page.front->identity;
  }
  return header;
}

//! A file that is no longer than its header: no page was ever handed out, so there is none that
//! could be torn.
bool nothing_handed_out(const Header& header, const Storage& storage) {
  return storage.can_grow() && storage.size_bytes() == kPageSize && header.next_page == 1;
}

void check_header(const Header& header, const Storage& storage, const PoolOptions& options) {
  if (header.logged() && !options.allow_unclean && !options.read_only) {
    throw Error(Errc::kMismatch,
                storage.description() +
                    ": a log belongs to this database, so only Database opens it, with that log; "
                    "allow_unclean opens it as it is, and the log does not belong to it any more");
  }
  if (header.clean == 0 && !options.allow_unclean && !nothing_handed_out(header, storage)) {
    throw Error(Errc::kUncleanShutdown,
                storage.description() +
                    ": was not closed; allow_unclean opens it as it is, which may be torn");
  }
  if (header.page_headers() != options.page_header) {
    throw Error(Errc::kInvalidOption,
                fmt::format("page_header = {}: the database was made {} page headers",
                            options.page_header, options.page_header ? "without" : "with"));
  }
  if (header.next_page > options.capacity_bytes / kPageSize) {
    throw Error(Errc::kInvalidOption,
                fmt::format("capacity_bytes = {}: the database has {} bytes already",
                            options.capacity_bytes, header.next_page * kPageSize));
  }
  if (header.next_page * kPageSize > storage.size_bytes()) {
    throw Error(
        Errc::kCorrupt,
        fmt::format("{}: has {} bytes, but the database on it {}: it was cut off, or copied "
                    "to something smaller; nothing was written",
                    storage.description(), storage.size_bytes(), header.next_page * kPageSize));
  }
}

//! What the storage holds, or a new header if it holds nothing. Writes nothing.
Header read_header(Storage& storage, const PoolOptions& options) {
  const FirstPage page = FirstPage::read(storage);
  if (options.recovered) return recovered_header(page, storage, options);
  if (page.blank || page.made_in_part) {
    if (!options.create || options.read_only)
      throw Error(Errc::kNotADatabase,
                  fmt::format("{}: is empty, and {}", storage.description(),
                              options.read_only ? "read_only = true" : "create = false"));
    Header header = new_header(options);
    header.clean = 1;
    return header;
  }
  if (!page.header) throw Error(Errc::kCorrupt, storage.description() + ": " + page.damage);
  Header header = *page.header;
  check_header(header, storage, options);
  if (header.logged() && !options.read_only) {  // its log must not take it for its own again
    header.front.format &= ~HeaderFront::kLogged;
    header.front.identity = {.database = random_id()};
  }
  return header;
}

}  // namespace

PagedStore::PagedStore(PoolCore& the_pool, const PoolOptions& given, PageId first_page,
                       std::uint64_t page_count, Storage& its_storage, StorageFlush& its_flush)
    : core(the_pool),
      options(given),
      first(first_page),
      pages(page_count),
      storage(its_storage),
      storage_flush(its_flush),
      header{.mutex = {}, .now = read_header(storage, options)},
      allocator(storage, pages, header.now.next_page) {}

void PagedStore::load_free() {
  if (options.lost_write_check) sums.emplace(pages);
  if (options.recovered) {
    std::vector<Extent> free = options.recovered->free;
    const std::vector<PageId>& list = options.recovered->list_pages;
    if (options.change_log != nullptr) {
      allocator.keep_lists(list);
    } else {
      for (const PageId page_id : list) free.push_back({page_id, 0});
    }
    allocator.adopt(std::move(free));
    const std::uint64_t bytes = header.now.next_page * kPageSize;
    if (const int error = storage.size_bytes() < bytes ? storage.resize(bytes) : 0; error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage},
                  "making " + storage.description() + " as long as it was");
    }
  }
  if (header.now.clean != 0 && header.now.free_list != kNoPage)
    allocator.load(header.now.free_list);
}

void PagedStore::begin() {
  if (options.read_only) return;
  if (storage.can_grow() && storage.size_bytes() <= kPageSize) {
    if (const int error = storage.resize(kPageSize); error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage}, "making " + storage.description());
    }
    // A header that is torn is then a page of which some sectors are zeros, and never shorter.
    storage_flush.flush();
  }
  write_header(false, kNoPage);
  // With a log, what was freed may still be wanted by a recovery that begins before the free.
  if (options.deallocate && options.change_log == nullptr && storage.deallocate({}) == 0)
    allocator.remember_freed();
}

void PagedStore::end() {
  const std::uint64_t bytes = allocator.next_page() * kPageSize;
  const PageId free_list = allocator.save();
  if (storage.can_grow()) {
    if (const int error = storage.resize(bytes); error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage}, "trimming " + storage.description());
    }
  }
  storage_flush.flush();
  write_header(true, free_list);
}

void PagedStore::write_header(bool clean, PageId free_list, const Identity* checkpoint) {
  const std::lock_guard lock(header.mutex);
  Header next = header.now;
  if (checkpoint != nullptr) next.front.identity = *checkpoint;
  next.front.log_end = options.write_ahead != nullptr ? options.write_ahead->durable_lsn() : 0;
  next.clean = clean ? 1 : 0;
  next.next_page = allocator.next_page();
  next.free_list = free_list;
  next.write(storage);
  storage_flush.flush();
  header.now = next;
}

void PagedStore::refuse_read_only(const char* doing) const {
  if (options.read_only)
    throw Error(Errc::kReadOnly,
                fmt::format("{}: {} was opened with read_only", doing, storage.description()));
}

}  // namespace vmcache::detail

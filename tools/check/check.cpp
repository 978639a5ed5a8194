// SPDX-License-Identifier: MIT
#include "check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "copy_on_write.hpp"
#include "log_check.hpp"
#include "page_check.hpp"
#include "pool/free_list.hpp"
#include "pool/header.hpp"
#include "pool/page_buffer.hpp"
#include "vmcache/database.hpp"

namespace vmcache::check {
namespace {

class Checker {
 public:
  Checker(const Sources& sources, Report& report) : _sources(sources), _report(report) {}

  void run() {
    _report.counts.complete = true;
    std::optional<Finding> bad_header;
    FirstPage first;
    const std::optional<Header> header = read_header(_sources.pages, first, bad_header);
    if (_sources.log == nullptr) {
      if (bad_header) return fail(*bad_header);
      return check_alone(*header);
    }
    Redo redo(kMaxPages);
    std::optional<LogState> log = check_log(*_sources.log, _sources.log_file, redo, _report);
    if (!log) {
      if (bad_header) return fail(*bad_header);
      if (header && header->clean != 0) return check_alone(*header);
      _report.counts.complete = false;
      return;
    }
    if (!first.blank && !first.front) return fail(*bad_header);  // whose it is cannot be said
    if (const std::string what = mismatch(first, _sources.pages.size_bytes(), log->facts);
        !what.empty()) {
      header_damage("page file and log do not belong together: " + what);
      _report.counts.complete = false;
      return;
    }
    if (!read_free_at_snapshot(redo)) return;
    log->state = redo.state();
    // After a clean close the log has nothing but its snapshot. Without page 0 we have only its
    // word for that.
    const bool at_rest =
        log->changes == 0 && (header ? header->clean != 0 : bad_header.has_value());
    if (bad_header) {
      bad_header->what += "; the next open with its log writes it anew";
      bad_header->damage = at_rest;  // else a crash may have torn it
      _report.add(*bad_header);
    }
    if (header && header->clean != 0 && log->changes > 0) {
      note(Region::kHeader,
           "page 0 says that the database was closed, but its log goes on: an open or close failed "
           "half-way, "
           "a write of "
           "page 0 was lost, or they do not belong together");
    }
    if (at_rest) return check_at_rest(header, *log);
    _report.counts.pending = true;
    _report.counts.transactions = log->transactions;
    note(Region::kRecovery,
         "the database was not closed: checked is what recovery, tried in memory, makes of it");
    if (!recover(*log)) check_images(*log);
  }

 private:
  //! Without that list no open succeeds, and nothing can be said of what is free.
  [[nodiscard]] bool read_free_at_snapshot(Redo& redo) {
    try {
      redo.read_free_list(_sources.pages);
      return true;
    } catch (const Error& error) {
      fail_free_list(error);
      return false;
    }
  }
  void fail_free_list(const Error& error) {
    fail({.region = Region::kFreeList,
          .file = _sources.file_of(error.page_id() * kPageSize),
          .place = fmt::format("page {}", error.page_id()),
          .what = error.what()});
  }
  void fail(const Finding& finding) {
    _report.add(finding);
    _report.counts.complete = false;
  }
  void header_damage(std::string what) {
    _report.add({.region = Region::kHeader,
                 .file = _sources.file_of(0),
                 .place = "page 0",
                 .what = std::move(what)});
  }
  void note(Region region, std::string what) {
    _report.add({.damage = false,
                 .region = region,
                 .file = _sources.file_of(0),
                 .place = {},
                 .what = std::move(what)});
  }

  //! A header of some version, whole or damaged.
  [[nodiscard]] static bool has_header(Storage& storage) {
    if (storage.size_bytes() < kPageSize) return false;
    PageBuffer page;
    if (storage.read(0, page.bytes) != 0) return true;  // cannot be said
    const auto magic = std::as_bytes(std::span(HeaderFront::kMagic));
    const auto here = [&](std::size_t at) {
      return std::ranges::equal(std::span(page.bytes).subspan(at, magic.size()), magic);
    };
    return here(0) || here(HeaderFront::kCopyAt);
  }
  //! None if there is none yet, or it cannot be believed: `bad` then says why. Throws Error
  //! kNotADatabase.
  [[nodiscard]] std::optional<Header> read_header(Storage& storage, FirstPage& first,
                                                  std::optional<Finding>& bad) const {
    const auto refuse = [&](const std::string& what) {
      bad = Finding{
          .region = Region::kHeader, .file = _sources.file_of(0), .place = "page 0", .what = what};
      return std::nullopt;
    };
    try {
      first = FirstPage::read(storage);
      if (first.blank && _sources.log != nullptr) return std::nullopt;
      if (first.blank) throw Error(Errc::kNotADatabase, _sources.file_of(0) + ": is empty");
      if (!first.header) return refuse(storage.description() + ": " + first.damage);
      const Header& header = *first.header;
      if (header.clean > 1 || header.next_page == 0 || header.next_page > kMaxPages ||
          header.free_list >= header.next_page) {
        return refuse(fmt::format("clean = {}, next_page = {}, free_list = {}: out of range",
                                  header.clean, header.next_page, header.free_list));
      }
      return header;
    } catch (const Error& error) {
      if (error.code() == Errc::kNotADatabase) {
        if (first.blank || has_header(storage)) throw;
        throw Error(Errc::kNotADatabase,
                    _sources.file_of(0) + ": no vmcache header; nothing is known of a raw file");
      }
      return refuse(error.what());
    }
  }
  [[nodiscard]] PageFile page_file(Storage& storage, bool checksums) const {
    return {.storage = storage,
            .file_of = _sources.file_of,
            .checksums = checksums,
            .large_checksums = checksums,
            .foreign = _sources.log == nullptr};
  }

  [[nodiscard]] bool long_enough(Storage& storage, std::uint64_t next_page) {
    if (storage.size_bytes() / kPageSize >= next_page) return true;
    header_damage(fmt::format("the database has {} pages, its storage {}: it was cut off",
                              next_page, storage.size_bytes() / kPageSize));
    _report.counts.complete = false;
    return false;
  }

  //! By what page 0 says.
  void check_alone(const Header& header) {
    _report.counts.checksums = header.page_headers();
    if (!long_enough(_sources.pages, header.next_page)) return;
    const PageFile file = page_file(_sources.pages, _report.counts.checksums);
    PageCheck pages(file, header.next_page, _report, _sources.tick);
    if (header.clean == 0) {
      _report.counts.complete = false;
      note(Region::kHeader,
           "the database was not closed: which pages are free is not known; if it has a log, name "
           "it with "
           "--log, for "
           "that may mend what is found here");
    } else {
      read_free(_sources.pages, header, pages);
    }
    walk_all(pages, header.roots);
  }

  //! By what the log says, which page 0 must agree with.
  void check_at_rest(const std::optional<Header>& header, const LogState& log) {
    _report.counts.checksums = true;
    if (!long_enough(_sources.pages, log.state.next_page)) return;
    const PageFile file = page_file(_sources.pages, true);
    PageCheck pages(file, log.state.next_page, _report, _sources.tick);
    add_free(log.state, pages);
    std::array<PageId, Header::kRoots> roots{};
    std::ranges::copy(log.state.roots, roots.begin());
    if (header) compare(*header, log.state, roots, file, pages);
    walk_all(pages, roots);
  }

  void compare(const Header& header, const RecoveredState& state,
               const std::array<PageId, Header::kRoots>& roots, const PageFile& file,
               const PageCheck& pages) {
    if (!header.page_headers())
      header_damage("says that pages have no headers; with a log they have");
    if (header.next_page != state.next_page || header.roots != roots) {
      return header_damage(fmt::format(
          "disagrees with the log about roots, or the lowest page id never handed out ({}, "
          "log: {}): they do not belong together, or a write of page 0 was lost",
          header.next_page, state.next_page));
    }
    PageCheck stored(file, header.next_page, _report, _sources.tick);
    if (read_free(_sources.pages, header, stored) && !stored.same_free(pages)) {
      _report.add({.region = Region::kFreeList,
                   .file = _sources.file_of(header.free_list * kPageSize),
                   .place = fmt::format("page {}", header.free_list),
                   .what = "the list and the log's snapshot disagree about which pages are free"});
    }
  }

  static void add_free(const RecoveredState& state, PageCheck& pages) {
    for (const Extent& extent : state.free) pages.add_free(extent, Region::kSnapshot);
    for (const PageId page_id : state.list_pages) pages.add_free({page_id, 0}, Region::kSnapshot);
  }

  bool read_free(Storage& storage, const Header& header, PageCheck& pages) {
    try {
      (void)read_free_list(storage, header.free_list, header.next_page, {},
                           [&](Extent extent) { pages.add_free(extent, Region::kFreeList); });
      return true;
    } catch (const Error& error) {
      fail_free_list(error);
      return false;
    }
  }

  template <typename Roots>
  void walk_all(PageCheck& pages, const Roots& roots) {
    std::set<PageId> walked;
    unsigned index = 0;
    for (const PageId root : roots) {
      if (root != kNoPage && walked.insert(root).second) pages.walk(index, root);
      ++index;
    }
    pages.finish();
  }

  //! Recovers on a copy, closes that, and checks what is there then. False if recovery fails.
  bool recover(const LogState& log) {
    CopyOnWriteStorage pages(_sources.pages);
    CopyOnWriteStorage records(*_sources.log);
    try {
      DatabaseOptions options;
      options.pool.make_storage = [&] { return std::make_unique<BorrowedStorage>(pages); };
      options.log.make_storage = [&] { return std::make_unique<BorrowedStorage>(records); };
      constexpr std::uint64_t kRoom = std::uint64_t{64} << 20;
      options.pool.pool_bytes = kRoom;
      options.pool.capacity_bytes = log.state.next_page * kPageSize +
                                    4 * (log.used_bytes / kPageSize * kPageSize) + 2 * kRoom;
      options.pool.memory = MemoryKind::kAnonymous;
      options.pool.workers = 1;
      options.pool.io_depth = 16;
      Database(options).close();
    } catch (const Error& error) {
      _report.add(
          {.region = Region::kRecovery,
           .file = error.page_id() != kNoPage ? _sources.file_of(error.page_id() * kPageSize)
                                              : _sources.file_of(0),
           .place = error.page_id() != kNoPage ? fmt::format("page {}", error.page_id()) : "",
           .what = error.what()});
      return false;
    }
    const Header header = Header::read(pages);
    _report.counts.checksums = true;
    const PageFile file = page_file(pages, true);
    PageCheck check(file, header.next_page, _report, _sources.tick);
    read_free(pages, header, check);
    walk_all(check, header.roots);
    return true;
  }

  //! Where recovery fails: what is found in the trees as the log's images leave them, before the
  //! commits are applied.
  void check_images(const LogState& log) {
    CopyOnWriteStorage pages(_sources.pages);
    Redo redo(kMaxPages);
    Report ignored(0);
    if (!check_log(*_sources.log, _sources.log_file, redo, ignored)) return;
    redo.write_pages(pages,
                     [&](const WriteAheadLog::Visitor& visit) { scan_log(*_sources.log, visit); });
    _report.counts.checksums = true;
    _report.counts.complete = false;
    PageFile file = page_file(pages, true);
    file.large_checksums = false;  // an extent may be of a commit that is still to be applied
    PageCheck check(file, log.state.next_page, _report, _sources.tick);
    add_free(log.state, check);
    walk_all(check, log.state.roots);
  }

  const Sources& _sources;
  Report& _report;
};

}  // namespace

void check_database(const Sources& sources, Report& report) {
  Checker(sources, report).run();
}

}  // namespace vmcache::check

// SPDX-License-Identifier: MIT
#include "recovery/pair_check.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "random_id.hpp"

namespace vmcache {
namespace {

std::string other_database(const Identity& pages, const Identity& log) {
  return fmt::format("the page file is of database {}, the log of database {}",
                     to_text(pages.database), to_text(log.database));
}

bool holds_snapshot(const Snapshots& snapshots, const Identity& identity) {
  return std::ranges::any_of(snapshots.all, [&](const Snapshots::Checkpoint& checkpoint) {
    return checkpoint.generation == identity.generation && checkpoint.nonce == identity.nonce;
  });
}

std::string other_generation(const Identity& pages, const LogFacts& log) {
  const std::uint64_t in_log = log.identity.generation;
  if (pages.generation < in_log) {
    return fmt::format(
        "the page file is older than the log: it is of checkpoint {}, the log begins with "
        "checkpoint {}",
        pages.generation, in_log);
  }
  if (pages.generation == in_log) {
    if (pages.nonce == log.identity.nonce) return {};
    return fmt::format(
        "page file and log both are of checkpoint {}, but not of the same one: one of them "
        "is of a copy that went its own way",
        in_log);
  }
  // A crash between the two writes of a checkpoint (see above).
  if (pages.generation == in_log + 1 && holds_snapshot(log.snapshots, pages)) return {};
  return fmt::format(
      "the log is older than the page file, or of a copy that went its own way: it begins with "
      "checkpoint {} and does not hold checkpoint {}, which the page file is of",
      in_log, pages.generation);
}

}  // namespace

std::string mismatch_with_new_log(const FirstPage& pages, const Identity& log) {
  if (pages.blank) return {};
  const Identity& found = pages.front->identity;
  if (found.database == log.database && found.generation <= 1) return {};
  return fmt::format(
      "the page file is of database {} and has come to checkpoint {}, the log is empty or was "
      "never finished",
      to_text(found.database), found.generation);
}

std::string mismatch(const FirstPage& pages, std::uint64_t page_file_bytes, const LogFacts& log) {
  if (pages.blank) {
    return fmt::format(
        "the log is of database {} and has come to checkpoint {}, the page file is missing or "
        "empty",
        to_text(log.identity.database), log.identity.generation);
  }
  const Identity& found = pages.front->identity;
  const Snapshots::Checkpoint first =
      log.snapshots.all.empty() ? Snapshots::Checkpoint{} : log.snapshots.all[0];
  if (first.generation != log.identity.generation || first.nonce != log.identity.nonce) {
    return fmt::format(
        "the log's master is of checkpoint {}, but its first record is of checkpoint {}: the log "
        "is "
        "damaged",
        log.identity.generation, first.generation);
  }
  if (found.database != log.identity.database) return other_database(found, log.identity);
  if (std::string what = other_generation(found, log); !what.empty()) return what;
  if (pages.front->log_end > log.end) {
    return fmt::format(
        "the log is older than the page file, or damaged: it ends at position {}, and was "
        "durable up to {} when page 0 was written",
        log.end, pages.front->log_end);
  }
  const std::uint64_t min = log.snapshots.first_next_page * kPageSize;
  if (page_file_bytes < min) {
    return fmt::format("the page file has {} bytes, and had {} at checkpoint {}: it was cut off",
                       page_file_bytes, min, log.identity.generation);
  }
  return {};
}

}  // namespace vmcache

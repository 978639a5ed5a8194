// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <string>

#include "recovery/pair_check.hpp"
#include "recovery/redo.hpp"
#include "report.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache::check {

//! What a database's log says, if it can be believed.
struct LogState {
  RecoveredState state;       //!< Redo's, for which it needs the page file
  LogFacts facts;             //!< what must agree with page 0
  std::uint64_t changes = 0;  //!< records that are not of a snapshot: what recovery has to do
  std::uint64_t transactions = 0;
  std::uint64_t used_bytes = 0;
};

//! Checks masters and records, and gives the latter to `redo`. Empty if the log is damaged. Throws
//! Error: kNotADatabase (no log at all), kIo.
[[nodiscard]] std::optional<LogState> check_log(Storage& storage, const std::string& file,
                                                Redo& redo, Report& report);

//! Calls `visit` for all records of a log that check_log() has found sound. Throws Error.
void scan_log(Storage& storage, const WriteAheadLog::Visitor& visit);

//! More pages than any database has.
inline constexpr std::uint64_t kMaxPages = (std::uint64_t{1} << 46) / kPageSize;

}  // namespace vmcache::check

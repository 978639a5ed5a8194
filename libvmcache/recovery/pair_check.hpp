// SPDX-License-Identifier: MIT
//
// Whether a page file and a log belong together, and neither is older than the other. An open
// checks that before it writes anything.
//
// Both carry an Identity: the database's id, and the generation and nonce of a checkpoint.
// Checkpoint g begins at the log's position E_g. It writes in this order, and each step is durable
// before the next one begins:
//
//   1  In the log: the snapshot record at E_g, with identity g.
//   2  In the page file: all pages that were dirty, and the list of free extents that the snapshot
//      names.
//   3  In the page file: page 0, with identity g and the position up to which the log was durable.
//   4  In the log: the master, with identity g and begin E_g. What lies before E_g may be
//      overwritten from now on.
//
// What a crash may leave, and why the two belong together:
//
//   - Before 3 is durable, page 0 and master both say g-1. The log has all changes since E_(g-1).
//   - While 3 is written, page 0 says g-1 or g. If it is torn, its first sector says one and its
//     copy says the other. If it says g, then 1 and 2 are durable: the page file has all changes
//     from before E_g, and the log has those from E_(g-1) on.
//   - After 3, page 0 says g and the master says g-1. The log holds the snapshot of g (1).
//   - While 4 is written, one of the master's two slots holds g-1, and the other holds g or what it
//     held before. A sector is not torn.
//   - After 4, both say g.
//
// So after a crash the page file has the generation and the nonce of the log. Or its generation is
// greater by one, and then the log holds the snapshot record with the page file's identity. Every
// other pair is refused. A page file of an older generation lacks changes that the log may not have
// any more. A page file of a newer generation without that snapshot lies beside an older log.
//
// Within one generation the page file may be older than the log, because the log has every change
// since. The log may not be older. It must reach the durable end that page 0 names, which the
// Identity alone does not show. No page may have an LSN beyond the log's end either; that is
// checked when the page is loaded (Engine).
//
// A creation writes the log's first master (generation 0) before it touches the page file, and
// takes checkpoint 1 before the database is open. So a log of generation 0 holds no commit. If the
// page file beside it is empty, or has the same id and generation 0 or 1, a creation was cut, and
// begins again. Beside a log of a later generation, an empty page file means that the page file is
// missing.
#pragma once

#include <cstdint>
#include <string>

#include "pool/header.hpp"
#include "recovery/redo.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

//! Says why the page file and a new log (WriteAheadLog::fresh()) do not belong together. Empty if
//! they do.
[[nodiscard]] std::string mismatch_with_new_log(const FirstPage& pages, const Identity& log);

//! What is compared with the page file if the log is not new.
struct LogFacts {
  Identity identity;
  Lsn end = 0;  //!< of its last whole record
  Snapshots snapshots;
};
//! The same for a log that is not new. `page_file_bytes` is the length of the page file.
[[nodiscard]] std::string mismatch(const FirstPage& pages, std::uint64_t page_file_bytes,
                                   const LogFacts& log);

}  // namespace vmcache

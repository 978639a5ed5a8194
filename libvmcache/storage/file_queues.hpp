// SPDX-License-Identifier: MIT
//
// Queues for files that were opened into a pool whose own storage cannot serve them: a pool without
// a database, one on polled passthrough, or one on a storage of the embedder's.
#pragma once

#include <memory>
#include <optional>

#include "storage/queues.hpp"
#include "storage/ring_settings.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache {

class Logger;

//! Makes such queues: over io_uring, or pread and pwrite where the kernel refuses it. Thread-safe.
class FileQueues {
 public:
  //! Throws Error kUnsupported, kInvalidOption.
  FileQueues(const PoolOptions& options, Logger& logger);

  //! Throws Error kUnsupported.
  [[nodiscard]] std::unique_ptr<IoQueue> make(unsigned depth, bool single_issuer) const;
  [[nodiscard]] std::string description() const;

 private:
  const Targets _targets;  // none: each request says what file it is of
  std::optional<RingSettings> _ring;
};

//! Sends requests of files to `files` and all others to `database`, and waits for both.
[[nodiscard]] std::unique_ptr<IoQueue> join_queues(std::unique_ptr<IoQueue> database,
                                                   std::unique_ptr<IoQueue> files);

//! The storage of a pool that has no database: it keeps nothing, and its queues serve files.
[[nodiscard]] std::unique_ptr<Storage> make_no_database(const PoolOptions& options, Logger& logger);

}  // namespace vmcache

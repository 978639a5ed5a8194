// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/export.hpp"
#include "vmcache/options.hpp"
#include "vmcache/write_ahead.hpp"

namespace VMCACHE_EXPORT vmcache {

//! How to open a PagedFile. What is not said here is as PoolOptions says of the same name.
struct PagedFileOptions {
  //! A regular file. It takes two descriptors.
  std::filesystem::path path;
  //! Largest size while it is open: 128 KiB .. PoolOptions::files_bytes. Takes address space only,
  //! in multiples of PoolOptions::kFileRangeBytes.
  std::uint64_t capacity_bytes = PoolOptions::kFileRangeBytes;
  //! Create the database if the file is missing, empty, or one page of zeros: a creation that was
  //! cut off leaves that.
  bool create = true;
  bool direct_io = true;  //!< O_DIRECT; false leaves a second copy in the kernel's page cache
  //! Opens a database that was not closed cleanly. Page ids that were freed before are lost.
  bool allow_unclean = false;
  bool read_only = false;         //!< opens it to read it, beside others that do
  bool page_header = false;       //!< extents begin with a PageHeader; a property of the database
  bool lost_write_check = false;  //!< remembers the checksum of each page: 4 bytes a page
  //! Needs page_header. Must stay until the file is closed.
  WriteAhead* write_ahead = nullptr;
  //! Is told about changes of structures in the file. Must stay until the file is closed.
  ChangeLog* change_log = nullptr;
  //! If set, the open does not believe page 0 (it may be torn) and writes it anew from this.
  std::optional<RecoveredState> recovered{};
};

//! A database file in a pool, beside others and beside files of other formats (File): one memory,
//! one replacement, one set of Workers for all. In storage it is what a BufferPool makes of a file
//! that it is opened with (PoolOptions::path), and each opens what the other has made. It needs
//! PoolOptions::files_bytes.
//!
//! Use it like a pool of its own: it is a BufferPool whose pages are those of this file. Page ids
//! count from the file's begin and stay the same from open to open. A BTree takes it as its pool.
//! A guard or pin belongs to the object it was made from: free() of another one refuses it
//! (kInvalidPage). In a Worker's tasks name the file: `co_await worker.fix_shared(file, page_id)`.
//! Trees know theirs. Any Worker of the pool, or of another file in it, may be used.
//!
//! What concerns the memory is the pool's: resize(), open_file() and open_temporary() are Error
//! kInvalidOption here, and stats() has the pool's figures, but for the ids handed out and freed,
//! the database's size and capacity, and the flushes, which are the file's.
//!
//! close() writes back the file's pages, takes them out of memory, marks the file as closed cleanly
//! and unlocks it; the pool and other files go on. Throws Error kBusy if a page of the file stays
//! latched or pinned for `frame_wait`, or a Worker that was made for the file is alive, and kIo: it
//! then stays open, and close() may be tried again. After a failed flush of the file, which is
//! final for this file alone, it writes nothing more and succeeds, and the next open is
//! Errc::kUncleanShutdown. If its own flush fails, that is kIo, and the file is closed. The pool's
//! close() closes it, too. The object may outlive the pool: its calls then throw kClosed, and the
//! pool's memory stays until it is gone.
//!
//! Threads, process: as BufferPool.
class PagedFile final : public BufferPool {
 public:
  //! Opens or creates the database `options.path` in the memory of `pool`, which may itself be a
  //! PagedFile. Waits for I/O. Throws Error: what opening a BufferPool throws; kDatabaseFull (it is
  //! larger than capacity_bytes, or no range of files_bytes is left); kUnsupported (no regular
  //! file).
  PagedFile(BufferPool& pool, const PagedFileOptions& options);
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "vmcache/export.hpp"
#include "vmcache/options.hpp"
#include "vmcache/page_format.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

namespace detail {
class RawFile;
struct PoolAccess;
}  // namespace detail

struct FileOptions {
  //! A regular file. It takes two descriptors. kInUse is told after two seconds, because a process
  //! that has been killed holds its lock a little longer.
  std::filesystem::path path;
  //! Largest size the file can have while it is open: 4 KiB .. PoolOptions::files_bytes. Takes
  //! address space only, in multiples of PoolOptions::kFileRangeBytes. (Pages that were used take
  //! some 20 bytes each for what the pool knows of them, also after they have left memory.)
  std::uint64_t capacity_bytes = PoolOptions::kFileRangeBytes;
  bool create = true;     //!< create it, empty, if it is missing
  bool direct_io = true;  //!< O_DIRECT; false leaves a second copy in the kernel's page cache
  //! Opens a file that is there, to read it. Several may have it open so, here and in other
  //! processes, and nobody who would write. resize(), sync(), write_back(), flush(), dirty_pages()
  //! and remove() are Errc::kReadOnly. Pages that were changed all the same are never written: see
  //! PoolOptions::read_only.
  bool read_only = false;
  //! Is asked before each write and after each read, if set. The file then has whole pages only.
  //! Must stay until close() or remove() has succeeded, or ~File has found no page latched or
  //! pinned; else until the pool is gone.
  const PageFormat* format = nullptr;
  //! Needs `format`. No page is written before this log is durable up to the page's LSN
  //! (PageFormat::lsn_of()), and a page that is read and has a greater one is Errc::kBeyondLog. If
  //! the log fails, dirty pages stay in memory until the file is closed. Must stay as long as
  //! `format`.
  WriteAhead* write_ahead = nullptr;
};

//! Of a temporary file (BufferPool::open_temporary()).
struct TemporaryOptions {
  //! Where its blocks are if memory does not suffice; empty: that of temporary files (TMPDIR). On a
  //! tmpfs they are memory, too.
  std::filesystem::path folder;
  //! Largest size: 4 KiB .. PoolOptions::files_bytes.
  std::uint64_t capacity_bytes = PoolOptions::kFileRangeBytes;
  bool direct_io = true;  //!< as FileOptions::direct_io
};

//! A file of the embedder's own format in a pool (BufferPool::open_file()). No byte of ours is in
//! it: byte n of the file is byte n of its range of pages, and page n of the file is page
//! page_id(n) of the pool. Fix those as any page. They have no PageHeader; what the embedder has
//! instead is FileOptions::format, and its log FileOptions::write_ahead.
//!
//! Extents. Pages are single, order 0, unless the embedder's own allocator says otherwise: it may
//! fix an extent of 2^order pages from any multiple of 2^order on that lies before the file's end
//! as a whole. The pool believes the first fix, and remembers the order, in memory or not, until
//! the pages are dropped or discarded, or the file ends before them. Until then a fix that
//! contradicts it is kInvalidPage: another order, or a page inside the extent. So whoever uses
//! pages again in another size calls drop() or discard() first. What is longer than 1 MiB is a Run
//! (run.hpp). Where a call takes page numbers, an extent is named by its first page.
//!
//! Size. It need not be a multiple of kPageSize. The bytes of the last page after the end are zeros
//! when it is loaded, and are not written. A page after the end cannot be fixed (kInvalidPage).
//!
//! Others. The file is locked (flock) against other pools, here and in other processes; with
//! read_only only against those that would write. Who ignores the lock can change the file: a page
//! in memory keeps its bytes, and its next write overwrites what they wrote. If they cut the file,
//! loading a page that is gone is Error kIo (ENODATA), never a signal. Once resize(), or a write of
//! a page behind it, has made the file longer again, such a page is zeros.
//!
//! Failed sync. A flush of the file that fails is final for this file until it is opened again, as
//! for a pool's database (BufferPool). Other files go on.
//!
//! Temporary (BufferPool::open_temporary()). It begins empty, has no name, and is gone with this
//! object, or with the process. Its pages count in the pool as all others. They are written only if
//! the pool needs their memory; close() and remove() drop them. A page that was never written is
//! zeros, and loading it is no I/O. resize() takes the blocks, so a full disk is found there
//! (kDatabaseFull), and not when a page must be written. sync(), flush() and dirty_pages() are
//! refused (kInvalidOption), and so is write_back().
//!
//! Threads. Thread-safe, except close(), remove(), moves and destruction. Calls wait for I/O. In a
//! child of fork() they throw kWrongProcess, and the destructor does nothing. After the pool was
//! closed they throw kClosed.
class File {
 public:
  File() noexcept = default;
  explicit File(std::shared_ptr<detail::RawFile> file) noexcept : _file(std::move(file)) {}
  File(File&&) noexcept = default;
  //! Closes what it held, as the destructor does.
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  //! Closes the file if close() was not called. What then fails goes to the pool's logger, and
  //! changes that could not be written are lost. Guards and pins of its pages should be gone: else
  //! the file stays open until the pool is closed.
  ~File();

  //! True while it has an open file.
  [[nodiscard]] explicit operator bool() const noexcept;

  //! The page id of the file's page `n`. Stays the same while the file is open.
  [[nodiscard]] PageId page_id(std::uint64_t n) const;
  [[nodiscard]] std::uint64_t size_bytes() const;
  //! Pages that the size takes; the last one may be there in part.
  [[nodiscard]] std::uint64_t pages() const;
  [[nodiscard]] std::uint64_t capacity_bytes() const;
  [[nodiscard]] bool read_only() const;

  //! Makes the file longer or shorter. What is added is zeros, and its blocks are taken now if the
  //! file system can do that. Pages that fall out leave memory without being written. Throws Error:
  //! kInvalidOption (with a format: no multiple of kPageSize), kDatabaseFull (beyond
  //! capacity_bytes, or no space: os_error()), kInvalidPage (it would end inside an extent: drop
  //! that first), kIo, kBusy (the last page stayed latched for frame_wait: call it again; or a page
  //! that should fall out stayed latched or pinned for frame_wait: the file then ends behind that
  //! page). Becomes durable with sync().
  void resize(std::uint64_t bytes);

  //! Writes back what of this file was changed before the call, and makes it durable. Waits for no
  //! other file. Throws Error: kIo with the first page that failed; kBusy (a page stayed
  //! exclusively latched for frame_wait, or the log does not become durable). Pages that failed
  //! stay dirty.
  void sync();

  //! Writes back what of this file was changed before the call, but does not make it durable: it
  //! survives the end of the process, not that of the system. flush() does the rest. Waits for no
  //! other file. Throws Error as sync() does, but for the flush.
  void write_back();
  //! Does the same for these pages of the file only, ascending and below its capacity; one inside
  //! an extent stands for the extent. Looks at no others, where write_back() looks at all pages in
  //! memory. Throws Error kInvalidPage (too large, or not ascending) before it writes any.
  void write_back(std::span<const std::uint64_t> pages);

  //! \name Pages that nobody needs in memory
  //! Both calls take `count` pages, from number `first` on, out of memory: each extent that begins
  //! among them. Pages that are not in memory are no error. Throw Error: kInvalidPage (beyond
  //! capacity_bytes, or the first one is inside an extent), kBusy (a page is pinned, or stays
  //! latched for frame_wait), kIo after a failed flush. The pages before that one are then gone
  //! from memory. Wait for I/O.
  //! @{
  //! Writes changes back first, as write_back() does and with its errors. Not durable by that. A
  //! temporary file's pages go to the scratch file.
  void drop(std::uint64_t first, std::uint64_t count = 1);
  //! Without writing: what was changed since the last write-back is lost. For pages that the
  //! embedder's allocator has freed. What such a page holds afterwards is what storage has: any of
  //! its earlier versions. A temporary file's page is zeros.
  void discard(std::uint64_t first, std::uint64_t count = 1);
  //! @}

  //! Makes durable what has been written back, without writing. Fails as the flush of sync() does.
  void flush();

  //! \name A checkpoint of the embedder's own log, with FileOptions::write_ahead
  //! Note the log's end E, call dirty_pages(), then flush(). After that, recovery may begin at the
  //! smallest of E and the recovery_lsn of all pages in the list. Nobody needs to stop for this, if
  //! a change takes its LSN and changes the page under one exclusive latch. After a recovery, call
  //! sync() before the first such checkpoint: what it has done again lies before durable_lsn(), and
  //! the list does not know that. Torn pages are the embedder's: from that point on, the log may
  //! have no image of a page that is dirty all the time.
  //! @{
  //! The pages that are dirty, or latched exclusively. One that was changed after the call began
  //! may be missing. Throws Error kInvalidOption without write_ahead; std::bad_alloc.
  [[nodiscard]] std::vector<DirtyPage> dirty_pages() const;
  //! @}

  //! Does what sync() does, takes the file's pages out of memory, and unlocks the file. Throws
  //! Error: kIo, kBusy (a page stayed latched or pinned for frame_wait). The file then stays open
  //! and close() may be tried again. After a failed flush, or if the log has failed, it writes
  //! nothing more and succeeds. If its own flush fails, that is kIo, and the file is closed.
  void close();

  //! Closes the file without writing, and removes it. Throws Error kBusy as close() does (the file
  //! stays as it is), and kIo if it cannot be removed, or its path leads elsewhere by now; it is
  //! closed then.
  void remove();

 private:
  friend struct detail::PoolAccess;
  std::shared_ptr<detail::RawFile> _file;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "vmcache/export.hpp"
#include "vmcache/identity.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace VMCACHE_EXPORT vmcache {

enum class LogLevel : std::uint8_t { kInfo, kWarning, kError };
//! Any thread that uses the pool may call it, but no two at the same time. It must not call the
//! pool. What it throws is dropped.
using LogCallback = std::function<void(LogLevel, std::string_view)>;

//! What backs a virtual page.
enum class MemoryKind : std::uint8_t {
  kAuto,       //!< exmap if /dev/exmap can be used, else anonymous memory
  kAnonymous,  //!< anonymous memory; needs no module
  kExmap,      //!< the exmap kernel module
  //! The name of kAnonymous before 0.2.0.
  kStock [[deprecated("use kAnonymous")]] = kAnonymous,
};

//! How anonymous memory gives frames back. kAuto takes the first of these that the kernel has:
//! kProcessMadvise, kMove, kMadviseRuns.
enum class AnonymousRelease : std::uint8_t {
  kAuto,
  //! UFFDIO_MOVE: a frame goes from the evicted page to the faulted one (Linux 6.8)
  kMove,
  kProcessMadvise,  //!< process_madvise(MADV_DONTNEED) on a batch of extents (Linux 6.13)
  kMadviseRuns,     //!< madvise(MADV_DONTNEED) on each run of neighbours
  //! madvise(MADV_DONTNEED) on each extent, as the published design does; for comparison
  kMadvisePages,
};
//! The name of AnonymousRelease before 0.2.0.
using StockRelease [[deprecated("use AnonymousRelease")]] = AnonymousRelease;

//! How bytes get to and from storage.
enum class StorageKind : std::uint8_t {
  //! NVMe passthrough if the path is an NVMe character device. Otherwise io_uring, or pread and
  //! pwrite if the kernel refuses io_uring, which is logged once.
  kAuto,
  kIoUring,  //!< io_uring; without it the open throws Errc::kUnsupported
  kPread,    //!< pread and pwrite
  //! NVMe commands, sent through io_uring to a namespace's character device (/dev/ngXnY; Linux
  //! 5.19). They bypass the block layer, so the library itself flushes the device's write cache.
  //! Needs CAP_SYS_ADMIN before Linux 6.2.
  kNvmePassthrough,
};

enum class Switch : std::uint8_t {
  kAuto,  //!< on if kernel and device have it; a refusal is logged (kInfo)
  kOn,    //!< on; if it is refused the open throws Errc::kUnsupported
  kOff,
};

//! Features of io_uring. BufferPool::description() names those that are on.
struct IoUringOptions {
  Switch registered_files = Switch::kAuto;  //!< saves a reference count a transfer
  //! Saves one a system call. Only rings of Workers can have it, because it belongs to a thread.
  Switch registered_ring = Switch::kAuto;
  //! Single issuer and deferred task run (Linux 6.1): completions do not interrupt the thread. Only
  //! for rings of Workers, and not together with sq_polling.
  Switch deferred = Switch::kAuto;
  //! The library polls for completions instead of waiting for interrupts. Needs O_DIRECT and poll
  //! queues (nvme.poll_queues). A thread that waits for I/O then keeps its core busy.
  //!
  //! On passthrough at most one ring polls each hardware poll queue, because Linux (at least 6.12
  //! and 7.3) can oops if two do. A Worker polls the queue of its CPU if its thread was pinned to
  //! that CPU before it made the Worker, stays there, and the CPU has a poll queue of its own. Of
  //! other Workers the first one polls. All others, and blocking calls, use interrupts. A pool
  //! locks the controllers (/dev/nvmeX) that it polls, so only one pool polls each.
  Switch polled = Switch::kAuto;
  //! A kernel thread submits, so that a submission needs no system call. It keeps a core busy, so
  //! it is off by default. The rings of a pool share one thread.
  Switch sq_polling = Switch::kOff;
  //! Registers the frames of exmap memory once, so that a transfer of a single page need not look
  //! them up and pin them (Linux 6.5). They then count twice against RLIMIT_MEMLOCK. A pool that
  //! shrinks gives this up, because registered frames cannot go back to the system. Frames that a
  //! growing pool adds are not registered.
  Switch registered_frames = Switch::kAuto;
};

//! What a log says of a database that was not closed cleanly: instead of page 0 and the stored list
//! of free pages.
struct RecoveredState {
  std::uint64_t next_page = 1;  //!< lowest page id never handed out
  std::vector<Extent> free;     //!< extents below it that nobody owns
  //! Pages below it that are free and hold the list of free extents. They are not in `free`. A pool
  //! with a change_log does not hand them out until another list is written.
  std::vector<PageId> list_pages;
  std::vector<PageId> roots;  //!< by index; what is missing is kNoPage
  //! The log's (WriteAheadLog::identity()): page 0 then says that the log belongs to it. Without a
  //! database id it says nothing.
  Identity identity{};
};

//! How to open a pool. The open checks every field; a value outside its range is
//! Errc::kInvalidOption.
struct PoolOptions {
  //! A file (created if missing and `create` is set), a block device or an NVMe character device.
  std::filesystem::path path;
  //! Instead of `path`: 1 .. 64 files or devices of one kind, over which the database is striped.
  //! Each begins with a label that describes the stripe set. A later open must name the same
  //! devices in the same order.
  std::vector<std::filesystem::path> paths;
  //! Bytes that lie together on one of `paths`: a power of two, 4 KiB .. 1 GiB. 0: as the database
  //! was created, or 512 KiB for a new one. Extents that cross a border are split.
  std::uint64_t stripe_bytes = 0;
  //! Called once at open if set, and used instead of both. What it throws comes out of the open.
  //! Returning null is kInvalidOption.
  std::function<std::unique_ptr<Storage>()> make_storage;

  //! Memory for pages: 64 KiB (16 pages) .. capacity_bytes + files_bytes.
  std::uint64_t pool_bytes = std::uint64_t{1} << 30;
  //! Largest size of the database: 128 KiB .. 64 TiB. It reserves address space only.
  std::uint64_t capacity_bytes = std::uint64_t{1} << 40;
  //! Address space for files that BufferPool::open_file() opens: a multiple of kFileRangeBytes.
  //! With capacity_bytes at most 64 TiB. A pool for such files needs no database: leave `path`,
  //! `paths` and make_storage empty.
  std::uint64_t files_bytes = 0;
  //! Threads that may be inside a miss or run a Worker at the same time: 1 .. 1021. One more waits
  //! for its turn.
  unsigned workers = 64;
  unsigned io_depth = 256;    //!< transfers in flight a worker: 1 .. 4096
  unsigned evict_batch = 64;  //!< extents evicted together: 1 .. 4096
  //! How long a fault looks for a frame, while nothing can be evicted, before it fails with
  //! Errc::kPoolExhausted: 1 ms .. 1 h.
  std::chrono::milliseconds frame_wait{1000};

  MemoryKind memory = MemoryKind::kAuto;
  AnonymousRelease anonymous_release = AnonymousRelease::kAuto;
  StorageKind storage = StorageKind::kAuto;
  IoUringOptions io_uring;
  bool direct_io = true;  //!< O_DIRECT; false leaves a second copy in the kernel's page cache
  //! After each checkpoint and before a close, tells devices that have such a command (discard,
  //! deallocate) which page ids were freed. Has no effect with a change_log.
  bool deallocate = true;

  //! Create the database if the file is missing, empty, or one page of zeros: a creation that was
  //! cut off leaves that.
  bool create = true;
  //! Opens a database that was not closed cleanly. Page ids that were freed before are lost.
  bool allow_unclean = false;
  //! Opens a database to read it; it must have been closed cleanly (kUncleanShutdown). Nothing is
  //! written to it, not even that it is open. Several processes may have it open so; while they
  //! have, it is Errc::kInUse for all that would write. A database of a log may be opened, too.
  //! allocate(), free(), set_root(), checkpoint() and the like are Errc::kReadOnly, and so are
  //! changes of a BTree. An exclusive latch is given, because a hit asks for nothing. But what is
  //! changed under it is never written: it is lost when the page leaves memory, and that is logged
  //! as an error. Not together with allow_unclean, recovered, write_ahead or change_log.
  bool read_only = false;

  //! Extents begin with a PageHeader. It gets the page id and a CRC32C when the page is written,
  //! and both are checked when it is loaded (Errc::kChecksum, kWrongPage). This is a property of
  //! the database: every open must give the value that it was created with.
  bool page_header = false;
  //! Remembers the checksum of each page as it was last written or loaded, in 4 bytes of memory for
  //! each page id that is used. A load that finds other bytes, even an older version of the page,
  //! is Errc::kLostWrite. BufferPool::digest() does the same from one open to the next.
  bool lost_write_check = false;
  //! Needs page_header. No page is written before this log is durable up to the page's LSN. The log
  //! must outlive the pool.
  WriteAhead* write_ahead = nullptr;
  //! Is told about changes of structures in the pool. Must outlive it.
  ChangeLog* change_log = nullptr;
  //! If set, the open does not believe page 0 (it may be torn) and writes it anew from this.
  std::optional<RecoveredState> recovered;

  //! Files of a pool get address space in multiples of this.
  static constexpr std::uint64_t kFileRangeBytes = std::uint64_t{1} << 30;
  //! Whether it names a database.
  [[nodiscard]] bool has_database() const noexcept {
    return make_storage || !path.empty() || !paths.empty();
  }

  LogCallback logger;  //!< empty: nothing is logged

  //! \name The names of options before 0.2.0; deprecated
  //! @{
  std::optional<AnonymousRelease> stock_release;  //!< counts instead of anonymous_release if set
  LogCallback log;                                //!< counts if logger is empty
  //! @}
};

}  // namespace vmcache

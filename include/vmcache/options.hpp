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

#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

enum class LogLevel : std::uint8_t { kInfo, kWarning, kError };
//! Called from any thread that uses the pool, never concurrently with itself. Must not call the pool.
using LogCallback = std::function<void(LogLevel, std::string_view)>;

//! What backs a virtual page.
enum class MemoryKind : std::uint8_t {
  kAuto,   //!< exmap where /dev/exmap can be used, else stock
  kStock,  //!< anonymous memory of an ordinary Linux
  kExmap,  //!< the exmap kernel module
};

//! How stock memory gives frames back. kAuto takes the best this kernel has, in the order below.
enum class StockRelease : std::uint8_t {
  kAuto,
  kMove,  //!< UFFDIO_MOVE: a frame goes straight from the evicted page to the faulted one (Linux 6.8)
  kProcessMadvise,  //!< process_madvise(MADV_DONTNEED) on a vector of extents (Linux 6.13)
  kMadviseRuns,     //!< madvise(MADV_DONTNEED) on each run of neighbours
  kMadvisePages,    //!< madvise(MADV_DONTNEED) on each extent: the published design, for comparison
};

//! How bytes get to and from a file or block device.
enum class StorageKind : std::uint8_t {
  //! NVMe passthrough if the path is an NVMe character device; else io_uring, or pread/pwrite where io_uring
  //! is refused (said once through the log).
  kAuto,
  kIoUring,  //!< io_uring, or an error
  kPread,    //!< pread/pwrite
  //! NVMe commands through io_uring to a namespace's character device (/dev/ngXnY; Linux 5.19), past the
  //! block layer. The library itself then flushes the device's write cache. Needs CAP_SYS_ADMIN before 6.2.
  kNvmePassthrough,
};

enum class Switch : std::uint8_t {
  kAuto,  //!< on where kernel and device have it; what they refuse is said through the log (kInfo)
  kOn,    //!< on, or Errc::kUnsupported
  kOff,
};

//! What io_uring can do beyond the plain. BufferPool::description() says what is on.
struct IoUringOptions {
  Switch registered_files = Switch::kAuto;  //!< spares a reference count a transfer
  //! Spares one a system call. For the rings of Workers only, because it belongs to a thread.
  Switch registered_ring = Switch::kAuto;
  //! Single issuer and deferred task run (Linux 6.1): completions do not interrupt the thread. For the rings of
  //! Workers only. Not together with sq_polling.
  Switch deferred = Switch::kAuto;
  //! Completions are looked for instead of waited for. Needs O_DIRECT and poll queues (nvme.poll_queues). A
  //! thread that waits for I/O then keeps its core busy.
  //! On passthrough only for Workers, and one a hardware poll queue, because Linux (6.12 and 7.3 at least) can oops where
  //! two rings poll the same: of Workers on threads that are pinned to a CPU before they make it, and stay there, each
  //! whose CPU has a poll queue of its own; else the first of them. The others, and blocking calls, are told by
  //! interrupts. A controller (/dev/nvmeX, which is locked) is polled by one pool at a time.
  Switch polled = Switch::kAuto;
  //! A kernel thread submits, so that submitting costs no system call. It keeps a core busy: off by default.
  //! The rings of a pool share one.
  Switch sq_polling = Switch::kOff;
  //! The frames of exmap memory are registered once, so that no transfer of a single page looks them up and pins them
  //! (Linux 6.5). They count once more against RLIMIT_MEMLOCK. Given up when the pool shrinks, since registered frames
  //! cannot go back to the system; frames that come by growing are not registered.
  Switch registered_frames = Switch::kAuto;
};

//! What a log says of a database that was not closed cleanly: instead of page 0 and the stored list of free pages.
struct RecoveredState {
  std::uint64_t next_page = 1;  //!< lowest page id never handed out
  std::vector<Extent> free;     //!< extents below it that nobody owns
  std::vector<PageId> roots;    //!< by index; what is missing is kNoPage
};

//! How to open a pool. Every field is checked at open; a value outside its range is Errc::kInvalidOption.
struct PoolOptions {
  //! A file (made if missing and `create`), a block device or an NVMe character device.
  std::filesystem::path path;
  //! Instead of `path`: 1..64 of one kind over which the database is striped. What lies where is written at
  //! the beginning of each and checked when it is opened again: the same devices, in the same order.
  std::vector<std::filesystem::path> paths;
  //! Bytes that lie together on one of `paths`: a power of two, 4 KiB .. 1 GiB. 0: as it was made, or 512 KiB
  //! for a new database. Extents that cross a border are split.
  std::uint64_t stripe_bytes = 0;
  //! Used instead of both if set; called once at open.
  std::function<std::unique_ptr<Storage>()> make_storage;

  std::uint64_t pool_bytes = std::uint64_t{1}
                             << 30;  //!< memory for pages: 64 KiB (16 pages) .. capacity_bytes
  std::uint64_t capacity_bytes = std::uint64_t{1}
                                 << 40;  //!< highest database size: 128 KiB .. 64 TiB; address space only
  //! Threads that may be inside a miss or run a Worker at once: 1..1024. A further one waits for its turn.
  unsigned workers = 64;
  unsigned io_depth = 256;    //!< transfers in flight a worker: 1..4096
  unsigned evict_batch = 64;  //!< extents evicted together: 1..4096
  //! How long a fault looks for a frame while nothing can be evicted before it is Errc::kPoolExhausted: 1 ms
  //! .. 1 h.
  std::chrono::milliseconds frame_wait{1000};

  MemoryKind memory = MemoryKind::kAuto;
  StockRelease stock_release = StockRelease::kAuto;
  StorageKind storage = StorageKind::kAuto;
  IoUringOptions io_uring;
  bool direct_io = true;  //!< O_DIRECT; false leaves a copy in the kernel's page cache
  //! Tell devices that have such a command (discard, deallocate) of freed page ids, after each checkpoint
  //! and before a close. Not with a change_log.
  bool deallocate = true;

  bool create = true;  //!< make the database if the file is missing or empty
  bool allow_unclean =
      false;  //!< open a database that was not closed cleanly (page ids freed before are lost)

  //! Extents begin with a PageHeader: sealed with page id and CRC32C when written, checked when loaded (Errc::kChecksum,
  //! kWrongPage). A property of the database: given when it is made, and the same at every open.
  bool page_header = false;
  //! Remember the checksum of each page as it was written or loaded last, in 4 bytes of memory a page id that is used: a load that finds other
  //! bytes, an older version of the page too, is Errc::kLostWrite. BufferPool::digest() does the same from one open to the next.
  bool lost_write_check = false;
  //! With page_header: no page is written before this log is durable up to the page's LSN. Must outlive the pool.
  WriteAhead* write_ahead = nullptr;
  //! Told of the changes of structures in the pool. Must outlive it.
  ChangeLog* change_log = nullptr;
  //! If set, page 0 is not believed (it may be torn) but written anew from this.
  std::optional<RecoveredState> recovered;

  LogCallback log;  //!< empty: nothing is logged
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Where the bytes of pages rest. The library has back ends for files and block devices (io_uring,
// pread/pwrite) and for NVMe passthrough. An embedder or a test may bring its own.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

struct FileTarget;

//! One transfer between memory and storage. The caller owns it, and keeps it and the memory until
//! it completes.
struct IoRequest {
  enum class Op : std::uint8_t { kRead, kWrite };

  Op op = Op::kRead;
  std::uint64_t offset = 0;  //!< from the start of the database; a multiple of kPageSize
  //! Set for a file that was opened into the pool (BufferPool::open_file()): `offset` counts from
  //! its start. Only queues that say so get such requests (IoQueue::serves_files()).
  const FileTarget* file = nullptr;
  std::byte* data = nullptr;  //!< page-aligned
  //! The address of the same bytes in the memory that Storage::register_memory() was given, or null
  //! if they are not in it.
  std::byte* registered = nullptr;
  std::uint32_t bytes = 0;  //!< a multiple of kPageSize
  //! 0, or the errno of the failure; set when the request completes. The back end completes a short
  //! transfer. Only if it cannot, that is an error: ENODATA for a read past the end, EIO for a
  //! write.
  int error = 0;
  //! The NVMe status (code type << 8 | code) behind `error` if the device gave one (passthrough),
  //! else 0.
  std::uint16_t device_status = 0;
  std::uint32_t done_bytes = 0;  //!< of `bytes`, put into commands so far (the back end's)
  std::uint32_t commands = 0;    //!< of this request, under way (the back end's)
  //! Commands that were tried again because the device allowed it (the back end's).
  std::uint32_t retries = 0;
  std::uint64_t started_ns = 0;  //!< when it was submitted (the caller's)
};

//! A part of a database. Both members are multiples of kPageSize.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

//! Submits and completes one thread's transfers. Not thread-safe. submit() and reap() must not
//! throw, because nobody would then know which requests are under way. They report failures in
//! IoRequest::error; an exception ends the process.
class IoQueue {
 public:
  virtual ~IoQueue() = default;
  //! Maximum number of requests in flight.
  [[nodiscard]] virtual unsigned depth() const noexcept = 0;
  //! Requests that were submitted and not yet reaped.
  [[nodiscard]] virtual unsigned in_flight() const noexcept = 0;
  //! True if the queue polls for completions, false if interrupts announce them.
  [[nodiscard]] virtual bool polled() const noexcept { return false; }
  //! True if it takes requests whose `file` is set. The library's queues do, unless they poll. For
  //! one that does not, the pool makes a second queue.
  [[nodiscard]] virtual bool serves_files() const noexcept { return false; }
  //! Takes all of `requests`, at most depth() - in_flight(). They may reach the kernel only with
  //! the next reap().
  virtual void submit(std::span<IoRequest* const> requests) = 0;
  //! Stores up to completed.size() completed requests and returns how many. Waits for `wait_for` of
  //! them, but at most `timeout_ns` (0: not at all). Every request that was submitted comes back in
  //! the end, failed or not.
  virtual std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for,
                           std::uint64_t timeout_ns) = 0;
  //! From now on adds to this eventfd, and to no earlier one, when a request completes, perhaps
  //! too often. False if it cannot. Called on the thread that uses the queue.
  [[nodiscard]] virtual bool announce(int /*event_fd*/) noexcept { return false; }
  //! Time, since the last call of this function, that waiting by polling has spent without finding
  //! a completion.
  [[nodiscard]] virtual std::uint64_t take_empty_poll_ns() noexcept { return 0; }
};

//! An open database file or device, or several that are striped. Thread-safe except resize(), which
//! the pool serialises.
class Storage {
 public:
  virtual ~Storage() = default;
  //! Current size.
  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
  //! True if writing past size_bytes() makes it longer (a file), false if its size is fixed (a
  //! device).
  [[nodiscard]] virtual bool can_grow() const noexcept = 0;
  //! True if nothing was ever written, so that a database may be created there: the first MiB (or
  //! all, if there is less) is zeros. Decide this by reading.
  [[nodiscard]] virtual bool blank() = 0;
  //! Makes a queue for at least `depth` requests (1 .. 4096). With `single_issuer` only the calling
  //! thread will use the queue; otherwise several threads may, one after another. Throws Error.
  [[nodiscard]] virtual std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer) = 0;
  //! Registers page-aligned `memory`, so that queues created later need not pin it for each
  //! transfer. The memory must stay as it is until forget_memory(). May overwrite its last page.
  //! Call it at most once, before any queue is made. Returns 0 or an errno; EOPNOTSUPP if the back
  //! end has no such feature.
  [[nodiscard]] virtual int register_memory(std::span<std::byte> /*memory*/) { return EOPNOTSUPP; }
  //! Ends the registration. A queue drops it once it has nothing in flight; later transfers use
  //! IoRequest::data.
  virtual void forget_memory() noexcept {}
  //! Blocking transfers for open and close. They transfer all bytes and return 0, or return an
  //! errno.
  [[nodiscard]] virtual int read(std::uint64_t offset, std::span<std::byte> bytes) = 0;
  [[nodiscard]] virtual int write(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  //! Makes durable what completed before the call, and returns 0. On failure returns an errno; then
  //! nothing counts as durable, even if a later flush succeeds. An implementation must not retry a
  //! failed flush, because what it did not make durable may be gone. A pool calls this from one
  //! thread at a time.
  [[nodiscard]] virtual int flush() = 0;
  //! Makes a growable file at least `bytes` long (sparse). Returns 0 or an errno.
  [[nodiscard]] virtual int resize(std::uint64_t bytes) = 0;
  //! Tells the device that these bytes are no longer needed. What a read of them then returns is
  //! undefined. Returns 0 or an errno; EOPNOTSUPP if there is no such command. Call it with an
  //! empty list to find out.
  [[nodiscard]] virtual int deallocate(std::span<const ByteRange> /*ranges*/) { return EOPNOTSUPP; }
  //! Keeps the files that this open created. Without this call they are removed with the object, so
  //! that an open that fails leaves nothing behind.
  virtual void keep() noexcept {}
  //! What the device said about the last blocking call that failed, beyond the errno. May be empty.
  [[nodiscard]] virtual std::string last_failure() const { return {}; }
  //! For messages: paths, back end, and the options that are on.
  [[nodiscard]] virtual std::string description() const = 0;
};

}  // namespace vmcache

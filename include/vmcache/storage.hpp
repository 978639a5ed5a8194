// SPDX-License-Identifier: MIT
//
// Where a page's bytes rest. The pool comes with back ends for files and block devices (io_uring,
// pread/pwrite) and for NVMe passthrough; an embedder, or a test, may bring its own.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace vmcache {

//! One transfer between memory and storage. The caller owns it and keeps it, and the memory, until it
//! completes.
struct IoRequest {
  enum class Op : std::uint8_t { kRead, kWrite };

  Op op = Op::kRead;
  std::uint64_t offset = 0;   //!< bytes from the start of the database; a multiple of kPageSize
  std::byte* data = nullptr;  //!< page-aligned
  //! The same bytes in the memory that Storage::register_memory() was given; null: they are not there.
  std::byte* registered = nullptr;
  std::uint32_t bytes = 0;  //!< a multiple of kPageSize
  //! 0, or the errno of the failure. Set when the request completes; a short transfer is finished by the back
  //! end, and is an error (ENODATA for a read past the end, EIO for a write) only where it cannot be.
  int error = 0;
  //! NVMe status (code type << 8 | code) behind `error` where the device gave one (passthrough), else 0.
  std::uint16_t device_status = 0;
  std::uint32_t done_bytes = 0;  //!< put into commands so far (back end's)
  std::uint32_t commands = 0;    //!< of it under way (back end's)
  std::uint32_t retries = 0;  //!< commands of it that were tried again because a device said so (back end's)
  std::uint64_t started_ns = 0;  //!< when it was handed over (caller's)
};

//! A part of a database; both are multiples of kPageSize.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

//! Submission and completion of one thread's transfers. Not thread-safe.
class IoQueue {
 public:
  virtual ~IoQueue() = default;
  //! Requests that may be in flight at once.
  [[nodiscard]] virtual unsigned depth() const noexcept = 0;
  //! Those that were submitted and not yet reaped.
  [[nodiscard]] virtual unsigned in_flight() const noexcept = 0;
  //! True if completions are looked for instead of announced.
  [[nodiscard]] virtual bool polled() const noexcept { return false; }
  //! Takes all of `requests` (at most depth() - in_flight()). They may reach the kernel only with the next
  //! reap().
  virtual void submit(std::span<IoRequest* const> requests) = 0;
  //! Gets up to completed.size() finished requests and returns how many. Waits at most `timeout_ns` (0: not
  //! at all) for `wait_for` of them. What was submitted is always returned some time, failed or not.
  virtual std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for, std::uint64_t timeout_ns) = 0;
  //! Time that waits by polling have spent on questions which the device had no answer to, since this was asked last.
  [[nodiscard]] virtual std::uint64_t take_empty_poll_ns() noexcept { return 0; }
};

//! An opened database file or device, or several that are striped. Thread-safe but for resize(), which the
//! pool serialises.
class Storage {
 public:
  virtual ~Storage() = default;
  //! Bytes there are now.
  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
  //! True if writing past size_bytes() makes it larger (a file), false if it is fixed (a device).
  [[nodiscard]] virtual bool can_grow() const noexcept = 0;
  //! True if nothing was ever written to it, so that a database may be made there.
  [[nodiscard]] virtual bool blank() = 0;
  //! A queue with room for at least `depth` requests (1..4096). `one_thread`: only the thread that makes it
  //! will use it; else several may, one after the other. Throws Error.
  [[nodiscard]] virtual std::unique_ptr<IoQueue> make_queue(unsigned depth, bool one_thread) = 0;
  //! Queues made from now on need not look `memory`, which is page-aligned, up and pin it for each transfer. It stays what
  //! it is until forget_memory(). The last page is scribbled on. Returns 0, or an errno: EOPNOTSUPP where there is no such
  //! thing. Once, before any queue is made.
  [[nodiscard]] virtual int register_memory(std::span<std::byte> /*memory*/) { return EOPNOTSUPP; }
  //! Lets go of it: queues do when they have nothing in flight, and transfers then go to IoRequest::data.
  virtual void forget_memory() noexcept {}
  //! Blocking transfers for open and close. Return 0 or an errno; all or nothing.
  [[nodiscard]] virtual int read(std::uint64_t offset, std::span<std::byte> bytes) = 0;
  [[nodiscard]] virtual int write(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  //! What completed before the call is durable when it returns 0. Else an errno, and nothing may be taken as
  //! durable.
  [[nodiscard]] virtual int flush() = 0;
  //! Makes a growable file at least `bytes` long (sparse). Returns 0 or an errno.
  [[nodiscard]] virtual int resize(std::uint64_t bytes) = 0;
  //! Tells the device that these bytes are of no use any more; what they read as afterwards is undefined.
  //! Returns 0 or an errno; EOPNOTSUPP where there is no such command. An empty list asks for that.
  [[nodiscard]] virtual int deallocate(std::span<const ByteRange> /*ranges*/) { return EOPNOTSUPP; }
  //! What the device said of the last blocking call that failed, beyond its errno; may be empty.
  [[nodiscard]] virtual std::string last_failure() const { return {}; }
  //! What it is, for messages: paths, back end and the options that are on.
  [[nodiscard]] virtual std::string description() const = 0;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "vmcache/export.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

//! What went wrong, from the caller's point of view. Error::os_error() has the errno behind it, if
//! there is one.
enum class Errc : std::uint8_t {
  kOk = 0,
  kInvalidOption,  //!< an option or argument is outside its range; nothing was changed
  //! The file is no database of this library, or of a version or geometry that it does not read. It
  //! was not touched.
  kNotADatabase,
  //! the database was not closed cleanly, and the options do not allow opening it
  kUncleanShutdown,
  //! Another pool, here or in another process, has the database open, or its device is mounted.
  kInUse,
  kIo,  //!< a read, write or flush failed; a page that was to be written stays dirty
  //! No frame could be freed within frame_wait: everything is latched or cannot be written.
  kPoolExhausted,
  kDatabaseFull,  //!< No room: the capacity is reached, or the device is full (os_error()).
  kOutOfMemory,   //!< the system refused memory (address space, frames or locked memory)
  kUnsupported,   //!< the kernel or device does not offer what was asked for
  //! The page id or order is outside the database or not aligned, or the extent is of
  //! several pages and free.
  kInvalidPage,
  kTooLarge,  //!< a key or value is longer than the structure takes
  kCorrupt,   //!< stored bytes contradict themselves
  kBusy,      //!< Guards, tasks, latches or another thread are in the way; try again later.
  //! A page's bytes are not those that were written. Status::expected and found are the checksums.
  kChecksum,
  //! A page's bytes were written for another page id. Status::expected and found are the page ids.
  kWrongPage,
  //! A page is not as it was last written; it may be an older version of itself. Status::expected
  //! and found are the checksums.
  kLostWrite,
  //! A page is newer than the log: its LSN is beyond the log's durable end. Status::expected and
  //! found are the LSNs.
  kBeyondLog,
  //! Page file and log belong to different databases, or one is older than the other. Neither was
  //! touched.
  kMismatch,
  kConflict,  //!< another transaction holds a lock on the key: roll back and try again
  kClosed,    //!< the pool or database was closed
  //! The object belongs to the process that opened it, and this is a fork of that process.
  kWrongProcess,
  kWrongThread,  //!< a Worker was used by a thread other than the one that made it
  kReadOnly,     //!< the file or database was opened with read_only; nothing was changed
  kTimedOut,     //!< what was awaited has not come in time
  kCancelled,    //!< somebody ended the wait
};

[[nodiscard]] std::string_view to_string(Errc code) noexcept;

//! A failure as a value. Small, copyable, and does not allocate.
struct Status {
  Errc code = Errc::kOk;
  int os_error = 0;          //!< errno, or 0
  PageId page_id = kNoPage;  //!< the page concerned, or kNoPage
  //! The NVMe status (code type << 8 | code) if the device gave one (passthrough), else 0.
  std::uint16_t device_status = 0;
  //! What the page should have said (kChecksum, kWrongPage, kLostWrite, kBeyondLog).
  std::uint64_t expected = 0;
  std::uint64_t found = 0;  //!< what it said

  [[nodiscard]] constexpr bool ok() const noexcept { return code == Errc::kOk; }
  //! One line: code, page, errno with its text, NVMe status with its meaning, expected and found
  //! values.
  [[nodiscard]] std::string to_string() const;
};

//! The same as an exception. Every call of the library may throw it unless its comment says
//! otherwise.
class Error : public std::runtime_error {
 public:
  explicit Error(Status status);
  //! `what` says what was tried, where, with which value, and what is allowed.
  Error(Status status, const std::string& what);
  Error(Errc code, const std::string& what) : Error(Status{code, 0, kNoPage}, what) {}

  [[nodiscard]] const Status& status() const noexcept { return _status; }
  [[nodiscard]] Errc code() const noexcept { return _status.code; }
  [[nodiscard]] int os_error() const noexcept { return _status.os_error; }
  [[nodiscard]] PageId page_id() const noexcept { return _status.page_id; }

 private:
  Status _status;
};

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "vmcache/types.hpp"

namespace vmcache {

//! What went wrong, in the terms of the caller. The errno that caused it, if any, is in Error::os_error().
enum class Errc : std::uint8_t {
  kOk = 0,
  kInvalidOption,    //!< an option or argument is outside its range; nothing was changed
  kNotADatabase,     //!< the file is not ours, or of a version or geometry we do not read; it was not touched
  kUncleanShutdown,  //!< the database was not closed cleanly and the caller did not allow opening it
  kInUse,  //!< another pool, here or in another process, has the database open; or its device is mounted
  kIo,     //!< a read, write or flush failed; a page that was to be written stays dirty
  kPoolExhausted,  //!< no frame could be freed within the bound: everything is latched, or cannot be written
  kDatabaseFull,   //!< no page id is left below the capacity
  kOutOfMemory,    //!< the system refused memory (address space, frames or locked memory)
  kUnsupported,    //!< the kernel or device does not offer what was asked for
  kInvalidPage,    //!< the page id or order is outside the database or not aligned
  kTooLarge,       //!< a key or value is longer than the structure takes
  kCorrupt,        //!< stored bytes contradict themselves
  kBusy,           //!< the operation cannot be done while guards or tasks are alive
  kChecksum,   //!< a page's bytes are not those that were written; Status::expected and found: the checksums
  kWrongPage,  //!< a page's bytes were written for another page id; Status::expected and found: the page ids
  kLostWrite,  //!< a page is not as it was written last, perhaps an older version of itself; Status::expected and found: checksums
  kConflict,   //!< another transaction holds a lock on the key: roll back and try again
};

[[nodiscard]] std::string_view to_string(Errc code) noexcept;

//! A failure as a value: small, copyable, without allocation. Converts to "failed?" in conditions.
struct Status {
  Errc code = Errc::kOk;
  int os_error = 0;          //!< errno, or 0
  PageId page_id = kNoPage;  //!< the page concerned, or kNoPage
  //! NVMe status (code type << 8 | code) where the device gave one (passthrough), else 0.
  std::uint16_t device_status = 0;
  std::uint64_t expected = 0;  //!< what the page should have said (kChecksum, kWrongPage, kLostWrite)
  std::uint64_t found = 0;     //!< what it said

  [[nodiscard]] constexpr bool ok() const noexcept { return code == Errc::kOk; }
  //! One line: code, page, errno with its text, NVMe status with its meaning, expected and found values.
  [[nodiscard]] std::string to_string() const;
};

//! The same as an exception; thrown by every call of the library whose docstring does not say otherwise.
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

// SPDX-License-Identifier: MIT
#include "vmcache/error.hpp"

#include <fmt/format.h>

#include <system_error>

#include "nvme_status.hpp"

namespace vmcache {

std::string_view to_string(Errc code) noexcept {
  switch (code) {
    case Errc::kOk:
      return "ok";
    case Errc::kInvalidOption:
      return "invalid option";
    case Errc::kNotADatabase:
      return "not a database";
    case Errc::kUncleanShutdown:
      return "not closed cleanly";
    case Errc::kInUse:
      return "in use";
    case Errc::kIo:
      return "I/O error";
    case Errc::kPoolExhausted:
      return "pool exhausted";
    case Errc::kDatabaseFull:
      return "database full";
    case Errc::kOutOfMemory:
      return "out of memory";
    case Errc::kUnsupported:
      return "not supported";
    case Errc::kInvalidPage:
      return "invalid page";
    case Errc::kTooLarge:
      return "too large";
    case Errc::kCorrupt:
      return "corrupt";
    case Errc::kBusy:
      return "busy";
    case Errc::kChecksum:
      return "checksum mismatch";
    case Errc::kWrongPage:
      return "wrong page";
    case Errc::kLostWrite:
      return "lost write";
    case Errc::kBeyondLog:
      return "newer than the log";
    case Errc::kMismatch:
      return "files do not belong together";
    case Errc::kConflict:
      return "conflict";
    case Errc::kClosed:
      return "closed";
    case Errc::kWrongProcess:
      return "wrong process";
    case Errc::kWrongThread:
      return "wrong thread";
    case Errc::kReadOnly:
      return "read only";
    case Errc::kTimedOut:
      return "timed out";
    case Errc::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

std::string Status::to_string() const {
  std::string text{vmcache::to_string(code)};
  if (page_id != kNoPage) text += fmt::format(", page {}", page_id);
  if (os_error != 0)
    text += fmt::format(", {} (errno {})", std::generic_category().message(os_error), os_error);
  if (device_status != 0)
    text +=
        fmt::format(", NVMe: {} (status {:#05x})", nvme::meaning_of(device_status), device_status);
  if (code == Errc::kChecksum || code == Errc::kLostWrite)
    text += fmt::format(", expected {:#010x}, found {:#010x}", expected, found);
  if (code == Errc::kBeyondLog)
    text += fmt::format(", its LSN is {}, the log ends at {}", found, expected);
  if (code == Errc::kWrongPage) text += fmt::format(", the bytes are those of page {}", found);
  return text;
}

Error::Error(Status status) : std::runtime_error(status.to_string()), _status(status) {}

Error::Error(Status status, const std::string& what)
    : std::runtime_error(fmt::format("{}: {}", what, status.to_string())), _status(status) {}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <cerrno>
#include <exception>
#include <new>

#include "api.hpp"

namespace vmcache::sqlite {

int report(int code, const std::string& what) noexcept {
  sqlite3_log(code, "vmcache: %s", what.c_str());
  return code;
}

int code_of(const Error& error, int io_code) noexcept {
  switch (error.code()) {
    case Errc::kDatabaseFull:
      return SQLITE_FULL;
    case Errc::kInUse:
      return SQLITE_BUSY;
    case Errc::kOutOfMemory:
      return SQLITE_IOERR_NOMEM;
    case Errc::kPoolExhausted:
      if (error.os_error() == 0) return SQLITE_IOERR_NOMEM;
      break;  // its pages cannot be written, and this is why
    default:
      break;
  }
  const bool full = error.os_error() == ENOSPC || error.os_error() == EDQUOT;
  return full ? SQLITE_FULL : io_code;
}

int report_exception(int io_code, const char* doing, const std::string& path) noexcept {
  int code = io_code;
  try {
    std::string why = "unknown exception";
    try {
      throw;
    } catch (const Error& error) {
      code = code_of(error, io_code);
      why = error.what();
    } catch (const std::bad_alloc&) {
      return SQLITE_IOERR_NOMEM;
    } catch (const std::exception& error) {
      why = error.what();
    }
    return report(code, std::string(doing) + " " + path + ": " + why);
  } catch (...) {  // NOLINT: no memory for the words
    return code;
  }
}

}  // namespace vmcache::sqlite

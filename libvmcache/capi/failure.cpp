// SPDX-License-Identifier: MIT
#include "capi/failure.hpp"

#include <array>
#include <cstdarg>
#include <cstdio>
#include <exception>
#include <new>
#include <string_view>

#include "capi/structs.hpp"

namespace vmcache::capi {
namespace {

static_assert(code_of(Errc::kOk) == VMCACHE_OK);
static_assert(code_of(Errc::kInvalidOption) == VMCACHE_INVALID_OPTION);
static_assert(code_of(Errc::kNotADatabase) == VMCACHE_NOT_A_DATABASE);
static_assert(code_of(Errc::kUncleanShutdown) == VMCACHE_UNCLEAN_SHUTDOWN);
static_assert(code_of(Errc::kInUse) == VMCACHE_IN_USE);
static_assert(code_of(Errc::kIo) == VMCACHE_IO);
static_assert(code_of(Errc::kPoolExhausted) == VMCACHE_POOL_EXHAUSTED);
static_assert(code_of(Errc::kDatabaseFull) == VMCACHE_DATABASE_FULL);
static_assert(code_of(Errc::kOutOfMemory) == VMCACHE_OUT_OF_MEMORY);
static_assert(code_of(Errc::kUnsupported) == VMCACHE_UNSUPPORTED);
static_assert(code_of(Errc::kInvalidPage) == VMCACHE_INVALID_PAGE);
static_assert(code_of(Errc::kTooLarge) == VMCACHE_TOO_LARGE);
static_assert(code_of(Errc::kCorrupt) == VMCACHE_CORRUPT);
static_assert(code_of(Errc::kBusy) == VMCACHE_BUSY);
static_assert(code_of(Errc::kChecksum) == VMCACHE_CHECKSUM);
static_assert(code_of(Errc::kWrongPage) == VMCACHE_WRONG_PAGE);
static_assert(code_of(Errc::kLostWrite) == VMCACHE_LOST_WRITE);
static_assert(code_of(Errc::kBeyondLog) == VMCACHE_BEYOND_LOG);
static_assert(code_of(Errc::kMismatch) == VMCACHE_MISMATCH);
static_assert(code_of(Errc::kConflict) == VMCACHE_CONFLICT);
static_assert(code_of(Errc::kClosed) == VMCACHE_CLOSED);
static_assert(code_of(Errc::kWrongProcess) == VMCACHE_WRONG_PROCESS);
static_assert(code_of(Errc::kWrongThread) == VMCACHE_WRONG_THREAD);
static_assert(code_of(Errc::kReadOnly) == VMCACHE_READ_ONLY);
static_assert(code_of(Errc::kTimedOut) == VMCACHE_TIMED_OUT);
static_assert(code_of(Errc::kCancelled) == VMCACHE_CANCELLED);

struct LastFailure {
  Status status;
  int code = VMCACHE_OK;
  const char* text = "";
  std::array<char, 512> buffer{};
};
constinit thread_local LastFailure last;

void keep(int code, const Status& status) noexcept {
  last.status = status;
  last.code = code;
  last.text = last.buffer.data();
}

int keep_text(int code, const Status& status, const char* call, const char* what) noexcept {
  std::snprintf(last.buffer.data(), last.buffer.size(), "%s: %s", call, what);
  keep(code, status);
  return code;
}

}  // namespace

int fail(int code, const char* format, ...) noexcept {
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(last.buffer.data(), last.buffer.size(), format, arguments);
  va_end(arguments);
  keep(code, {});
  return code;
}

int fail_size(const char* call, const char* argument, std::size_t size,
              std::size_t allowed) noexcept {
  return fail(VMCACHE_INVALID_OPTION, "%s: %s->size is %zu: libvmcache %s allows %zu", call,
              argument, size, VMCACHE_VERSION, allowed);
}

int answer(int code, const char* text) noexcept {
  last.status = {};
  last.code = code;
  last.text = text;
  return code;
}

int fail_with_exception(const char* call) noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return keep_text(code_of(error.code()), error.status(), call, error.what());
  } catch (const std::bad_alloc&) {
    return keep_text(VMCACHE_OUT_OF_MEMORY, {}, call, "out of memory");
  } catch (const std::exception& error) {
    return keep_text(VMCACHE_INTERNAL, {}, call, error.what());
  } catch (...) {
    return keep_text(VMCACHE_INTERNAL, {}, call, "an exception of an unknown type");
  }
}

}  // namespace vmcache::capi

using vmcache::capi::last;

const char* vmcache_last_message(void) {
  return last.text;
}

int vmcache_last_failure(struct vmcache_failure* failure) {
  struct vmcache_failure all {};
  all.code = last.code;
  all.os_error = last.status.os_error;
  all.page_id = last.status.page_id;
  all.device_status = last.status.device_status;
  all.expected = last.status.expected;
  all.found = last.status.found;
  return vmcache::capi::give_struct("vmcache_last_failure", "failure", all, failure);
}

const char* vmcache_error_name(int code) {
  switch (code) {
#define VMCACHE_NAME(name) \
  case name:               \
    return #name;
    VMCACHE_NAME(VMCACHE_OK)
    VMCACHE_NAME(VMCACHE_INVALID_OPTION)
    VMCACHE_NAME(VMCACHE_NOT_A_DATABASE)
    VMCACHE_NAME(VMCACHE_UNCLEAN_SHUTDOWN)
    VMCACHE_NAME(VMCACHE_IN_USE)
    VMCACHE_NAME(VMCACHE_IO)
    VMCACHE_NAME(VMCACHE_POOL_EXHAUSTED)
    VMCACHE_NAME(VMCACHE_DATABASE_FULL)
    VMCACHE_NAME(VMCACHE_OUT_OF_MEMORY)
    VMCACHE_NAME(VMCACHE_UNSUPPORTED)
    VMCACHE_NAME(VMCACHE_INVALID_PAGE)
    VMCACHE_NAME(VMCACHE_TOO_LARGE)
    VMCACHE_NAME(VMCACHE_CORRUPT)
    VMCACHE_NAME(VMCACHE_BUSY)
    VMCACHE_NAME(VMCACHE_CHECKSUM)
    VMCACHE_NAME(VMCACHE_WRONG_PAGE)
    VMCACHE_NAME(VMCACHE_LOST_WRITE)
    VMCACHE_NAME(VMCACHE_BEYOND_LOG)
    VMCACHE_NAME(VMCACHE_MISMATCH)
    VMCACHE_NAME(VMCACHE_CONFLICT)
    VMCACHE_NAME(VMCACHE_CLOSED)
    VMCACHE_NAME(VMCACHE_WRONG_PROCESS)
    VMCACHE_NAME(VMCACHE_WRONG_THREAD)
    VMCACHE_NAME(VMCACHE_READ_ONLY)
    VMCACHE_NAME(VMCACHE_TIMED_OUT)
    VMCACHE_NAME(VMCACHE_CANCELLED)
    VMCACHE_NAME(VMCACHE_NOT_FOUND)
    VMCACHE_NAME(VMCACHE_EXISTS)
    VMCACHE_NAME(VMCACHE_CHANGED)
    VMCACHE_NAME(VMCACHE_MISS)
    VMCACHE_NAME(VMCACHE_INTERNAL)
#undef VMCACHE_NAME
    default:
      return "unknown";
  }
}

const char* vmcache_version(void) {
  return VMCACHE_VERSION;
}

// SPDX-License-Identifier: MIT
//
// sqlite3_vfs: all but main database files is the default VFS's.
#include "vfs.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>

#include "api.hpp"
#include "connection.hpp"
#include "registry.hpp"
#include "report.hpp"
#include "vmcache_sqlite.h"

namespace vmcache::sqlite {
namespace {

sqlite3_vfs* base_of(sqlite3_vfs* vfs) noexcept {
  return static_cast<sqlite3_vfs*>(vfs->pAppData);
}

int open_with_base(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                   int* out_flags) noexcept {
  return base_of(vfs)->xOpen(base_of(vfs), name, file, flags, out_flags);
}

int open_database(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                  int* out_flags) {
  // Such a connection takes no locks, and without locks there is no shared cache.
  for (const char* unlocked : {"nolock", "immutable"}) {
    if (sqlite3_uri_boolean(name, unlocked, 0) == 0) continue;
    report(SQLITE_NOTICE, std::string(name) + ": " + unlocked + "=1: the default VFS opens it");
    return open_with_base(vfs, name, file, flags, out_flags);
  }
  std::shared_ptr<Database> database;
  int code = SQLITE_CANTOPEN;
  switch (Registry::here().open(name, flags, database, code)) {
    case OpenResult::kFailed:
      return code;
    case OpenResult::kReadOnly:
      report(SQLITE_NOTICE,
             std::string(name) + ": no permission to write: the default VFS opens it");
      return open_with_base(vfs, name, file, flags, out_flags);
    case OpenResult::kOpened:
      break;
  }
  const bool read_only = (flags & SQLITE_OPEN_READONLY) != 0;
  try {
    connect(file, database, read_only, sqlite3_uri_boolean(name, "psow", 1) != 0);
  } catch (...) {
    Registry::here().close(std::move(database));
    throw;
  }
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
         int* out_flags) noexcept {
  if ((flags & SQLITE_OPEN_MAIN_DB) == 0 || name == nullptr)
    return open_with_base(vfs, name, file, flags, out_flags);
  file->pMethods = nullptr;
  const int code = guarded(SQLITE_CANTOPEN, "opening", name,
                           [&] { return open_database(vfs, name, file, flags, out_flags); });
  return code == SQLITE_IOERR_NOMEM ? SQLITE_NOMEM : code;
}

// The rest is the default VFS's.

int remove(sqlite3_vfs* vfs, const char* name, int sync_folder) noexcept {
  return base_of(vfs)->xDelete(base_of(vfs), name, sync_folder);
}
int access(sqlite3_vfs* vfs, const char* name, int flags, int* result) noexcept {
  return base_of(vfs)->xAccess(base_of(vfs), name, flags, result);
}
int full_path_name(sqlite3_vfs* vfs, const char* name, int bytes, char* path) noexcept {
  return base_of(vfs)->xFullPathname(base_of(vfs), name, bytes, path);
}
void* dl_open(sqlite3_vfs* vfs, const char* name) noexcept {
  return base_of(vfs)->xDlOpen(base_of(vfs), name);
}
void dl_error(sqlite3_vfs* vfs, int bytes, char* message) noexcept {
  base_of(vfs)->xDlError(base_of(vfs), bytes, message);
}
using Symbol = void (*)();
Symbol dl_sym(sqlite3_vfs* vfs, void* library, const char* name) noexcept {
  return base_of(vfs)->xDlSym(base_of(vfs), library, name);
}
void dl_close(sqlite3_vfs* vfs, void* library) noexcept {
  base_of(vfs)->xDlClose(base_of(vfs), library);
}
int randomness(sqlite3_vfs* vfs, int bytes, char* to) noexcept {
  return base_of(vfs)->xRandomness(base_of(vfs), bytes, to);
}
int sleep(sqlite3_vfs* vfs, int microseconds) noexcept {
  return base_of(vfs)->xSleep(base_of(vfs), microseconds);
}
int current_time(sqlite3_vfs* vfs, double* time) noexcept {
  return base_of(vfs)->xCurrentTime(base_of(vfs), time);
}
int last_error(sqlite3_vfs* vfs, int bytes, char* message) noexcept {
  return base_of(vfs)->xGetLastError(base_of(vfs), bytes, message);
}
int current_time_int64(sqlite3_vfs* vfs, sqlite3_int64* time) noexcept {
  sqlite3_vfs* const base = base_of(vfs);
  if (base->iVersion >= 2 && base->xCurrentTimeInt64 != nullptr)
    return base->xCurrentTimeInt64(base, time);
  constexpr double kMsPerDay = 86'400'000.0;
  double days = 0;
  const int code = base->xCurrentTime(base, &days);
  *time = static_cast<sqlite3_int64>(days * kMsPerDay);
  return code;
}
int set_system_call(sqlite3_vfs* vfs, const char* name, sqlite3_syscall_ptr call) noexcept {
  sqlite3_vfs* const base = base_of(vfs);
  return base->iVersion >= 3 ? base->xSetSystemCall(base, name, call) : SQLITE_NOTFOUND;
}
sqlite3_syscall_ptr get_system_call(sqlite3_vfs* vfs, const char* name) noexcept {
  sqlite3_vfs* const base = base_of(vfs);
  return base->iVersion >= 3 ? base->xGetSystemCall(base, name) : nullptr;
}
const char* next_system_call(sqlite3_vfs* vfs, const char* name) noexcept {
  sqlite3_vfs* const base = base_of(vfs);
  return base->iVersion >= 3 ? base->xNextSystemCall(base, name) : nullptr;
}

sqlite3_vfs make_vfs(sqlite3_vfs* base) noexcept {
  sqlite3_vfs vfs{};
  vfs.iVersion = 3;
  vfs.szOsFile = std::max(base->szOsFile, static_cast<int>(sizeof(ConnectionFile)));
  vfs.mxPathname = base->mxPathname;
  vfs.zName = kVfsName;
  vfs.pAppData = base;
  vfs.xOpen = open;
  vfs.xDelete = remove;
  vfs.xAccess = access;
  vfs.xFullPathname = full_path_name;
  vfs.xDlOpen = dl_open;
  vfs.xDlError = dl_error;
  vfs.xDlSym = dl_sym;
  vfs.xDlClose = dl_close;
  vfs.xRandomness = randomness;
  vfs.xSleep = sleep;
  vfs.xCurrentTime = current_time;
  vfs.xGetLastError = last_error;
  vfs.xCurrentTimeInt64 = current_time_int64;
  vfs.xSetSystemCall = set_system_call;
  vfs.xGetSystemCall = get_system_call;
  vfs.xNextSystemCall = next_system_call;
  return vfs;
}

}  // namespace
}  // namespace vmcache::sqlite

extern "C" __attribute__((visibility("default"))) int vmcache_sqlite_register(int make_default) {
  using namespace vmcache::sqlite;
  static std::mutex mutex;
  static sqlite3_vfs vfs;
  const std::lock_guard lock(mutex);
  if (vfs.pAppData == nullptr) {
    sqlite3_vfs* const base = sqlite3_vfs_find(nullptr);
    if (base == nullptr) return SQLITE_ERROR;
    vfs = make_vfs(base);
  }
  return sqlite3_vfs_register(&vfs, make_default);
}

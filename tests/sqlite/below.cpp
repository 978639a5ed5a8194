// SPDX-License-Identifier: MIT
//
// The VFS below ours: SQLite's own, which also records journals and WALs and calls a hook.
#include "sqlite/below.hpp"

#include <cstddef>
#include <functional>
#include <string>
#include <utility>

#include "sqlite/recording.hpp"

namespace vmcache::test {
namespace {

std::function<void(const std::string&)> delete_hook;
sqlite3_vfs* stock = nullptr;

//! A journal or a WAL. SQLite's own file lies behind it.
struct Recorded {
  sqlite3_file base;
  std::string* path;

  [[nodiscard]] sqlite3_file* real() noexcept { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

Recorded& recorded(sqlite3_file* file) {
  return *reinterpret_cast<Recorded*>(file);
}
sqlite3_file* real(sqlite3_file* file) {
  return recorded(file).real();
}

int close(sqlite3_file* file) {
  delete std::exchange(recorded(file).path, nullptr);
  return real(file)->pMethods->xClose(real(file));
}
int read(sqlite3_file* file, void* to, int bytes, sqlite3_int64 offset) {
  return real(file)->pMethods->xRead(real(file), to, bytes, offset);
}
int write(sqlite3_file* file, const void* from, int bytes, sqlite3_int64 offset) {
  record(Event::Kind::kWrite, *recorded(file).path, static_cast<std::uint64_t>(offset),
         {static_cast<const char*>(from), static_cast<std::size_t>(bytes)});
  return real(file)->pMethods->xWrite(real(file), from, bytes, offset);
}
int truncate(sqlite3_file* file, sqlite3_int64 bytes) {
  record(Event::Kind::kResize, *recorded(file).path, static_cast<std::uint64_t>(bytes));
  return real(file)->pMethods->xTruncate(real(file), bytes);
}
int sync(sqlite3_file* file, int flags) {
  const int code = real(file)->pMethods->xSync(real(file), flags);
  record(Event::Kind::kSync, *recorded(file).path);
  return code;
}
int file_size(sqlite3_file* file, sqlite3_int64* bytes) {
  return real(file)->pMethods->xFileSize(real(file), bytes);
}
int lock(sqlite3_file* file, int level) {
  return real(file)->pMethods->xLock(real(file), level);
}
int unlock(sqlite3_file* file, int level) {
  return real(file)->pMethods->xUnlock(real(file), level);
}
int check_reserved_lock(sqlite3_file* file, int* result) {
  return real(file)->pMethods->xCheckReservedLock(real(file), result);
}
int file_control(sqlite3_file* file, int operation, void* argument) {
  return real(file)->pMethods->xFileControl(real(file), operation, argument);
}
int sector_size(sqlite3_file* file) {
  return real(file)->pMethods->xSectorSize(real(file));
}
int device_characteristics(sqlite3_file* file) {
  return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

constexpr sqlite3_io_methods kRecorded{
    1,
    close,
    read,
    write,
    truncate,
    sync,
    file_size,
    lock,
    unlock,
    check_reserved_lock,
    file_control,
    sector_size,
    device_characteristics,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

int open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  constexpr int kOrdered = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
  if ((flags & kOrdered) == 0 || name == nullptr)
    return stock->xOpen(stock, name, file, flags, out_flags);
  file->pMethods = nullptr;
  const int code = stock->xOpen(stock, name, real(file), flags, out_flags);
  if (code != SQLITE_OK) return code;
  recorded(file).path = new std::string(name);
  file->pMethods = &kRecorded;
  return SQLITE_OK;
}

int remove(sqlite3_vfs*, const char* path, int sync_folder) {
  if (delete_hook) delete_hook(path);
  const int code = stock->xDelete(stock, path, sync_folder);
  record(Event::Kind::kDelete, path);
  return code;
}

}  // namespace

void before_delete(std::function<void(const std::string&)> hook) {
  delete_hook = std::move(hook);
}

int register_below() {
  static sqlite3_vfs below{};
  stock = sqlite3_vfs_find(nullptr);
  below = *stock;
  below.zName = "below";
  below.pNext = nullptr;
  below.szOsFile = static_cast<int>(sizeof(Recorded)) + stock->szOsFile;
  below.xOpen = open;
  below.xDelete = remove;
  return sqlite3_vfs_register(&below, 1);
}

}  // namespace vmcache::test

// SPDX-License-Identifier: MIT
#include "connection.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "registry.hpp"
#include "report.hpp"
#include "simulated_errors.hpp"
#include "vfs.hpp"

namespace vmcache::sqlite {
namespace {

//! What xFetch has given out and xUnfetch has not taken back. A handful at a time: the pages of a
//! statement's cursors.
class Fetched {
 public:
  void add(std::uint64_t offset, PagePins pins) { _pages.push_back({offset, std::move(pins)}); }
  //! One of those at this offset. The last ones are taken back first, as a rule.
  void remove(std::uint64_t offset) noexcept {
    const auto found = std::find_if(_pages.rbegin(), _pages.rend(),
                                    [&](const Page& page) { return page.offset == offset; });
    if (found == _pages.rend()) return;
    if (found != _pages.rbegin()) std::swap(*found, _pages.back());
    _pages.pop_back();
  }
  [[nodiscard]] bool empty() const noexcept { return _pages.empty(); }

 private:
  struct Page {
    std::uint64_t offset;
    PagePins pins;
  };
  std::vector<Page> _pages;
};

}  // namespace

//! Used by one thread at a time, as all that belongs to one connection of SQLite.
class Connection {
 public:
  Connection(std::shared_ptr<Database> shared, bool is_read_only, bool psow) noexcept
      : database(std::move(shared)), read_only(is_read_only), powersafe_overwrite(psow) {}

  //! A length for the file that is at least `bytes`.
  [[nodiscard]] std::uint64_t in_chunks(std::int64_t bytes) const noexcept {
    if (chunk_bytes > 0) bytes = (bytes + chunk_bytes - 1) / chunk_bytes * chunk_bytes;
    return static_cast<std::uint64_t>(bytes);
  }
  [[nodiscard]] bool here() const noexcept { return _process == process_number(); }

  std::shared_ptr<Database> database;
  Database::Holder holder;
  SharedMemory::Member shared_memory;
  Fetched fetched;
  std::int64_t mmap_limit = 0;
  const bool read_only;
  std::int64_t chunk_bytes = 0;  // the file grows in multiples of it, unless it is 0
  bool persist_wal = false;
  bool powersafe_overwrite;

 private:
  const unsigned _process = process_number();
};

namespace {

Connection& connection_of(sqlite3_file* file) noexcept {
  return *reinterpret_cast<ConnectionFile*>(file)->connection;
}

//! In a child of fork() nothing may be done with the parent's connections.
int refuse_in_child(const Connection& connection, int code) noexcept {
  return guarded(code, "using", connection.database->path(), [&] {
    return report(code, connection.database->path() +
                            ": the connection belongs to the process that has opened it, and "
                            "this is a fork of that process");
  });
}

int close(sqlite3_file* file) noexcept {
  Connection* const connection =
      std::exchange(reinterpret_cast<ConnectionFile*>(file)->connection, nullptr);
  file->pMethods = nullptr;
  // The pool and the locks are the parent's: this copy of the connection is left as it is.
  if (!connection->here()) return SQLITE_OK;
  simulated::count_open(-1);
  connection->fetched = {};
  connection->database->shared_memory().leave(connection->shared_memory);
  const int code = connection->database->unlock(connection->holder, kNone);
  Registry::here().close(std::move(connection->database));
  delete connection;
  return code;
}

int read(sqlite3_file* file, void* to, int bytes, sqlite3_int64 offset) noexcept {
  Connection& connection = connection_of(file);
  if (!connection.here()) [[unlikely]]
    return refuse_in_child(connection, SQLITE_IOERR_READ);
  if (simulated::io_error()) return SQLITE_IOERR_READ;
  return connection.database->read(connection.holder,
                                   {static_cast<std::byte*>(to), static_cast<std::size_t>(bytes)},
                                   static_cast<std::uint64_t>(offset));
}

int write(sqlite3_file* file, const void* from, int bytes, sqlite3_int64 offset) noexcept {
  Connection& connection = connection_of(file);
  if (!connection.here()) [[unlikely]]
    return refuse_in_child(connection, SQLITE_IOERR_WRITE);
  if (connection.read_only) return SQLITE_READONLY;
  if (simulated::io_error()) return SQLITE_IOERR_WRITE;
  if (simulated::disk_full()) return SQLITE_FULL;
  return connection.database->write(
      connection.holder, {static_cast<const std::byte*>(from), static_cast<std::size_t>(bytes)},
      static_cast<std::uint64_t>(offset));
}

int truncate(sqlite3_file* file, sqlite3_int64 bytes) noexcept {
  Connection& connection = connection_of(file);
  if (!connection.here()) return refuse_in_child(connection, SQLITE_IOERR_TRUNCATE);
  if (connection.read_only) return SQLITE_READONLY;
  if (simulated::io_error()) return SQLITE_IOERR_TRUNCATE;
  return connection.database->truncate(connection.holder, connection.in_chunks(bytes));
}

int sync(sqlite3_file* file, int flags) noexcept {
  Connection& connection = connection_of(file);
  if (!connection.here()) return refuse_in_child(connection, SQLITE_IOERR_FSYNC);
  if (simulated::disk_full()) return SQLITE_FULL;
  simulated::count_sync((flags & 0x0F) == SQLITE_SYNC_FULL);
  const int code = connection.database->sync(connection.holder);
  if (code == SQLITE_OK && simulated::io_error()) return SQLITE_IOERR_FSYNC;
  return code;
}

int file_size(sqlite3_file* file, sqlite3_int64* bytes) noexcept {
  Connection& connection = connection_of(file);
  if (!connection.here()) return refuse_in_child(connection, SQLITE_IOERR_FSTAT);
  if (simulated::io_error()) return SQLITE_IOERR_FSTAT;
  std::uint64_t found = 0;
  const int code = connection.database->size(connection.holder, found);
  *bytes = static_cast<sqlite3_int64>(found);
  return code;
}

int lock(sqlite3_file* file, int level) noexcept {
  Connection& connection = connection_of(file);
  if (!connection.here()) return refuse_in_child(connection, SQLITE_IOERR_LOCK);
  return connection.database->lock(connection.holder, level);
}

int unlock(sqlite3_file* file, int level) noexcept {
  Connection& connection = connection_of(file);
  if (!connection.here()) return refuse_in_child(connection, SQLITE_IOERR_UNLOCK);
  return connection.database->unlock(connection.holder, level);
}

int check_reserved_lock(sqlite3_file* file, int* reserved) noexcept {
  Connection& connection = connection_of(file);
  if (!connection.here()) return refuse_in_child(connection, SQLITE_IOERR_CHECKRESERVEDLOCK);
  if (simulated::io_error()) return SQLITE_IOERR_CHECKRESERVEDLOCK;
  *reserved = connection.database->reserved() ? 1 : 0;
  return SQLITE_OK;
}

//! A mode that SQLite sets (0, 1) or asks for (negative; the answer comes back).
void set_or_tell(bool& mode, int* value) noexcept {
  if (*value < 0) {
    *value = mode ? 1 : 0;
  } else {
    mode = *value != 0;
  }
}

//! SQLITE_MAX_MMAP_SIZE of SQLite's default build.
constexpr sqlite3_int64 kMaxMmapSize = 0x7fff0000;

int set_mmap_limit(Connection& connection, sqlite3_int64* limit) noexcept {
  const sqlite3_int64 before = connection.mmap_limit;
  // Not while SQLite holds what xFetch gave out: its own VFS does the same.
  if (*limit >= 0 && connection.fetched.empty())
    connection.mmap_limit = std::min(*limit, kMaxMmapSize);
  *limit = before;
  return SQLITE_OK;
}

int size_hint(Connection& connection, sqlite3_int64 bytes) noexcept {
  if (connection.read_only || bytes <= 0) return SQLITE_OK;
  // Not a hard error for SQLite's tests.
  simulated::set_benign(true);
  const bool fails = simulated::io_error();
  simulated::set_benign(false);
  if (fails) return SQLITE_IOERR_TRUNCATE;
  return connection.database->grow(connection.holder, connection.in_chunks(bytes));
}

int file_control(sqlite3_file* file, int operation, void* argument) noexcept {
  Connection& connection = connection_of(file);
  if (!connection.here()) return refuse_in_child(connection, SQLITE_IOERR);
  switch (operation) {
    case SQLITE_FCNTL_LOCKSTATE:
      *static_cast<int*>(argument) = connection.holder.level;
      return SQLITE_OK;
    case SQLITE_FCNTL_LAST_ERRNO:
      *static_cast<int*>(argument) = 0;
      return SQLITE_OK;
    case SQLITE_FCNTL_CHUNK_SIZE:
      connection.chunk_bytes = *static_cast<int*>(argument);
      return SQLITE_OK;
    case SQLITE_FCNTL_SIZE_HINT:
      return size_hint(connection, *static_cast<sqlite3_int64*>(argument));
    case SQLITE_FCNTL_PERSIST_WAL:
      set_or_tell(connection.persist_wal, static_cast<int*>(argument));
      return SQLITE_OK;
    case SQLITE_FCNTL_POWERSAFE_OVERWRITE:
      set_or_tell(connection.powersafe_overwrite, static_cast<int*>(argument));
      return SQLITE_OK;
    case SQLITE_FCNTL_VFSNAME:
      *static_cast<char**>(argument) = sqlite3_mprintf("%s", kVfsName);
      return SQLITE_OK;
    case SQLITE_FCNTL_HAS_MOVED:
      *static_cast<int*>(argument) = connection.database->moved() ? 1 : 0;
      return SQLITE_OK;
    case SQLITE_FCNTL_MMAP_SIZE:
      return set_mmap_limit(connection, static_cast<sqlite3_int64*>(argument));
    case SQLITE_FCNTL_SYNC:  // B3
    case SQLITE_FCNTL_CKPT_DONE:
      return connection.database->write_back(connection.holder);
    case SQLITE_FCNTL_EXTERNAL_READER:
      *static_cast<int*>(argument) = 0;  // no other process reads
      return SQLITE_OK;
    default:
      return SQLITE_NOTFOUND;
  }
}

int sector_size(sqlite3_file*) noexcept {
  return 4096;
}

int device_characteristics(sqlite3_file* file) noexcept {
  return connection_of(file).powersafe_overwrite ? SQLITE_IOCAP_POWERSAFE_OVERWRITE : 0;
}

int shm_map(sqlite3_file* file, int region, int bytes, int extend, void volatile** data) noexcept {
  Connection& connection = connection_of(file);
  *data = nullptr;
  if (!connection.here()) return refuse_in_child(connection, SQLITE_IOERR_SHMMAP);
  return guarded(SQLITE_IOERR_SHMMAP, "shared memory of", connection.database->path(), [&] {
    *data = connection.database->shared_memory().map(connection.shared_memory,
                                                     static_cast<std::size_t>(region),
                                                     static_cast<std::size_t>(bytes), extend != 0);
    return SQLITE_OK;
  });
}

int shm_lock(sqlite3_file* file, int first, int count, int flags) noexcept {
  Connection& connection = connection_of(file);
  if (!connection.here()) return refuse_in_child(connection, SQLITE_IOERR_SHMLOCK);
  return connection.database->shared_memory().lock(connection.shared_memory, first, count, flags);
}

void shm_barrier(sqlite3_file*) noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

int shm_unmap(sqlite3_file* file, int) noexcept {
  Connection& connection = connection_of(file);
  if (connection.here()) connection.database->shared_memory().leave(connection.shared_memory);
  return SQLITE_OK;
}

int fetch(sqlite3_file* file, sqlite3_int64 offset, int bytes, void** data) noexcept {
  Connection& connection = connection_of(file);
  *data = nullptr;
  // Who asks for as much as SQLite allows means all: address space is no bound here.
  const sqlite3_int64 limit = connection.mmap_limit;
  if (limit < kMaxMmapSize && offset + bytes > limit) return SQLITE_OK;
  if (!connection.here()) [[unlikely]]
    return refuse_in_child(connection, SQLITE_IOERR_READ);
  return guarded(SQLITE_IOERR_NOMEM, "reading", connection.database->path(), [&] {
    PagePins pins;
    const std::byte* found = nullptr;
    const auto at = static_cast<std::uint64_t>(offset);
    const int code = connection.database->fetch(connection.holder, at,
                                                static_cast<std::size_t>(bytes), pins, found);
    if (code != SQLITE_OK || found == nullptr) return code;
    connection.fetched.add(at, std::move(pins));
    *data = const_cast<std::byte*>(found);  // SQLite only reads it
    return SQLITE_OK;
  });
}

//! Without an address it says that another process has changed the file: none can.
int unfetch(sqlite3_file* file, sqlite3_int64 offset, void* data) noexcept {
  Connection& connection = connection_of(file);
  if (data != nullptr && connection.here())
    connection.fetched.remove(static_cast<std::uint64_t>(offset));
  return SQLITE_OK;
}

constexpr sqlite3_io_methods kMethods{
    3,
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
    shm_map,
    shm_lock,
    shm_barrier,
    shm_unmap,
    fetch,
    unfetch,
};

}  // namespace

void connect(sqlite3_file* file, std::shared_ptr<Database> database, bool read_only,
             bool powersafe_overwrite) {
  auto* const connected = reinterpret_cast<ConnectionFile*>(file);
  connected->connection = new Connection(std::move(database), read_only, powersafe_overwrite);
  connected->base.pMethods = &kMethods;
  simulated::count_open(1);
}

}  // namespace vmcache::sqlite

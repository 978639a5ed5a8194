// SPDX-License-Identifier: MIT
#include "registry.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "report.hpp"

namespace vmcache::sqlite {
namespace {

std::atomic<unsigned> forks{0};

std::string name_of(MemoryKind memory) {
  if (memory == MemoryKind::kExmap) return "exmap";
  return memory == MemoryKind::kAnonymous ? "anonymous" : "auto";
}

std::string name_of(StorageKind storage) {
  if (storage == StorageKind::kIoUring) return "io_uring";
  return storage == StorageKind::kPread ? "pread" : "auto";
}

//! Descriptors 0 to 2 are not used: what somebody prints must not get into a database.
int open_file(const char* name, int flags, mode_t mode) noexcept {
  constexpr int kLowest = 3;
  int fd = -1;
  do {
    fd = ::open(name, flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0 || fd >= kLowest) return fd;
  const int higher = ::fcntl(fd, F_DUPFD_CLOEXEC, kLowest);
  const int error = errno;
  ::close(fd);
  errno = error;
  return higher;
}

}  // namespace

unsigned process_number() noexcept {
  static const int registered = ::pthread_atfork(nullptr, nullptr, [] { ++forks; });
  (void)registered;
  return forks.load(std::memory_order_relaxed);
}

Registry& Registry::here() {
  struct OfProcess {
    unsigned process;
    Registry registry;
  };
  // That of before a fork is left alone: another thread may have held its mutex.
  static std::atomic<OfProcess*> current{nullptr};
  const unsigned process = process_number();
  OfProcess* found = current.load(std::memory_order_acquire);
  while (found == nullptr || found->process != process) {
    auto made = std::make_unique<OfProcess>();
    made->process = process;
    // Pairs with the loads above and, in another thread, here.
    if (current.compare_exchange_strong(found, made.get(), std::memory_order_acq_rel))
      found = made.release();
  }
  return found->registry;
}

PoolOptions Registry::options_of(const PoolSettings& settings) {
  PoolOptions options;
  options.pool_bytes = settings.mib << 20;
  options.files_bytes = settings.space_gib << 30;
  options.memory = settings.memory;
  options.storage = settings.storage;
  options.logger = [](LogLevel level, std::string_view line) {
    if (level == LogLevel::kInfo) return;
    report(level == LogLevel::kError ? SQLITE_ERROR : SQLITE_WARNING, std::string(line));
  };
  return options;
}

void Registry::refuse_conflict(const PoolSettings& wanted) const {
  const auto compare = [](const char* key, const std::string& asked, const std::string& found) {
    if (asked == found) return;
    throw std::invalid_argument(std::string("URI parameter ") + key + "=" + asked +
                                ": the pool of this process has " + found +
                                ", and databases are open in it");
  };
  compare("pool_mib", std::to_string(wanted.mib), std::to_string(_settings.mib));
  compare("pool_space_gib", std::to_string(wanted.space_gib), std::to_string(_settings.space_gib));
  compare("pool_memory", name_of(wanted.memory), name_of(_settings.memory));
  compare("pool_storage", name_of(wanted.storage), name_of(_settings.storage));
  throw std::invalid_argument("another pool");
}

BufferPool& Registry::pool_for(const Parameters& parameters) {
  PoolSettings wanted = _pool ? _settings : PoolSettings{};
  wanted.mib = parameters.pool_mib.value_or(wanted.mib);
  wanted.space_gib = parameters.pool_space_gib.value_or(wanted.space_gib);
  wanted.memory = parameters.pool_memory.value_or(wanted.memory);
  wanted.storage = parameters.pool_storage.value_or(wanted.storage);
  if (_pool && wanted == _settings) return *_pool;
  if (_pool && !_databases.empty()) refuse_conflict(wanted);
  _pool.reset();  // nobody uses it
  _pool = std::make_unique<BufferPool>(options_of(wanted));
  _settings = wanted;
  return *_pool;
}

std::shared_ptr<Database> Registry::join(Entry& entry, const Parameters& parameters) {
  entry.database->require_same(parameters);
  ++entry.connections;
  return entry.database;
}

OpenResult Registry::open(const char* name, int flags, std::shared_ptr<Database>& database,
                          int& code) {
  OpenResult result = OpenResult::kFailed;
  code = guarded(SQLITE_CANTOPEN, "opening", name, [&] {
    const Parameters parameters = parameters_of(name);
    const std::lock_guard lock(_mutex);
    BufferPool& pool = pool_for(parameters);
    struct stat info {};
    if (::stat(name, &info) == 0) {
      const auto found = _databases.find({info.st_dev, info.st_ino});
      if (found != _databases.end()) {
        database = join(found->second, parameters);
        result = OpenResult::kOpened;
        return SQLITE_OK;
      }
    }
    result = open_new(pool, name, flags, parameters, database);
    return SQLITE_OK;
  });
  if (code == SQLITE_IOERR_NOMEM) code = SQLITE_NOMEM;
  return code == SQLITE_OK ? result : OpenResult::kFailed;
}

OpenResult Registry::open_new(BufferPool& pool, const char* name, int flags,
                              const Parameters& parameters, std::shared_ptr<Database>& database) {
  constexpr mode_t kMode = 0644;  // SQLite's own
  int how = O_RDWR | O_NOFOLLOW;  // the name is one without links: xFullPathname has followed them
  if ((flags & SQLITE_OPEN_CREATE) != 0) how |= O_CREAT;
  if ((flags & SQLITE_OPEN_EXCLUSIVE) != 0) how |= O_EXCL;
  const int fd = open_file(name, how, kMode);
  if (fd < 0) {
    const int error = errno;
    if (error == EACCES || error == EPERM || error == EROFS) return OpenResult::kReadOnly;
    throw Error(Status{Errc::kIo, error, kNoPage}, "open");
  }
  struct Closer {
    int fd;
    ~Closer() {
      if (fd >= 0) ::close(fd);
    }
  } closer{fd};
  struct stat info {};
  if (::fstat(fd, &info) != 0) throw Error(Status{Errc::kIo, errno, kNoPage}, "fstat");
  if (!S_ISREG(info.st_mode)) throw std::invalid_argument("not a regular file");
  Entry& entry = _databases[{info.st_dev, info.st_ino}];
  try {
    if (!entry.database) {
      // Another name of a file that is open leads to it by now, or the file is new here.
      entry.database = std::make_shared<Database>(pool, name, fd, parameters);
      closer.fd = -1;
    }
    database = join(entry, parameters);
  } catch (...) {
    if (entry.connections == 0) _databases.erase({info.st_dev, info.st_ino});
    throw;
  }
  return OpenResult::kOpened;
}

void Registry::close(std::shared_ptr<Database> database) noexcept {
  const std::lock_guard lock(_mutex);
  for (auto entry = _databases.begin(); entry != _databases.end(); ++entry) {
    if (entry->second.database != database) continue;
    if (--entry->second.connections == 0) {
      database.reset();
      _databases.erase(entry);
    }
    return;
  }
}

}  // namespace vmcache::sqlite

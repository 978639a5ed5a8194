// SPDX-License-Identifier: MIT
//
// The pool and the open databases of this process.
//
// A child of fork() has copies of its parent's connections. They must do nothing: the pool, the
// descriptors' locks and the databases are the parent's. The child may open databases of its own,
// and gets a registry of its own for that.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "database.hpp"
#include "parameters.hpp"

namespace vmcache::sqlite {

//! Counts the forks that have led to this process. Differs in a child from what it was before.
[[nodiscard]] unsigned process_number() noexcept;

enum class OpenResult : std::uint8_t {
  kOpened,
  kReadOnly,  //!< this process may read the file, not write it
  kFailed,
};

//! Thread-safe.
class Registry {
 public:
  //! This process's. Never goes: connections may still be open when the process ends. Throws
  //! std::bad_alloc.
  [[nodiscard]] static Registry& here();

  //! Opens the file, or joins those that have it open. `flags` are those of xOpen. `code` is why it
  //! failed (reported). Throws std::bad_alloc.
  [[nodiscard]] OpenResult open(const char* name, int flags, std::shared_ptr<Database>& database,
                                int& code);
  //! Gives back what open() gave. The last one closes the file.
  void close(std::shared_ptr<Database> database) noexcept;

 private:
  struct PoolSettings {
    std::uint64_t mib = Parameters::kDefaultPoolMib;
    std::uint64_t space_gib = Parameters::kDefaultSpaceGib;
    MemoryKind memory = MemoryKind::kAuto;
    StorageKind storage = StorageKind::kAuto;
    [[nodiscard]] bool operator==(const PoolSettings&) const = default;
  };
  using FileId = std::pair<dev_t, ino_t>;
  struct Entry {
    std::shared_ptr<Database> database;
    unsigned connections = 0;
  };

  [[nodiscard]] static PoolOptions options_of(const PoolSettings& settings);
  //! Throws std::invalid_argument with the first setting that the pool has another value of.
  [[noreturn]] void refuse_conflict(const PoolSettings& wanted) const;
  [[nodiscard]] BufferPool& pool_for(const Parameters& parameters);
  [[nodiscard]] std::shared_ptr<Database> join(Entry& entry, const Parameters& parameters);
  [[nodiscard]] OpenResult open_new(BufferPool& pool, const char* name, int flags,
                                    const Parameters& parameters,
                                    std::shared_ptr<Database>& database);

  std::mutex _mutex;
  std::unique_ptr<BufferPool> _pool;  // stays when the last database is closed
  PoolSettings _settings;
  std::map<FileId, Entry> _databases;
};

}  // namespace vmcache::sqlite

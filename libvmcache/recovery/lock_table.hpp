// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>
#include <vector>

#include "vmcache/btree/bytes.hpp"

namespace vmcache {

//! Who has locked which key. Keys are known by a 64-bit hash: two of the same hash are one lock. Thread-safe.
class LockTable {
 public:
  [[nodiscard]] static std::uint64_t hash_of(unsigned tree, Bytes key) noexcept {
    const std::uint64_t hash = std::hash<std::string_view>{}(key.view());
    return (hash ^ tree) * 0x9e3779b97f4a7c15;
  }

  enum class Result : std::uint8_t { kTaken, kHadIt, kConflict };
  //! Throws std::bad_alloc, and then has not locked it.
  [[nodiscard]] Result lock(std::uint64_t hash, const void* owner) {
    Shard& shard = shard_of(hash);
    const std::lock_guard guard(shard.mutex);
    return shard.lock(hash, owner);
  }
  //! What lock() has taken.
  void unlock(std::uint64_t hash) noexcept {
    Shard& shard = shard_of(hash);
    const std::lock_guard guard(shard.mutex);
    shard.unlock(hash);
  }

 private:
  //! Open addressing with linear probing, at most half full, so that probes are short and locking allocates nothing.
  struct alignas(64) Shard {
    struct Entry {
      std::uint64_t hash = 0;
      const void* owner = nullptr;  // null: empty
    };
    std::mutex mutex;
    std::vector<Entry> entries = std::vector<Entry>(16);  // a power of two
    std::size_t used = 0;

    [[nodiscard]] std::size_t next(std::size_t n) const noexcept { return (n + 1) & (entries.size() - 1); }
    //! The hash's entry, or the empty one where it belongs.
    [[nodiscard]] std::size_t find(std::uint64_t hash) const noexcept {
      std::size_t n = hash & (entries.size() - 1);
      while (entries[n].owner != nullptr && entries[n].hash != hash) n = next(n);
      return n;
    }
    Result lock(std::uint64_t hash, const void* owner) {
      std::size_t n = find(hash);
      if (entries[n].owner != nullptr) return entries[n].owner == owner ? Result::kHadIt : Result::kConflict;
      if (2 * (used + 1) > entries.size()) {
        grow();
        n = find(hash);
      }
      entries[n] = {hash, owner};
      ++used;
      return Result::kTaken;
    }
    void grow() {
      std::vector<Entry> before(2 * entries.size());
      before.swap(entries);
      for (const Entry& entry : before) {
        if (entry.owner != nullptr) entries[find(entry.hash)] = entry;
      }
    }
    void unlock(std::uint64_t hash) noexcept {
      std::size_t hole = find(hash);
      // What stands behind the hole and does not belong there moves up, so that probing never has to look past holes.
      for (std::size_t n = next(hole); entries[n].owner != nullptr; n = next(n)) {
        const std::size_t home = entries[n].hash & (entries.size() - 1);
        if (((n - home) & (entries.size() - 1)) < ((n - hole) & (entries.size() - 1))) continue;
        entries[hole] = entries[n];
        hole = n;
      }
      entries[hole] = {};
      --used;
    }
  };
  [[nodiscard]] Shard& shard_of(std::uint64_t hash) noexcept { return _shards[hash >> 58]; }

  std::array<Shard, 64> _shards;
};

}  // namespace vmcache

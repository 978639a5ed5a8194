// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "vmcache/btree/bytes.hpp"

namespace vmcache {

//! Who has locked which key. Keys are known by a 64-bit hash: two of the same hash are one lock.
class LockTable {
 public:
  [[nodiscard]] static std::uint64_t hash_of(unsigned tree, Bytes key) noexcept {
    const std::uint64_t hash = std::hash<std::string_view>{}(key.view());
    return (hash ^ tree) * 0x9e3779b97f4a7c15;
  }

  enum class Result : std::uint8_t { kTaken, kHadIt, kConflict };
  [[nodiscard]] Result lock(std::uint64_t hash, const void* owner) {
    Shard& shard = shard_of(hash);
    const std::lock_guard guard(shard.mutex);
    const auto [entry, taken] = shard.owners.try_emplace(hash, owner);
    if (taken) return Result::kTaken;
    return entry->second == owner ? Result::kHadIt : Result::kConflict;
  }
  void unlock(std::uint64_t hash) noexcept {
    Shard& shard = shard_of(hash);
    const std::lock_guard guard(shard.mutex);
    shard.owners.erase(hash);
  }

 private:
  struct alignas(64) Shard {
    std::mutex mutex;
    std::unordered_map<std::uint64_t, const void*> owners;
  };
  [[nodiscard]] Shard& shard_of(std::uint64_t hash) noexcept { return _shards[hash >> 58]; }

  std::array<Shard, 64> _shards;
};

}  // namespace vmcache

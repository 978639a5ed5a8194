// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "vmcache/btree/bytes.hpp"
#include "vmcache/processor.hpp"

namespace vmcache {

//! Who has locked which key. Keys are known by a 64-bit hash: two of the same hash are one lock. Thread-safe.
//!
//! A lock lies in the bucket of its hash, which is one cache line unless it is crowded: to lock a key that another thread had
//! locked last brings one line over from its core, and no more.
class LockTable {
 public:
  [[nodiscard]] static std::uint64_t hash_of(unsigned tree, Bytes key) noexcept {
    const std::uint64_t hash = std::hash<std::string_view>{}(key.view());
    return (hash ^ tree) * 0x9e3779b97f4a7c15;
  }

  enum class Result : std::uint8_t { kTaken, kHadIt, kConflict };
  //! Throws std::bad_alloc, and then has not locked it.
  [[nodiscard]] Result try_lock(std::uint64_t hash, const void* owner) {
    return bucket_of(hash).lock(hash, owner);
  }
  //! The same, but a conflict is tried again for about as long as another's commit takes, since to start a transaction over
  //! costs more; it is no wait that could end in a deadlock.
  [[nodiscard]] Result lock(std::uint64_t hash, const void* owner) {
    constexpr unsigned kTries = 64;
    for (unsigned tries = 1;; ++tries) {
      const Result result = try_lock(hash, owner);
      if (result != Result::kConflict || tries == kTries) return result;
      for (unsigned i = 0; i < tries; ++i) relax();
    }
  }
  //! lock() will follow.
  void prefetch(std::uint64_t hash) noexcept { prefetch_for_write(&bucket_of(hash)); }
  //! What lock() has taken.
  void unlock(std::uint64_t hash) noexcept { bucket_of(hash).unlock(hash); }

 private:
  static constexpr std::size_t kBuckets = 256;

  struct Entry {
    std::uint64_t hash = 0;
    const void* owner = nullptr;  // null: free
  };

  class alignas(64) Bucket {
   public:
    Result lock(std::uint64_t hash, const void* owner) {
      const std::lock_guard guard(*this);
      if (const Entry* held = find(hash)) return held->owner == owner ? Result::kHadIt : Result::kConflict;
      for (Entry& entry : _near) {
        if (entry.owner != nullptr) continue;
        entry = {hash, owner};
        return Result::kTaken;
      }
      if (!_more) _more = std::make_unique<std::vector<Entry>>();
      _more->push_back({hash, owner});
      return Result::kTaken;
    }
    void unlock(std::uint64_t hash) noexcept {
      const std::lock_guard guard(*this);
      Entry* held = find(hash);
      if (!_more || _more->empty()) {
        *held = {};
        return;
      }
      // What lies farther away moves up.
      *held = _more->back();
      _more->pop_back();
    }

    // BasicLockable, held for a few instructions.
    void lock() noexcept {
      for (unsigned tries = 0; _latch.test_and_set(std::memory_order_acquire); ++tries) {
        constexpr unsigned kSpins = 128;  // then its holder is probably not running
        tries < kSpins ? relax() : std::this_thread::yield();
      }
    }
    void unlock() noexcept { _latch.clear(std::memory_order_release); }

   private:
    [[nodiscard]] Entry* find(std::uint64_t hash) noexcept {
      for (Entry& entry : _near) {
        if (entry.owner != nullptr && entry.hash == hash) return &entry;
      }
      if (!_more) return nullptr;
      for (Entry& entry : *_more) {
        if (entry.hash == hash) return &entry;
      }
      return nullptr;
    }

    std::atomic_flag _latch;
    std::array<Entry, 3> _near;
    std::unique_ptr<std::vector<Entry>> _more;
  };
  static_assert(sizeof(Bucket) == 64);

  [[nodiscard]] Bucket& bucket_of(std::uint64_t hash) noexcept { return _buckets[hash >> 56]; }

  std::array<Bucket, kBuckets> _buckets;
};

}  // namespace vmcache

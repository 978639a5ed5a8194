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

#include "vmcache/bytes.hpp"
#include "vmcache/detail/processor.hpp"

namespace vmcache {

//! A transaction, as the holder of locks.
struct LockOwner {
  //! The end of its commit record while that is in the log and the locks are not released yet;
  //! otherwise 0. Readers of a locked key look at it (docs/recovery.md, R13).
  std::atomic<std::uint64_t> applying{0};
  //! Its commit is in the log and will not be applied as a whole, so its keys stay locked. Used
  //! only by the owner's thread.
  bool half_made = false;
};

//! Knows who has locked which key. A key is represented by a 64-bit hash, so two keys with the same
//! hash share a lock. Thread-safe.
//!
//! A lock lies in the bucket of its hash. A bucket is one cache line unless it holds many locks. So
//! locking a key that another core has locked last moves one cache line.
class LockTable {
 public:
  [[nodiscard]] static std::uint64_t hash_of(unsigned tree, Bytes key) noexcept {
    const std::uint64_t hash = std::hash<std::string_view>{}(key.view());
    return (hash ^ tree) * 0x9e3779b97f4a7c15;
  }

  enum class Result : std::uint8_t { kTaken, kHadIt, kConflict };
  //! Locks a key for `owner`. Throws std::bad_alloc, and has then not locked it.
  [[nodiscard]] Result try_lock(std::uint64_t hash, const LockOwner* owner) {
    return bucket_of(hash).lock(hash, owner);
  }
  //! Does the same, but tries again after a conflict for about as long as a commit takes, because
  //! starting a transaction over costs more. The time is bounded, so it cannot end in a deadlock.
  [[nodiscard]] Result lock(std::uint64_t hash, const LockOwner* owner) {
    constexpr unsigned kTries = 64;
    for (unsigned tries = 1;; ++tries) {
      const Result result = try_lock(hash, owner);
      if (result != Result::kConflict || tries == kTries) return result;
      for (unsigned i = 0; i < tries; ++i) relax();
    }
  }
  //! A hint that lock() will follow.
  void prefetch(std::uint64_t hash) noexcept { prefetch_for_write(&bucket_of(hash)); }
  //! Releases what lock() or try_lock() has taken.
  void unlock(std::uint64_t hash) noexcept { bucket_of(hash).unlock(hash); }
  //! Leaves a key locked for good, for a commit that will never be applied as a whole.
  void abandon(std::uint64_t hash) noexcept {
    static const LockOwner nobody{~std::uint64_t{0}, true};
    bucket_of(hash).abandon(hash, &nobody);
  }
  //! LockOwner::applying of the owner of the lock, or 0 if there is none.
  [[nodiscard]] std::uint64_t applying(std::uint64_t hash) noexcept {
    return bucket_of(hash).applying(hash);
  }

 private:
  static constexpr std::size_t kBuckets = 256;

  struct Entry {
    std::uint64_t hash = 0;
    const LockOwner* owner = nullptr;  // null: free
  };

  class alignas(64) Bucket {
   public:
    Result lock(std::uint64_t hash, const LockOwner* owner) {
      const std::lock_guard guard(*this);
      if (const Entry* held = find(hash))
        return held->owner == owner ? Result::kHadIt : Result::kConflict;
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
      // A lock of the vector moves into the cache line.
      *held = _more->back();
      _more->pop_back();
    }

    void abandon(std::uint64_t hash, const LockOwner* nobody) noexcept {
      const std::lock_guard guard(*this);
      find(hash)->owner = nobody;
    }
    std::uint64_t applying(std::uint64_t hash) noexcept {
      // The owner exists as long as its lock, and the latch keeps the lock.
      const std::lock_guard guard(*this);
      const Entry* const held = find(hash);
      return held != nullptr ? held->owner->applying.load(std::memory_order_acquire) : 0;
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

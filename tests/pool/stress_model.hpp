// SPDX-License-Identifier: MIT
//
// What the pool's stress test knows of the extents it owns, and its clients: one coroutine for
// tasks and for threads.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <random>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "vmcache/worker.hpp"

namespace vmcache::test {

//! An extent, or none, and the version of its bytes. `place` and `version` change under the
//! extent's exclusive latch only, so whoever has a latch on the extent that `place` names knows its
//! bytes.
struct Owned {
  std::atomic<bool> taken{false};       //!< by the one client that may allocate, write or free it
  std::atomic<std::uint64_t> place{0};  //!< page id << 4 | order; 0: none
  std::atomic<std::uint64_t> version{0};

  static std::uint64_t place_of(Extent extent) noexcept {
    return extent.page_id << 4 | extent.order;
  }
  static Extent extent_of(std::uint64_t place) noexcept {
    return {place >> 4, static_cast<unsigned>(place & 0xf)};
  }
};

class StressModel {
 public:
  StressModel(std::size_t extents, std::uint64_t max_pages)
      : _owned(extents), _max_pages(max_pages) {}

  [[nodiscard]] Owned& any(std::mt19937_64& random) { return _owned[random() % _owned.size()]; }
  [[nodiscard]] std::vector<Owned>& all() { return _owned; }
  [[nodiscard]] std::uint64_t next_version() { return _versions.fetch_add(1) + 1; }

  //! Whether that many pages more may be owned; counts them.
  bool reserve(std::uint64_t pages) {
    if (_pages.fetch_add(pages) + pages <= _max_pages) return true;
    _pages.fetch_sub(pages);
    return false;
  }
  void unreserve(std::uint64_t pages) { _pages.fetch_sub(pages); }
  [[nodiscard]] std::uint64_t pages() const { return _pages; }

  //! Errors that the clients may get because transfers fail, or the pool is too small for what is
  //! latched at once.
  void expect(const Error& error, const char* what) const {
    const bool full = error.code() == Errc::kPoolExhausted || error.code() == Errc::kDatabaseFull;
    if (!full && !(error.code() == Errc::kIo && may_fail))
      ADD_FAILURE() << what << ": " << error.what();
  }
  bool may_fail = false;  //!< transfers do, now and then

  static constexpr std::size_t kWords = kPageSize / sizeof(std::uint64_t);
  static constexpr std::size_t kStride = 73;  // of the words that are looked at: 8 a page
  static std::uint64_t word(PageId page_id, std::uint64_t version, std::size_t at) noexcept {
    return (page_id << 32 ^ version << 10 ^ at) * 0x9e3779b97f4a7c15;
  }
  static void fill(std::byte* data, Extent extent, std::uint64_t version) noexcept {
    auto* words = reinterpret_cast<std::uint64_t*>(data);
    for (std::uint64_t page = 0; page < extent.pages(); ++page, words += kWords) {
      for (std::size_t at = 0; at < kWords; at += kStride)
        words[at] = word(extent.page_id + page, version, at);
    }
  }
  //! The first page whose bytes are not of that version, kNoPage if none.
  static PageId mismatch(const std::byte* data, Extent extent, std::uint64_t version) noexcept {
    const auto* words = reinterpret_cast<const std::uint64_t*>(data);
    for (std::uint64_t page = 0; page < extent.pages(); ++page, words += kWords) {
      for (std::size_t at = 0; at < kWords; at += kStride) {
        if (words[at] != word(extent.page_id + page, version, at)) return extent.page_id + page;
      }
    }
    return kNoPage;
  }
  //! Under a latch on the extent that `owned` names.
  static void check(const std::byte* data, const Owned& owned, Extent extent) {
    const std::uint64_t version = owned.version;
    const PageId wrong = mismatch(data, extent, version);
    EXPECT_EQ(wrong, kNoPage) << "extent " << extent.page_id << " of order " << extent.order
                              << ", version " << version;
  }

 private:
  std::vector<Owned> _owned;
  const std::uint64_t _max_pages;
  std::atomic<std::uint64_t> _versions{0};
  std::atomic<std::uint64_t> _pages{0};
};

//! What is there already, as something to be awaited.
template <typename T>
struct Ready {
  T value;
  [[nodiscard]] bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  T await_resume() { return std::move(value); }
};

//! The pool by its blocking calls.
class BlockingCalls {
 public:
  explicit BlockingCalls(BufferPool& pool) : _pool(pool) {}
  [[nodiscard]] BufferPool& pool() const { return _pool; }
  auto fix_optimistic(Extent extent) {
    return Ready<OptimisticGuard>{_pool.fix_optimistic(extent.page_id, extent.order)};
  }
  auto fix_shared(Extent extent) {
    return Ready<SharedGuard>{_pool.fix_shared(extent.page_id, extent.order)};
  }
  auto fix_exclusive(Extent extent) {
    return Ready<ExclusiveGuard>{_pool.fix_exclusive(extent.page_id, extent.order)};
  }
  auto allocate(unsigned order) { return Ready<ExclusiveGuard>{_pool.allocate(order)}; }
  auto free(ExclusiveGuard&& guard) {
    _pool.free(std::move(guard));
    return std::suspend_never{};
  }
  auto prefetch(std::span<const Extent> extents) {
    _pool.prefetch(extents);
    return std::suspend_never{};
  }
  auto give_way() {
    std::this_thread::yield();
    return std::suspend_never{};
  }

 private:
  BufferPool& _pool;
};

//! The pool by a Worker's awaitable calls.
class AwaitableCalls {
 public:
  explicit AwaitableCalls(Worker& worker) : _worker(worker) {}
  [[nodiscard]] BufferPool& pool() const { return _worker.pool(); }
  auto fix_optimistic(Extent extent) {
    return _worker.fix_optimistic(extent.page_id, extent.order);
  }
  auto fix_shared(Extent extent) { return _worker.fix_shared(extent.page_id, extent.order); }
  auto fix_exclusive(Extent extent) { return _worker.fix_exclusive(extent.page_id, extent.order); }
  auto allocate(unsigned order) { return _worker.allocate(order); }
  auto free(ExclusiveGuard&& guard) { return _worker.free(std::move(guard)); }
  auto prefetch(std::span<const Extent> extents) { return _worker.prefetch(extents); }
  auto give_way() { return _worker.yield(); }

 private:
  Worker& _worker;
};

template <typename Calls>
class StressClient {
 public:
  StressClient(Calls calls, StressModel& model, std::uint64_t seed)
      : _calls(calls), _model(model), _random(seed) {}

  Task<> run(unsigned steps) {
    for (unsigned i = 0; i < steps; ++i) {
      Owned& owned = _model.any(_random);
      const std::uint64_t kind = _random() % 16;
      if (kind < 4) {
        co_await read(owned);
      } else if (kind < 7) {
        co_await read_optimistically(owned);
      } else if (kind < 8) {
        co_await prefetch();
      } else if (!owned.taken.exchange(true, std::memory_order_acquire)) {
        if (owned.place == 0) {
          co_await allocate(owned);
        } else if (kind < 13) {
          co_await write(owned);
        } else {
          co_await free(owned);
        }
        owned.taken.store(false, std::memory_order_release);
      }
    }
  }

 private:
  //! Not ours: it may be freed, and its page ids be something else, before we have it.
  Task<> read(Owned& owned) try {
    const std::uint64_t place = owned.place;
    if (place == 0) co_return;
    const Extent extent = Owned::extent_of(place);
    const SharedGuard guard = co_await _calls.fix_shared(extent);
    if (owned.place == place) StressModel::check(guard.data(), owned, extent);
  } catch (const Error& error) {
    if (error.code() != Errc::kInvalidPage) _model.expect(error, "read");
  }
  Task<> read_optimistically(Owned& owned) try {
    const std::uint64_t place = owned.place;
    if (place == 0) co_return;
    const Extent extent = Owned::extent_of(place);
    const OptimisticGuard guard = co_await _calls.fix_optimistic(extent);
    // It is ours now, and so for as long as the guard is valid.
    if (owned.place != place) co_return;
    const PageId wrong = peek(guard.data(), extent, owned.version);
    if (!guard.validate()) co_return;
    EXPECT_EQ(wrong, kNoPage) << "optimistically: extent " << extent.page_id << " of order "
                              << extent.order;
  } catch (const Error& error) {
    if (error.code() != Errc::kInvalidPage) _model.expect(error, "optimistic read");
  }
  Task<> prefetch() try {
    std::vector<Extent> extents;
    for (int i = 0; i < 6; ++i) {
      const std::uint64_t place = _model.any(_random).place;
      if (place != 0) extents.push_back(Owned::extent_of(place));
    }
    co_await _calls.prefetch(extents);
  } catch (const Error& error) {
    if (error.code() != Errc::kInvalidPage) _model.expect(error, "prefetch");
  }

  Task<> write(Owned& owned) try {
    const Extent extent = Owned::extent_of(owned.place);
    ExclusiveGuard guard = co_await _calls.fix_exclusive(extent);
    StressModel::check(guard.data(), owned, extent);
    if (_random() % 8 == 0) {
      guard.release_unmodified();
      co_return;
    }
    const std::uint64_t version = _model.next_version();
    StressModel::fill(guard.data(), extent, version);
    owned.version = version;
  } catch (const Error& error) {
    _model.expect(error, "write");
  }

  Task<> allocate(Owned& owned) {
    // Three in four are single pages; of the others, each order is half as frequent as the one
    // below it.
    unsigned order = 0;
    if (_random() % 4 == 0) {
      order = 1;
      while (order < kMaxOrder && _random() % 2 == 0) ++order;
    }
    const std::uint64_t pages = std::uint64_t{1} << order;
    if (!_model.reserve(pages)) co_return;
    try {
      ExclusiveGuard guard = co_await _calls.allocate(order);
      const Extent extent{guard.page_id(), order};
      for (std::uint64_t page = 0; page < pages; ++page) {
        EXPECT_EQ(guard.as<std::uint64_t>()[page * StressModel::kWords + StressModel::kStride], 0u)
            << "a new extent is zeroed; page " << extent.page_id + page;
      }
      const std::uint64_t version = _model.next_version();
      StressModel::fill(guard.data(), extent, version);
      owned.version = version;
      owned.place = Owned::place_of(extent);
      co_return;
    } catch (const Error& error) {
      _model.expect(error, "allocate");
    }
    _model.unreserve(pages);
  }

  Task<> free(Owned& owned) {
    const std::uint64_t place = owned.place;
    const Extent extent = Owned::extent_of(place);
    if (_random() % 2 == 0) {
      owned.place = 0;
      // Ends: readers let go of their latches, loads and writes complete.
      while (!_calls.pool().try_free(extent)) co_await _calls.give_way();
    } else {
      try {
        ExclusiveGuard guard = co_await _calls.fix_exclusive(extent);
        StressModel::check(guard.data(), owned, extent);
        owned.place = 0;
        co_await _calls.free(std::move(guard));
      } catch (const Error& error) {
        _model.expect(error, "free");
        EXPECT_EQ(owned.place, place) << "free() failed after its checks";
        co_return;
      }
    }
    _model.unreserve(extent.pages());
  }

  //! mismatch() of a page that may be changing: a race that the guard's validation settles, so
  //! nothing for ThreadSanitizer.
  __attribute__((no_sanitize("thread"))) static PageId peek(const std::byte* data, Extent extent,
                                                            std::uint64_t version) noexcept {
    const auto* words = reinterpret_cast<const volatile std::uint64_t*>(data);
    for (std::uint64_t page = 0; page < extent.pages(); ++page, words += StressModel::kWords) {
      for (std::size_t at = 0; at < StressModel::kWords; at += StressModel::kStride) {
        if (words[at] != StressModel::word(extent.page_id + page, version, at))
          return extent.page_id + page;
      }
    }
    return kNoPage;
  }

  Calls _calls;
  StressModel& _model;
  std::mt19937_64 _random;
};

}  // namespace vmcache::test

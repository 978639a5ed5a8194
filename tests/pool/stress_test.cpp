// SPDX-License-Identifier: MIT
//
// Everything that a pool does, at once and against a model: extents of all orders that come, change
// and go, shared, exclusive and optimistic readers, tasks and threads, checkpoints, resizes,
// transfers that complete late, out of order, or not at all.
//
// A seed gives the whole of it: on one thread the same steps in the same order, but for what
// depends on the clock (how long a fault without a frame waits). --gtest_random_seed=N runs seed N
// instead of the usual ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "late_storage.hpp"
#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"
#include "stress_model.hpp"
#include "support/options.hpp"

namespace vmcache {
namespace {

using test::AwaitableCalls;
using test::BlockingCalls;
using test::LateDevice;
using test::LateStorage;
using test::Owned;
using test::StressClient;
using test::StressModel;

constexpr std::uint64_t kCapacityPages = 16384;
constexpr std::uint64_t kFrames = 1024;
constexpr std::uint64_t kMaxPages = 3000;  // owned at once
constexpr std::size_t kExtents = 1200;

std::vector<std::uint64_t> seeds(std::vector<std::uint64_t> usual) {
  const int asked = testing::GTEST_FLAG(random_seed);
  return asked > 0 ? std::vector{static_cast<std::uint64_t>(asked)} : usual;
}

//! Runs a client of blocking calls to its end.
struct Run {
  struct promise_type {
    Run get_return_object() const noexcept { return {}; }
    [[nodiscard]] std::suspend_never initial_suspend() const noexcept { return {}; }
    [[nodiscard]] std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
  };
};
Run run_now(Task<> task) {
  co_await task;
}

//! A pool, its device, and what is known of it.
class Stress {
 public:
  explicit Stress(std::uint64_t seed) : _seed(seed), _random(seed), _device(kCapacityPages, seed) {
    open();
  }
  //! On ordinary storage, whose transfers do not fail.
  Stress(std::uint64_t seed, const test::TempFile& file)
      : _seed(seed), _random(seed), _device(1, seed), _file(&file) {
    open();
  }

  [[nodiscard]] BufferPool& pool() { return *_pool; }

  void run_tasks(unsigned number, unsigned tasks, unsigned steps) {
    Worker worker(*_pool);
    std::vector<std::unique_ptr<StressClient<AwaitableCalls>>> clients;
    for (unsigned n = 0; n < tasks; ++n) {
      clients.push_back(std::make_unique<StressClient<AwaitableCalls>>(
          AwaitableCalls(worker), _model, _seed * 1000 + number + n));
      worker.spawn(clients.back()->run(steps));
    }
    worker.run();
  }
  void run_blocking(unsigned number, unsigned steps) {
    StressClient<BlockingCalls> client(BlockingCalls(*_pool), _model, _seed * 1000 + number);
    // In parts: where a coroutine hands over by a call and not by a jump (a build with
    // AddressSanitizer), each step of one run lies deeper on the stack.
    constexpr unsigned kPart = 20;
    for (unsigned done = 0; done < steps; done += kPart)
      run_now(client.run(std::min(kPart, steps - done)));
  }

  //! A checkpoint, another size, or other failures.
  void disturb() {
    try {
      switch (_random() % 4) {
        case 0:
          return _pool->checkpoint();
        case 1:
          return _pool->resize((kFrames / 2 + _random() % kFrames) * kPageSize);
        case 2:
          if (!_model.may_fail) return;
          _device.read_failures = _random() % 2 == 0 ? 0 : static_cast<unsigned>(_random() % 100);
          _device.write_failures = _random() % 2 == 0 ? 0 : static_cast<unsigned>(_random() % 300);
          return;
        default:
          (void)_pool->stats();
          return;
      }
    } catch (const Error& error) {
      _model.expect(error, "checkpoint or resize");
    }
  }
  void may_fail() { _model.may_fail = true; }
  void fail_no_more() {
    _device.read_failures = 0;
    _device.write_failures = 0;
    _model.may_fail = false;
  }

  //! With nobody at work: each resident in one slot, each frame counted once, each page id owned or
  //! free.
  void check_accounts() {
    detail::PoolCore& core = detail::core_of(*_pool);
    std::vector<PageId> in_slots;
    core.residency.for_each([&](PageId page_id) { in_slots.push_back(page_id); });
    std::ranges::sort(in_slots);
    std::vector<PageId> residents;
    std::uint64_t frames = 0;
    for (PageId page_id = 1; page_id < core.database.allocator.next_page(); ++page_id) {
      const PageState word = core.states()[page_id].load();
      ASSERT_FALSE(word.exclusive() || word.faulting())
          << "page " << page_id << " is held by nobody";
      if (word.evicted()) continue;
      residents.push_back(page_id);
      frames += std::uint64_t{1} << word.order();
    }
    ASSERT_EQ(in_slots, residents);
    ASSERT_EQ(static_cast<std::int64_t>(frames) + core.free_frames(),
              static_cast<std::int64_t>(_pool->pool_pages()));
    check_page_ids();
  }
  void check_bytes() {
    for (Owned& owned : _model.all()) {
      if (owned.place == 0) continue;
      const Extent extent = Owned::extent_of(owned.place);
      StressModel::check(_pool->fix_shared(extent.page_id, extent.order).data(), owned, extent);
    }
  }
  //! No frame is lost to a page that cannot leave.
  void check_every_frame_can_be_had() {
    std::vector<ExclusiveGuard> all;
    for (std::uint64_t n = 0; n < _pool->pool_pages(); ++n) all.push_back(_pool->allocate());
    for (ExclusiveGuard& guard : all) _pool->free(std::move(guard));
  }
  void reopen() {
    _pool->close();
    open();
  }
  void free_all() {
    for (Owned& owned : _model.all()) {
      const std::uint64_t place = owned.place.exchange(0);
      if (place == 0) continue;
      EXPECT_TRUE(_pool->try_free(Owned::extent_of(place)));
      _model.unreserve(Owned::extent_of(place).pages());
    }
    EXPECT_EQ(_model.pages(), 0u);
    check_page_ids();
  }

 private:
  void open() {
    _pool.reset();
    PoolOptions options;
    if (_file != nullptr) {
      options = test::small_pool(*_file, kFrames, kCapacityPages);
    } else {
      options.make_storage = [this] { return std::make_unique<LateStorage>(_device); };
      options.pool_bytes = kFrames * kPageSize;
      options.capacity_bytes = kCapacityPages * kPageSize;
      options.memory = test::default_memory;
      options.frame_wait = std::chrono::seconds(20);
    }
    options.workers = 4;
    options.io_depth = 32;
    _pool.emplace(options);
  }
  void check_page_ids() {
    std::uint64_t end = 0;
    std::vector<bool> seen;
    const auto count = [&](Extent extent) {
      for (PageId page_id = extent.page_id; page_id < extent.page_id + extent.pages(); ++page_id) {
        ASSERT_LT(page_id, end);
        ASSERT_FALSE(seen[page_id]) << "page " << page_id << " is owned twice, or owned and free";
        seen[page_id] = true;
      }
    };
    _pool->free_extents([&](std::uint64_t next_page, std::span<const Extent> free) {
      end = next_page;
      seen.resize(end);
      for (const Extent& extent : free) count(extent);
    });
    for (Owned& owned : _model.all()) {
      if (owned.place != 0) count(Owned::extent_of(owned.place));
    }
    ASSERT_EQ(std::ranges::count(seen, false), 1)
        << "page 0 is the header's, and nobody else's is lost";
  }

  const std::uint64_t _seed;
  std::mt19937_64 _random;
  LateDevice _device;
  const test::TempFile* _file = nullptr;
  StressModel _model{kExtents, kMaxPages};
  std::optional<BufferPool> _pool;
};

void finish(Stress& stress) {
  stress.fail_no_more();
  stress.pool().resize(kFrames * kPageSize);
  stress.check_accounts();
  stress.check_bytes();
  stress.check_every_frame_can_be_had();
  stress.check_accounts();
  stress.reopen();
  stress.check_bytes();
  stress.check_accounts();
  stress.free_all();
}

// Replays exactly: tasks take turns, and what disturbs them comes in between.
TEST(Stress, TasksOnOneThread) {
  for (const std::uint64_t seed : seeds({1, 2})) {
    SCOPED_TRACE("--gtest_random_seed=" + std::to_string(seed));
    Stress stress(seed);
    for (unsigned round = 0; round < 40 && !testing::Test::HasFailure(); ++round) {
      if (round == 15) stress.may_fail();
      stress.run_tasks(round * 100, 24, 25);
      stress.check_accounts();
      stress.disturb();
    }
    finish(stress);
  }
}

TEST(Stress, TasksAndThreadsAtOnce) {
  for (const std::uint64_t seed : seeds({3})) {
    SCOPED_TRACE("--gtest_random_seed=" + std::to_string(seed));
    Stress stress(seed);
    stress.may_fail();
    std::atomic<unsigned> at_work{3};
    const auto start = [&](auto work) {
      return std::thread([&at_work, work] {
        work();
        --at_work;
      });
    };
    std::vector<std::thread> threads;
    threads.push_back(start([&] { stress.run_tasks(100, 12, 600); }));
    threads.push_back(start([&] { stress.run_tasks(200, 12, 600); }));
    threads.push_back(start([&] { stress.run_blocking(300, 6000); }));
    while (at_work > 0) {
      stress.disturb();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    for (std::thread& thread : threads) thread.join();
    finish(stress);
  }
}

TEST(Stress, OnOrdinaryStorage) {
  for (const std::uint64_t seed : seeds({4})) {
    SCOPED_TRACE("--gtest_random_seed=" + std::to_string(seed));
    const test::TempFile file;
    Stress stress(seed, file);
    for (unsigned round = 0; round < 6 && !testing::Test::HasFailure(); ++round) {
      std::thread other([&] { stress.run_blocking(round * 100 + 50, 300); });
      stress.run_tasks(round * 100, 24, 25);
      other.join();
      stress.check_accounts();
      stress.disturb();
    }
    finish(stress);
  }
}

}  // namespace
}  // namespace vmcache

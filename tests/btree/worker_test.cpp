// SPDX-License-Identifier: MIT
//
// The awaitable forms: hundreds of tasks on one worker, over a tree larger than the pool.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "support.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::key_number;
using test::number_key;
using test::TreeFixture;

constexpr std::uint64_t kTasks = 300;
constexpr std::uint64_t kEach = 20;

std::string value_of(std::uint64_t n) {
  return std::string(100 + n % 50, static_cast<char>('a' + n % 26));
}

Task<> live(Worker& worker, BTree& tree, std::uint64_t task, std::uint64_t& done) {
  for (std::uint64_t i = 0; i < kEach; ++i) {
    const std::uint64_t n = i * kTasks + task;
    EXPECT_TRUE(co_await tree.insert(worker, number_key(n), value_of(n)));
    EXPECT_FALSE(co_await tree.insert(worker, number_key(n), "other"));
  }
  for (std::uint64_t i = 0; i < kEach; ++i) {
    const std::uint64_t n = i * kTasks + task;
    EXPECT_EQ(co_await tree.get(worker, number_key(n)), value_of(n));
    std::array<std::byte, 16> buffer{};
    EXPECT_EQ(co_await tree.lookup(worker, number_key(n), buffer), value_of(n).size());
    EXPECT_EQ(std::to_integer<char>(buffer[15]), value_of(n)[0]);
    bool called = false;
    const bool found = co_await tree.lookup(
        worker, number_key(n), [&](Bytes value) { called = value.view() == value_of(n); });
    EXPECT_TRUE(found && called);
    const bool updated = co_await tree.update(
        worker, number_key(n), [](std::span<std::byte> value) { value[0] = std::byte{'!'}; });
    EXPECT_TRUE(updated);
    EXPECT_FALSE(co_await tree.upsert(worker, number_key(n), value_of(n + 1)));
    EXPECT_TRUE(co_await tree.replace(worker, number_key(n), value_of(n + 2)));
    EXPECT_FALSE(co_await tree.replace(worker, "nobody", "x"));
  }
  for (std::uint64_t i = 0; i < kEach; i += 2) {
    EXPECT_TRUE(co_await tree.erase(worker, number_key(i * kTasks + task)));
    EXPECT_FALSE(co_await tree.erase(worker, number_key(i * kTasks + task)));
  }
  ++done;
}

Task<> scan_until(Worker& worker, const BTree& tree, Direction direction, const std::uint64_t& done,
                  std::uint64_t& scans) {
  while (done < kTasks) {
    BTree::Cursor cursor{tree, direction, Bound::all()};
    std::optional<std::uint64_t> previous;
    while (co_await cursor.next(worker)) {
      const std::uint64_t n = key_number(cursor.key());
      if (previous) {
        EXPECT_TRUE(direction == Direction::kAscending ? *previous < n : *previous > n)
            << "out of order";
      }
      previous = n;
    }
    ++scans;
    co_await worker.yield();
  }
}

class BTreeAwaitable : public testing::TestWithParam<std::uint64_t> {};

TEST_P(BTreeAwaitable, HundredsOfTasksOfOneWorkerShareATree) {
  const TreeFixture f{GetParam()};
  std::uint64_t done = 0;
  std::uint64_t scans = 0;
  {
    Worker worker{*f.pool};
    for (std::uint64_t task = 0; task < kTasks; ++task)
      worker.spawn(live(worker, *f.tree, task, done));
    for (const Direction direction : {Direction::kAscending, Direction::kDescending}) {
      worker.spawn(scan_until(worker, *f.tree, direction, done, scans));
    }
    worker.run();
  }
  EXPECT_EQ(done, kTasks);
  EXPECT_GE(scans, 2u);
  const BTreeShape shape = f.verify();
  EXPECT_EQ(shape.entries, kTasks * kEach / 2);
  std::uint64_t seen = 0;
  f.tree->scan(Bound::all(), [&](Bytes key, Bytes value) {
    EXPECT_EQ(value.view(), value_of(key_number(key) + 2));
    return ++seen > 0;
  });
  EXPECT_EQ(seen, shape.entries);
}

INSTANTIATE_TEST_SUITE_P(Frames, BTreeAwaitable, testing::Values(16, 64, 4096));

TEST(BTreeAwaitables, WorkersAndBlockingThreadsShareATree) {
  const TreeFixture f{128};
  std::vector<std::thread> threads;
  std::uint64_t done[2] = {};
  for (std::uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      Worker worker{*f.pool};
      for (std::uint64_t task = t; task < kTasks; task += 4)
        worker.spawn(live(worker, *f.tree, task, done[t]));
      worker.run();
    });
    threads.emplace_back([&, t] {
      std::mt19937_64 random{t};
      for (int i = 0; i < 3000; ++i) {
        const std::string key = number_key(kTasks * kEach + random() % 1000);
        random() % 2 == 0 ? f.tree->insert(key, value_of(1)) : f.tree->erase(key);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done[0] + done[1], kTasks / 2);
  f.verify();
}

Task<> scan_and_count(Worker& worker, const BTree& tree, std::vector<std::uint64_t>& seen,
                      std::uint64_t& count) {
  EXPECT_EQ(co_await tree.scan(worker, Bound::at(number_key(10)),
                               [&](Bytes key, Bytes) {
                                 seen.push_back(key_number(key));
                                 return seen.size() < 5;
                               }),
            5u);
  EXPECT_EQ(co_await tree.scan_descending(worker, Bound::beyond(number_key(10)),
                                          [&](Bytes key, Bytes) {
                                            seen.push_back(key_number(key));
                                            return seen.size() < 8;
                                          }),
            3u);
  count = co_await tree.count(worker);
}

TEST(BTreeAwaitables, ScansAndCounts) {
  const TreeFixture f{16};
  for (std::uint64_t n = 0; n < 5000; ++n) f.tree->insert(number_key(n), value_of(n));
  std::vector<std::uint64_t> seen;
  std::uint64_t count = 0;
  Worker worker{*f.pool};
  worker.spawn(scan_and_count(worker, *f.tree, seen, count));
  worker.run();
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{10, 11, 12, 13, 14, 9, 8, 7}));
  EXPECT_EQ(count, 5000u);
}

enum class Pass { kScan, kScanDescending, kCursor };

//! Goes through the tree, and is slow about it, until another task has run or the end is reached.
Task<> read_slowly(Worker& worker, const BTree& tree, Pass pass, bool& other_ran, bool& saw_it) {
  constexpr unsigned kSleepEvery = 100;  // entries
  worker.spawn([](bool& flag) -> Task<> {
    flag = true;
    co_return;
  }(other_ran));
  unsigned seen = 0;
  const auto visit = [&](Bytes, Bytes) {
    if (++seen % kSleepEvery == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    saw_it = other_ran;
    return !saw_it;
  };
  if (pass == Pass::kScan) {
    co_await tree.scan(worker, Bound::all(), visit);
  } else if (pass == Pass::kScanDescending) {
    co_await tree.scan_descending(worker, Bound::all(), visit);
  } else {
    BTree::Cursor cursor{tree, Direction::kAscending, Bound::all()};
    while (co_await cursor.next(worker) && visit(cursor.key(), cursor.value())) continue;
    // The blocking form of the same cursor asks nobody whose turn it is.
    if (cursor.next()) visit(cursor.key(), cursor.value());
  }
}

TEST(BTreeAwaitables, AScanOfPagesInMemoryGivesWayBetweenLeaves) {
  const TreeFixture f{4096};
  for (std::uint64_t n = 0; n < 20'000; ++n) f.tree->insert(number_key(n), value_of(n));
  Worker worker{*f.pool};
  for (const Pass pass : {Pass::kScan, Pass::kScanDescending, Pass::kCursor}) {
    bool other_ran = false;
    bool saw_it = false;
    worker.spawn(read_slowly(worker, *f.tree, pass, other_ran, saw_it));
    worker.run();
    EXPECT_TRUE(saw_it) << static_cast<int>(pass);
  }
}

Task<> put_large(Worker& worker, BTree& tree, std::uint64_t n, std::uint64_t& done) {
  const std::string value(3000 + n * 20000, static_cast<char>('a' + n % 26));
  EXPECT_TRUE(co_await tree.insert(worker, number_key(n), value));
  const std::optional<std::string> read = co_await tree.get(worker, number_key(n));
  EXPECT_TRUE(read == value);
  EXPECT_TRUE(co_await tree.replace(worker, number_key(n), value + "more"));
  EXPECT_TRUE(co_await tree.erase(worker, number_key(n)));
  ++done;
}

TEST(BTreeAwaitables, LargeValuesComeAndGo) {
  const TreeFixture f{1024};
  std::uint64_t done = 0;
  {
    Worker worker{*f.pool};
    for (std::uint64_t n = 0; n < 60; ++n) worker.spawn(put_large(worker, *f.tree, n, done));
    worker.run();
  }
  EXPECT_EQ(done, 60u);
  EXPECT_EQ(f.verify().pages(), 1u);
}

Task<> too_large(Worker& worker, BTree& tree, bool& refused) {
  try {
    co_await tree.insert(worker, std::string(2000, 'k'), "v");
  } catch (const Error& error) {
    refused = error.code() == Errc::kTooLarge;
  }
}

TEST(BTreeAwaitables, ErrorsComeOutOfTheAwait) {
  const TreeFixture f{16};
  bool refused = false;
  Worker worker{*f.pool};
  worker.spawn(too_large(worker, *f.tree, refused));
  worker.run();
  EXPECT_TRUE(refused);
}

}  // namespace
}  // namespace vmcache

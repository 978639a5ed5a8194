// SPDX-License-Identifier: MIT
//
// A reader that has seen one change of a commit sees all of them in every later read
// (docs/recovery.md, R13).
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/database.hpp"
#include "support/faulty_storage.hpp"
#include "vmcache/database.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::FaultPlan;
using test::on_files;
using test::TempFile;

//! One key in each of two trees, so that each lies in a leaf of its own, the root.
void write_both(Database& database, const std::string& value) {
  Transaction transaction(database);
  transaction.put(0, "key", value);
  transaction.put(1, "key", value);
  transaction.commit_no_wait();
}

//! Scans show a change as soon as it is in its leaf.
bool scan_shows(Database& database, unsigned tree, const std::string& wanted) {
  bool shown = wanted.empty();
  database.tree(tree).scan(Bound::all(), [&](Bytes, Bytes value) {
    shown = value.view() == wanted;
    return true;
  });
  return shown;
}

std::optional<std::string> by_lookup_each(Database& database) {
  const Bytes key("key");
  std::optional<std::string> found;
  database.tree(0).lookup_each({&key, 1}, [&](std::size_t, std::optional<Bytes> value) {
    if (value) found.emplace(value->view());
  });
  return found;
}

using Read = std::function<std::optional<std::string>(Database&)>;
const std::array<Read, 3> kReads{
    [](Database& database) { return database.tree(0).get("key"); },
    [](Database& database) { return Transaction(database).get(0, "key"); },
    by_lookup_each,
};

//! The commit is held up between its two changes by a reader's latch on the second leaf.
TEST(Visibility, ABlockingReaderWaitsForTheRestOfTheCommitItHasMet) {
  for (const bool erase : {false, true}) {
    const TempFile pages;
    const TempFile log;
    Database database(on_files(pages, log));
    write_both(database, "old");
    std::atomic<bool> released{false};
    std::vector<std::thread> threads;
    {
      const SharedGuard second = database.pool().fix_shared(database.pool().root(1));
      threads.emplace_back([&] {
        Transaction transaction(database);
        erase ? transaction.erase(0, "key") : transaction.put(0, "key", "new");
        transaction.put(1, "key", "new");
        transaction.commit_no_wait();
      });
      while (!scan_shows(database, 0, erase ? "" : "new")) std::this_thread::yield();
      for (const Read& read : kReads) {
        threads.emplace_back([&] {
          const std::optional<std::string> first = read(database);
          EXPECT_TRUE(released) << "half a commit was shown";
          EXPECT_EQ(first, erase ? std::nullopt : std::optional<std::string>("new"));
          EXPECT_EQ(database.tree(1).get("key"), "new");
        });
      }
      // A key that the commit does not change is read at once, also from a leaf that it has
      // changed.
      EXPECT_EQ(database.tree(0).get("other"), std::nullopt);
      // Only a bug could end them meanwhile.
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      released = true;
    }
    for (std::thread& thread : threads) thread.join();
  }
}

//! Three tasks of one thread: one commits, one holds the second leaf for a while, one reads.
struct Tasks {
  Database& database;
  bool holding = false;
  bool may_go = false;
  std::optional<std::string> first;
  std::optional<std::string> second;
  Errc blocking = Errc::kOk;

  Task<> hold(Worker& worker) {
    const SharedGuard guard = co_await worker.fix_shared(database.pool().root(1));
    holding = true;
    while (!may_go) co_await worker.yield();
    for (int i = 0; i < 20; ++i) co_await worker.yield();
  }
  Task<> commit(Worker& worker) {
    while (!holding) co_await worker.yield();
    Transaction transaction(database);
    transaction.put(0, "key", "new");
    transaction.put(1, "key", "new");
    co_await transaction.commit_no_wait(worker);
  }
  Task<> read(Worker& worker, bool each) {
    while (!scan_shows(database, 0, "new")) co_await worker.yield();
    if (!may_go) blocking = code_of([&] { (void)database.tree(0).get("key"); });
    may_go = true;
    if (each) {
      const Bytes key("key");
      co_await database.tree(0).lookup_each(worker, {&key, 1},
                                            [&](std::size_t, std::optional<Bytes> value) {
                                              if (value) first.emplace(value->view());
                                            });
    } else {
      first = co_await database.tree(0).get(worker, "key");
    }
    second = co_await database.tree(1).get(worker, "key");
  }
};

TEST(Visibility, ATaskThatMeetsAHalfAppliedCommitOfItsThreadLetsItGoOn) {
  for (const bool each : {false, true}) {
    const TempFile pages;
    const TempFile log;
    DatabaseOptions options = on_files(pages, log);
    options.pool.frame_wait = std::chrono::milliseconds(20);
    Database database(options);
    write_both(database, "old");
    Tasks tasks{.database = database, .first = {}, .second = {}};
    {
      Worker worker(database.pool());
      worker.spawn(tasks.read(worker, each));
      worker.spawn(tasks.commit(worker));
      worker.spawn(tasks.hold(worker));
      worker.run();
    }
    EXPECT_EQ(tasks.blocking, Errc::kBusy)
        << "a blocking call cannot wait for a task of its own thread";
    EXPECT_EQ(tasks.first, "new");
    EXPECT_EQ(tasks.second, "new");
  }
}

//! A commit that fails half-way takes the log with it; its keys cannot be read as if nothing were
//! wrong.
TEST(Visibility, ACommitThatFailsHalfWayIsAnErrorForWhoReadsItsKeys) {
  const TempFile pages;
  const TempFile log;
  FaultPlan plan;
  plan.fail_at = 0;
  plan.times = ~std::uint64_t{0};
  DatabaseOptions options = on_files(pages, log, 16);
  test::inject_faults(options.pool, plan);
  Database database(options);
  write_both(database, "old");
  while (!database.pool().page_ref(database.pool().root(1)).state().load().evicted()) {
    Transaction filler(database);
    filler.put(2, std::to_string(database.tree(2).count()), std::string(900, 'f'));
    filler.commit_no_wait();
    (void)database.tree(0).get("key");
  }
  // Only the second leaf cannot be read: the commit may evict the first one.
  plan.only_at = database.pool().root(1) * kPageSize;
  plan.reads = true;
  EXPECT_EQ(code_of([&] { write_both(database, "new"); }), Errc::kIo);
  ASSERT_TRUE(scan_shows(database, 0, "new")) << "the first half was not made";
  for (const Read& read : kReads) EXPECT_EQ(code_of([&] { (void)read(database); }), Errc::kIo);
  EXPECT_EQ(database.tree(0).get("other"), std::nullopt);
  // Nor can they be changed. To try again, as after a conflict, would be of no use.
  EXPECT_EQ(code_of([&] { write_both(database, "newer"); }), Errc::kIo);
  plan.reads = false;
}

//! Pairs of keys far apart, each pair always written with one number; pages come and go. Numbers
//! only grow.
class Pairs {
 public:
  static constexpr unsigned kPairs = 120;

  Pairs(Database& database, std::uint64_t seed) : _database(database), _seed(seed) {
    for (unsigned pair = 0; pair < kPairs; ++pair) {
      Transaction transaction(database);
      for (const bool right : {false, true}) transaction.put(0, key(pair, right), value(0));
      transaction.commit_no_wait();
    }
  }
  void write(unsigned thread) {
    std::mt19937_64 random(_seed * 100 + thread);
    for (int i = 0; i < 300; ++i) {
      Transaction transaction(_database);
      if (code_of([&] { change(transaction, random); }) == Errc::kOk) transaction.commit_no_wait();
    }
  }
  Task<> write(Worker& worker, unsigned task) {
    std::mt19937_64 random(_seed * 100 + task);
    for (int i = 0; i < 60; ++i) {
      Transaction transaction(_database);
      if (code_of([&] { change(transaction, random); }) == Errc::kOk)
        co_await transaction.commit_no_wait(worker);
      co_await worker.yield();
    }
  }
  void read(unsigned thread) {
    std::mt19937_64 random(_seed * 100 + thread);
    for (int i = 0; i < 600; ++i) {
      const auto pair =
          static_cast<unsigned>(random() % 4 == 0 ? random() % kPairs : random() % 10);
      Transaction transaction(_database);
      const auto left = transaction.get(0, key(pair, false));
      compare(left, transaction.get(0, key(pair, true)));
    }
  }
  Task<> read(Worker& worker, unsigned task) {
    std::mt19937_64 random(_seed * 100 + task);
    for (int i = 0; i < 150; ++i) {
      const auto pair =
          static_cast<unsigned>(random() % 4 == 0 ? random() % kPairs : random() % 10);
      const auto left = co_await _database.tree(0).get(worker, key(pair, false));
      compare(left, co_await _database.tree(0).get(worker, key(pair, true)));
    }
  }
  [[nodiscard]] unsigned halves() const noexcept { return _halves; }

 private:
  static std::string key(unsigned pair, bool right) {
    return (right ? "right" : "left") + std::string(200, 'k') + std::to_string(pair);
  }
  //! Lengths differ, so that leaves split and merge meanwhile.
  static std::string value(std::uint64_t number) {
    return std::to_string(number) + std::string(1 + number * 37 % 900, ' ');
  }
  void change(Transaction& transaction, std::mt19937_64& random) {
    const auto pair = static_cast<unsigned>(random() % 4 == 0 ? random() % kPairs : random() % 10);
    const auto now = transaction.get_for_update(0, key(pair, false));
    const std::uint64_t next = std::stoull(*now) + 1;
    transaction.put(0, key(pair, false), value(next));
    transaction.put(0, key(pair, true), value(next));
  }
  void compare(const std::optional<std::string>& left, const std::optional<std::string>& right) {
    if (std::stoull(*right) < std::stoull(*left)) ++_halves;
  }

  Database& _database;
  const std::uint64_t _seed;
  std::atomic<unsigned> _halves{0};
};

TEST(Visibility, NobodySeesHalfOfACommit) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    const TempFile pages;
    const TempFile log;
    DatabaseOptions options = on_files(pages, log, 32);
    options.log.capacity_bytes = 4 << 20;
    options.pool.frame_wait = std::chrono::seconds(20);
    Database database(options);
    Pairs pairs(database, seed);
    std::vector<std::thread> threads;
    threads.emplace_back([&] { pairs.write(1); });
    threads.emplace_back([&] { pairs.read(2); });
    threads.emplace_back([&] {
      Worker worker(database.pool());
      for (unsigned n = 10; n < 14; ++n) {
        worker.spawn(pairs.write(worker, n));
        worker.spawn(pairs.read(worker, n + 10));
      }
      worker.run();
    });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(pairs.halves(), 0U) << "seed " << seed;
  }
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Transactions in a Worker's tasks.
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "crash/recording_storage.hpp"
#include "crash/workload.hpp"
#include "support/database.hpp"
#include "support/faulty_storage.hpp"
#include "support/wrapped_storage.hpp"
#include "vmcache/database.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::FaultPlan;
using test::Recorder;
using test::TempFile;

//! A pool that holds it all.
DatabaseOptions roomy(const TempFile& pages, const TempFile& log) {
  return test::on_files(pages, log, 256);
}

//! Runs `tasks` tasks made by make(n) in one worker.
void run_tasks(Database& database, int tasks, const auto& make) {
  Worker worker(database.pool());
  for (int n = 0; n < tasks; ++n) worker.spawn(make(worker, n));
  worker.run();
}

Task<> commit_many(Worker& worker, Database& database, int task, int commits, int value_bytes) {
  for (int i = 0; i < commits; ++i) {
    const std::string key = std::to_string(task) + "." + std::to_string(i);
    Transaction transaction(database);
    transaction.put(0, key, std::string(static_cast<std::size_t>(value_bytes), 'v'));
    co_await transaction.commit(worker);
  }
}

//! How many tasks have begun to commit. A flush under way waits for all of them, at most kPatience.
class Turnout {
 public:
  //! From now on flushes wait for `tasks` to have come.
  void expect(int tasks) {
    const std::lock_guard lock(_mutex);
    _missing = tasks;
  }
  void task_came() {
    const std::lock_guard lock(_mutex);
    if (--_missing == 0) _all_came.notify_all();
  }
  void await() {
    constexpr std::chrono::seconds kPatience(20);
    std::unique_lock lock(_mutex);
    if (!_all_came.wait_for(lock, kPatience, [&] { return _missing <= 0 || _waited_in_vain; }))
      _waited_in_vain = true;
  }
  [[nodiscard]] bool waited_in_vain() {
    const std::lock_guard lock(_mutex);
    return _waited_in_vain;
  }

 private:
  std::mutex _mutex;
  std::condition_variable _all_came;
  int _missing = 0;
  bool _waited_in_vain = false;
};

class SlowFlush final : public test::WrappedStorage {
 public:
  SlowFlush(std::unique_ptr<Storage> inner, Turnout& turnout)
      : WrappedStorage(std::move(inner)), _turnout(turnout) {}
  [[nodiscard]] int flush() override {
    _turnout.await();
    return inner().flush();
  }

 private:
  Turnout& _turnout;
};

//! While a flush is under way the other tasks commit: one more is for all of them.
TEST(WorkerCommit, ManyTasksShareAFlush) {
  constexpr int kTasks = 50;
  constexpr int kRounds = 20;
  Recorder recorder;
  Turnout turnout;
  {
    DatabaseOptions options = test::recorded_database(recorder, 256);
    options.checkpoint_thread = true;
    options.log.make_storage = [&] {
      return std::make_unique<SlowFlush>(recorder.open(Recorder::kLog), turnout);
    };
    Database database(options);
    (void)database.tree(0);
    for (int round = 0; round < kRounds && !turnout.waited_in_vain(); ++round) {
      const std::uint64_t flushes = database.log().flushes();
      turnout.expect(kTasks);
      run_tasks(database, kTasks, [&](Worker& worker, int n) -> Task<> {
        Transaction transaction(database);
        transaction.put(0, std::to_string(n) + "." + std::to_string(round), "v");
        turnout.task_came();
        const Lsn lsn = co_await transaction.commit(worker);
        EXPECT_GE(database.log().durable_lsn(), lsn);
      });
      // The first may be for one task. A task has come just before its record is in the log, so the
      // last may miss the second, and so does one whose quantum ends there: on a busy machine more
      // than one. Without sharing there would be one for each task.
      EXPECT_LE(database.log().flushes() - flushes, kTasks / 5);
    }
    EXPECT_FALSE(turnout.waited_in_vain()) << "a task that waits keeps the others from running";
  }
  Database database(test::recorded_database(recorder, 256));
  EXPECT_EQ(database.tree(0).count(), static_cast<std::uint64_t>(kTasks * kRounds));
}

//! The log is filled many times over: tasks wait for the checkpoint's thread, which waits for tasks
//! inside the gate.
TEST(WorkerCommit, GoesOnWhenTheLogIsFull) {
  for (const unsigned percent : {100U, 1U}) {
    const TempFile pages;
    const TempFile log;
    constexpr int kTasks = 40;
    constexpr int kCommits = 60;
    DatabaseOptions options = roomy(pages, log);
    options.checkpoint_percent = percent;
    {
      Database database(options);
      (void)database.tree(0);
      const auto work = [&] {
        run_tasks(database, kTasks, [&](Worker& worker, int n) {
          return commit_many(worker, database, n, kCommits, 900);
        });
      };
      // Beside a thread that blocks.
      std::thread other([&] {
        for (int i = 0; i < 1000; ++i) {
          Transaction transaction(database);
          transaction.put(0, "other " + std::to_string(i), std::string(900, 'o'));
          transaction.commit_no_wait();
        }
      });
      work();
      other.join();
      EXPECT_GT(database.checkpoints(), 4U);
    }
    Database database(options);
    EXPECT_EQ(database.tree(0).count(), static_cast<std::uint64_t>(kTasks * kCommits + 1000));
  }
}

//! Money moves between few accounts: what a transaction has read and locked stays until it has
//! committed.
TEST(WorkerCommit, LockedKeysKeepTheSum) {
  const TempFile pages;
  const TempFile log;
  Database database(roomy(pages, log));
  constexpr int kAccounts = 8;
  constexpr int kStart = 100;
  {
    Transaction start(database);
    for (int i = 0; i < kAccounts; ++i) start.put(0, std::to_string(i), std::to_string(kStart));
    start.commit();
  }
  int conflicts = 0;
  const auto transfer = [&](Worker& worker, int task) -> Task<> {
    for (int i = 0; i < 50;) {
      const std::string from = std::to_string((task + i) % kAccounts);
      const std::string to = std::to_string((task * 3 + i * 5 + 1) % kAccounts);
      ++i;
      if (from == to) continue;
      for (bool done = false; !done;) {
        Transaction transaction(database);
        bool conflict = false;
        try {
          const std::optional<std::string> a = co_await transaction.get_for_update(worker, 0, from);
          co_await worker.yield();
          const std::optional<std::string> b = co_await transaction.get_for_update(worker, 0, to);
          transaction.put(0, from, std::to_string(std::stoi(*a) - 1));
          transaction.put(0, to, std::to_string(std::stoi(*b) + 1));
          EXPECT_EQ(co_await transaction.get(worker, 0, to), std::to_string(std::stoi(*b) + 1))
              << "its own change";
          co_await transaction.commit(worker);
          done = true;
        } catch (const Error& error) {
          if (error.code() != Errc::kConflict) throw;
          conflict = true;
        }
        if (conflict) {
          ++conflicts;
          transaction.rollback();
          co_await worker.yield();
        }
      }
    }
  };
  run_tasks(database, 12, transfer);
  EXPECT_GT(conflicts, 0) << "nobody was in anybody's way: nothing was shown";
  int sum = 0;
  database.tree(0).scan(Bound::all(), [&](Bytes, Bytes value) {
    sum += std::stoi(std::string(value.view()));
    return true;
  });
  EXPECT_EQ(sum, kAccounts * kStart);
}

TEST(WorkerCommit, WhatWouldBlockIsRefusedInATaskAndChangesNothing) {
  const TempFile pages;
  const TempFile log;
  Database database(roomy(pages, log));
  (void)database.tree(0);
  run_tasks(database, 1, [&](Worker& worker, int) -> Task<> {
    Transaction transaction(database);
    transaction.put(0, "k", "v");
    EXPECT_EQ(code_of([&] { transaction.commit(); }), Errc::kInvalidOption);
    EXPECT_EQ(code_of([&] { transaction.commit_no_wait(); }), Errc::kInvalidOption);
    EXPECT_EQ(code_of([&] { (void)database.tree(1); }), Errc::kInvalidOption);
    EXPECT_EQ(code_of([&] { transaction.put(1, "k", "v"); }), Errc::kInvalidOption);
    EXPECT_EQ(code_of([&] { database.checkpoint(); }), Errc::kInvalidOption);
    EXPECT_EQ(database.tree(0).get("k"), std::nullopt);
    const Lsn lsn = co_await transaction.commit_no_wait(worker);  // the transaction is as it was
    EXPECT_EQ(database.tree(0).get("k"), "v");
    co_await database.wait_durable(worker, lsn);
    EXPECT_GE(database.log().durable_lsn(), lsn);
  });
}

TEST(WorkerCommit, NeedsTheCheckpointThread) {
  const TempFile pages;
  const TempFile log;
  DatabaseOptions options = roomy(pages, log);
  options.checkpoint_thread = false;
  Database database(options);
  (void)database.tree(0);
  EXPECT_EQ(code_of([&] {
              run_tasks(database, 1, [&](Worker& worker, int n) {
                return commit_many(worker, database, n, 1, 8);
              });
            }),
            Errc::kInvalidOption);
  EXPECT_EQ(database.tree(0).count(), 0U);
}

//! fsyncgate, in tasks: those that wait for the flush that fails, and all later ones, are told.
//! (Whoever waited for an earlier one may hear of it later.)
TEST(WorkerCommit, AfterAFailedFlushEveryCommitFails) {
  Recorder recorder;
  FaultPlan plan;
  plan.fail_at = 3;
  DatabaseOptions options = test::recorded_database(recorder, 64);
  options.checkpoint_thread = true;
  options.log.make_storage = [&] {
    return std::make_unique<test::FaultyStorage>(recorder.open(Recorder::kLog), plan);
  };
  std::map<std::string, bool> acknowledged;
  int failed = 0;
  Lsn failed_at = 0;
  {
    Database database(options);
    (void)database.tree(0);
    plan.flushes = true;
    run_tasks(database, 10, [&](Worker& worker, int n) -> Task<> {
      for (int i = 0; i < 10; ++i) {
        const std::string key = std::to_string(n * 10 + i);
        Transaction transaction(database);
        transaction.put(0, key, "v");
        try {
          const Lsn lsn = co_await transaction.commit(worker);
          EXPECT_TRUE(failed == 0 || lsn <= failed_at) << "durable after a flush had failed";
          acknowledged[key] = true;
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), Errc::kIo);
          if (failed++ == 0) failed_at = database.log().durable_lsn();
        }
      }
    });
  }
  EXPECT_EQ(failed + static_cast<int>(acknowledged.size()), 100);
  EXPECT_GT(failed, 0);
  std::mt19937_64 random(1);
  Recorder after(recorder.cut(recorder.moment(), random));
  Database database(test::recorded_database(after, 64));
  for (const auto& [key, yes] : acknowledged)
    EXPECT_EQ(database.tree(0).get(key), "v") << "commit " << key << " is lost";
}

//! No room in the log, and its checkpoint cannot be made: an error, not a wait for ever.
TEST(WorkerCommit, AFullLogWhoseCheckpointFailsIsAnError) {
  Recorder recorder;
  FaultPlan plan;
  plan.fail_at = 0;
  plan.times = ~std::uint64_t{0};
  DatabaseOptions options = test::recorded_database(recorder, 256);
  options.checkpoint_thread = true;
  options.pool.make_storage = [&] {
    return std::make_unique<test::FaultyStorage>(recorder.open(Recorder::kPages), plan);
  };
  Database database(options);
  (void)database.tree(0);
  plan.writes = true;
  int committed = 0;
  const Errc code = code_of([&] {
    run_tasks(database, 4, [&](Worker& worker, int n) -> Task<> {
      for (int i = 0; i < 2000; ++i) {
        Transaction transaction(database);
        transaction.put(0, std::to_string(n) + "." + std::to_string(i % 50), std::string(500, 'v'));
        co_await transaction.commit(worker);
        ++committed;
      }
    });
  });
  EXPECT_EQ(code, Errc::kIo);
  EXPECT_GT(committed, 100);
  plan.writes = false;
  Transaction again(database);
  again.put(0, "again", "v");
  again.commit();
}

}  // namespace
}  // namespace vmcache

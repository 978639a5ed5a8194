// SPDX-License-Identifier: MIT
//
// Transactions on real files: what an embedder sees.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "crash/recording_storage.hpp"
#include "crash/workload.hpp"
#include "support/database.hpp"
#include "support/faulty_storage.hpp"
#include "support/in_child.hpp"
#include "support/sanitizer.hpp"
#include "vmcache/database.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::FaultPlan;
using test::in_child;
using test::on_files;
using test::Recorder;
using test::TempFile;

TEST(Database, KeepsWhatWasCommittedAndNothingElse) {
  const TempFile pages;
  const TempFile log;
  {
    Database database(on_files(pages, log));
    Transaction kept(database);
    kept.put(0, "a", "1");
    kept.put(3, "a", "other tree");
    EXPECT_EQ(kept.get(0, "a"), "1");
    EXPECT_EQ(database.tree(0).get("a"), std::nullopt) << "visible before its commit";
    kept.commit();
    Transaction dropped(database);
    dropped.put(0, "a", "2");
    dropped.erase(3, "a");
    EXPECT_EQ(dropped.get(3, "a"), std::nullopt);
    dropped.rollback();
    Transaction left(database);
    left.put(0, "b", "3");
  }
  Database database(on_files(pages, log));
  EXPECT_EQ(database.tree(0).get("a"), "1");
  EXPECT_EQ(database.tree(3).get("a"), "other tree");
  EXPECT_EQ(database.tree(0).count(), 1U);
}

TEST(Database, AKeyIsLockedUntilItsTransactionEnds) {
  const TempFile pages;
  const TempFile log;
  Database database(on_files(pages, log));
  Transaction first(database);
  first.put(0, "k", "1");
  Transaction second(database);
  EXPECT_EQ(code_of([&] { second.put(0, "k", "2"); }), Errc::kConflict);
  EXPECT_EQ(code_of([&] { (void)second.get_for_update(0, "k"); }), Errc::kConflict);
  second.put(1, "k", "same key, other tree");
  first.commit();
  EXPECT_EQ(second.get_for_update(0, "k"), "1");
  second.commit();
}

TEST(Database, RefusesWhatItsLogCannotHoldAndChangesNothing) {
  const TempFile pages;
  const TempFile log;
  Database database(on_files(pages, log));
  Transaction large(database);
  EXPECT_EQ(code_of([&] { large.put(0, "k", std::string(Transaction::kMaxBytes, 'v')); }),
            Errc::kTooLarge);
  for (int i = 0; i < 200; ++i) large.put(0, std::to_string(i), "v");
  EXPECT_EQ(code_of([&] { large.commit(); }), Errc::kTooLarge);
  EXPECT_EQ(database.tree(0).count(), 0U);
  Transaction small(database);
  small.put(0, "k", "v");
  small.commit();
}

TEST(Database, MakesCheckpointsByItselfSoThatItsLogSuffices) {
  const TempFile pages;
  const TempFile log;
  {
    Database database(on_files(pages, log));
    for (int i = 0; i < 4000; ++i) {
      Transaction transaction(database);
      transaction.put(0, std::to_string(i), std::string(300, 'v'));
      transaction.commit_no_wait();
    }
    EXPECT_GT(database.checkpoints(), 3U);
  }
  Database database(on_files(pages, log));
  EXPECT_EQ(database.tree(0).count(), 4000U);
  EXPECT_EQ(database.recovery().transactions, 0U) << "closed cleanly: there is nothing to do again";
}

TEST(Database, WillNotPairAPageFileWithAnEmptyLog) {
  const TempFile pages;
  const TempFile log;
  {
    Database database(on_files(pages, log));
    Transaction transaction(database);
    transaction.put(0, "k", "v");
    transaction.commit();
  }
  const TempFile other;
  EXPECT_EQ(code_of([&] { Database database(on_files(pages, other)); }), Errc::kMismatch);
  Database database(on_files(pages, log));
  EXPECT_EQ(database.tree(0).get("k"), "v");
}

//! fsyncgate: the flush fails once and would succeed again.
TEST(Database, AClosedOneRefusesEveryCall) {
  const TempFile pages;
  const TempFile log;
  Database database(on_files(pages, log));
  Transaction transaction(database);
  transaction.put(0, "k", "v");
  EXPECT_NO_THROW(database.close());
  const auto refused = [](const auto& call) { EXPECT_EQ(code_of(call), Errc::kClosed); };
  refused([&] { (void)transaction.commit(); });
  refused([&] { (void)transaction.get(0, "l"); });
  refused([&] { transaction.put(0, "l", "v"); });
  refused([&] { (void)database.tree(0); });
  refused([&] { database.checkpoint(); });
  EXPECT_NO_THROW(database.close());
}

//! F1 of own_process.hpp: the child has the parent's locks, but not its threads.
TEST(Database, InAChildOfForkEveryCallIsRefusedAndDestructorsDoNothing) {
  const TempFile pages;
  const TempFile log_file;
  const DatabaseOptions options = on_files(pages, log_file);
  auto database = std::make_unique<Database>(options);
  {
    Transaction transaction(*database);
    transaction.put(0, "a", "1");
    transaction.commit();
  }
  auto open = std::make_unique<Transaction>(*database);
  open->put(0, "b", "2");
  const BTree& tree = database->tree(0);
  WriteAheadLog& log = database->log();
  const Bytes body("body");
  int number = 0;
  int failed = 0;
  const auto refused = [&](const auto& call) {
    ++number;
    if (code_of(call) != Errc::kWrongProcess && failed == 0) failed = number;
  };
  EXPECT_EQ(in_child([&] {
              refused([&] { (void)tree.get("a"); });
              refused([&] { (void)database->tree(0); });
              refused([&] { (void)database->tree(1); });
              refused([&] { open->put(0, "c", "3"); });
              refused([&] { (void)open->get_for_update(0, "a"); });
              refused([&] { (void)open->commit(); });
              refused([&] { database->checkpoint(); });
              refused([&] { database->close(); });
              refused([&] { (void)log.append(1, {&body, 1}); });
              refused([&] { log.wait_durable(log.end() + 1); });
              refused([&] { log.set_begin(log.begin()); });
              log.fail(EIO);
              open.reset();
              database.reset();
              return failed;
            }),
            0)
      << "the number of the call that was not refused";
  EXPECT_EQ(
      in_child([&] { return static_cast<int>(code_of([&] { const Database second(options); })); }),
      static_cast<int>(Errc::kInUse));
  open->commit();
  EXPECT_EQ(database->tree(0).get("b"), "2");
  database->close();
  database.reset();
  const Database again(options);
  EXPECT_EQ(again.recovery().transactions, 0u);
}

TEST(Database, ALogIsLeftAloneByAChildThatDestroysIt) {
  const TempFile file;
  LogOptions options;
  options.path = file.path();
  options.capacity_bytes = std::uint64_t{1} << 20;
  auto log = std::make_unique<WriteAheadLog>(options);
  EXPECT_EQ(code_of([&] { log->wait_durable(log->end() + 1); }), Errc::kInvalidOption)
      << "before start()";
  log->start(log->begin());
  const Bytes body("body");
  log->append(1, {&body, 1});
  EXPECT_EQ(in_child([&] {
              log.reset();
              return 0;
            }),
            0);
  log->append(1, {&body, 1});
  EXPECT_NO_THROW(log->flush());
  EXPECT_EQ(in_child([&] {
              return static_cast<int>(code_of([&] { const WriteAheadLog other(options); }));
            }),
            static_cast<int>(Errc::kInUse));
}

//! The log callback is told why a close fails, and throws, too.
TEST(Database, WhatALogCallbackThrowsAtTheEndIsDropped) {
  const TempFile pages;
  const TempFile log;
  DatabaseOptions options = on_files(pages, log);
  unsigned told = 0;
  options.pool.logger = [&](LogLevel level, std::string_view) {
    told += level == LogLevel::kError ? 1 : 0;
    throw std::runtime_error("the log's disk is full");
  };
  {
    Database database(options);
    Transaction transaction(database);
    transaction.put(0, "k", "v");
    transaction.commit();
    database.log().fail(EIO);
  }
  EXPECT_GT(told, 0u);
}

TEST(RecordedDatabase, AfterAFailedFlushEveryCommitFailsAndTheNextOpenKnowsTheGoodOnes) {
  for (std::uint64_t nth = 0; nth < 20; ++nth) {
    Recorder recorder;
    FaultPlan plan;
    plan.fail_at = nth;
    int committed = 0;
    {
      DatabaseOptions options = test::recorded_database(recorder, 32);
      options.log.make_storage = [&] {
        return std::make_unique<test::FaultyStorage>(recorder.open(Recorder::kLog), plan);
      };
      Database database(options);
      (void)database.tree(0);
      plan.flushes = true;
      bool failed = false;
      for (int i = 0; i < 40; ++i) {
        Transaction transaction(database);
        transaction.put(0, std::to_string(i), "v");
        const Errc code = code_of([&] { transaction.commit(); });
        if (code == Errc::kOk) {
          EXPECT_FALSE(failed) << "durable after a flush had failed";
          ++committed;
        } else {
          EXPECT_EQ(code, Errc::kIo);
          failed = true;
        }
      }
      EXPECT_TRUE(failed);
      EXPECT_EQ(committed, static_cast<int>(nth));
    }
    // Nothing that was not flushed is left.
    std::mt19937_64 random(nth);
    Recorder after(recorder.cut(recorder.moment(), random));
    Database database(test::recorded_database(after, 32));
    const auto found = static_cast<int>(database.tree(0).count());
    EXPECT_GE(found, committed);
    EXPECT_LE(found, committed + 1);
  }
}

//! The n-th I/O fails, once or from then on, through open, run, checkpoint and close: an error or
//! success, and whatever was acknowledged is there when all is well again.
TEST(RecordedDatabase, TheNthIoFailsForEveryN) {
  for (const bool for_ever : {false, true}) {
    bool reached = true;
    for (std::uint64_t nth = 0; reached; ++nth) {
      Recorder recorder;
      FaultPlan plan;
      plan.fail_at = nth;
      plan.times = for_ever ? ~std::uint64_t{0} - nth : 1;
      plan.reads = plan.writes = plan.flushes = plan.resizes = true;
      DatabaseOptions options = test::recorded_database(recorder, 16);
      options.pool.frame_wait = std::chrono::milliseconds(50);
      options.pool.make_storage = [&] {
        return std::make_unique<test::FaultyStorage>(recorder.open(Recorder::kPages), plan);
      };
      options.log.make_storage = [&] {
        return std::make_unique<test::FaultyStorage>(recorder.open(Recorder::kLog), plan);
      };
      std::vector<int> acknowledged;
      const auto run = [&] {
        Database database(options);
        for (int i = 0; i < 40; ++i) {
          Transaction transaction(database);
          transaction.put(0, std::to_string(i * 7919 % 1000), std::string(900, 'v'));
          if (i == 20) database.checkpoint();
          transaction.commit();
          acknowledged.push_back(i);
        }
        database.close();
      };
      (void)code_of(run);
      reached = plan.failed > 0;
      Database database(test::recorded_database(recorder, 64));
      for (const int i : acknowledged) {
        ASSERT_TRUE(database.tree(0).get(std::to_string(i * 7919 % 1000)).has_value())
            << "commit " << i << " is lost after I/O " << nth << " failed";
      }
      (void)test::read_state(database);
    }
  }
}

//! The n-th I/O fails while a crashed database is opened: an error or success, and the next open
//! finds everything.
TEST(RecordedDatabase, TheNthIoOfARecoveryFailsForEveryN) {
  Recorder recorder;
  const test::History history = test::run_workload({.seed = 3, .transactions = 200}, recorder);
  std::mt19937_64 random(3);
  const std::uint64_t moment = recorder.moment() * 4 / 5;
  const std::array<test::DiskImage, Recorder::kDevices> left = recorder.cut(moment, random);
  const std::size_t min = history.acknowledged(moment);
  ASSERT_GT(min, 50U);
  bool reached = true;
  std::uint64_t nth = 0;
  for (; reached; ++nth) {
    Recorder after(left);
    FaultPlan plan;
    plan.fail_at = nth;
    plan.reads = plan.writes = plan.flushes = plan.resizes = true;
    DatabaseOptions options = test::recorded_database(after, 64);
    options.pool.make_storage = [&] {
      return std::make_unique<test::FaultyStorage>(after.open(Recorder::kPages), plan);
    };
    options.log.make_storage = [&] {
      return std::make_unique<test::FaultyStorage>(after.open(Recorder::kLog), plan);
    };
    const Errc code = code_of([&] { Database database(options); });
    EXPECT_TRUE(code == Errc::kOk || code == Errc::kIo) << to_string(code);
    reached = plan.failed > 0;
    Database database(test::recorded_database(after, 64));
    ASSERT_TRUE(history.holds(test::read_state(database), min)) << "I/O " << nth << " had failed";
  }
  EXPECT_GT(nth, 20U) << "a recovery that does nothing shows nothing";
}

//! An error or the right answer, never a wrong one. A flip in the very last record cannot be told
//! from a crash that kept it from being written.
TEST(RecordedDatabase, AFlippedBitAnywhereIsAnErrorOrDoesNotMatter) {
  Recorder recorder;
  std::array<test::DiskImage, Recorder::kDevices> good;
  test::History history;
  std::uint64_t log_bytes = 0;
  {
    Database database(test::recorded_database(recorder, 24));
    for (int i = 0; i < 150; ++i) {
      Transaction transaction(database);
      test::History::Commit commit;
      const std::string key = std::to_string(i * 7919 % 80);
      const std::string value(static_cast<std::size_t>(i * 31 % 700),
                              static_cast<char>('a' + i % 26));
      transaction.put(0, key, value);
      commit.changes[{0, key}] = {true, value};
      if (i == 60) database.checkpoint();
      commit.lsn = transaction.commit();
      history.add(std::move(commit));
    }
    good = recorder.content();
    log_bytes = database.log().end() % (std::uint64_t{1} << 20) + 2 * kPageSize;
  }
  history.finish();
  std::mt19937_64 random(11);
  int refused = 0;
  constexpr int kFlips = test::tries(1500);
  for (int flip = 0; flip < kFlips; ++flip) {
    std::array<test::DiskImage, Recorder::kDevices> bad = good;
    const bool in_log = random() % 2 == 0;
    test::DiskImage& image = bad[in_log ? Recorder::kLog : Recorder::kPages];
    const std::uint64_t at = random() % (in_log ? log_bytes : image.size());
    std::byte byte{};
    image.read(at, &byte, 1);
    byte ^= static_cast<std::byte>(1U << random() % 8);
    image.write(at, &byte, 1);
    Recorder after(bad);
    try {
      Database database(test::recorded_database(after, 64));
      ASSERT_TRUE(history.holds(test::read_state(database), history.commits() - 1))
          << "a wrong answer after a flip at byte " << at << " of the "
          << (in_log ? "log" : "page file");
    } catch (const Error& error) {
      ++refused;
      EXPECT_TRUE(error.code() == Errc::kCorrupt || error.code() == Errc::kChecksum ||
                  error.code() == Errc::kWrongPage || error.code() == Errc::kNotADatabase)
          << error.what();
    }
  }
  EXPECT_GT(refused, kFlips / 20);
  EXPECT_LT(refused, kFlips);
}

}  // namespace
}  // namespace vmcache

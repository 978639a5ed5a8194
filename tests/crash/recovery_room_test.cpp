// SPDX-License-Identifier: MIT
//
// Recovery needs no more room than normal work had reserved: not in the log, not in the page file,
// not in memory (docs/recovery.md).
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>
#include <string>

#include "crash/recording_storage.hpp"
#include "crash/workload.hpp"
#include "vmcache/database.hpp"

namespace vmcache {
namespace {

using test::Recorder;

//! Less than a page, so that no image can have been logged: what is left are snapshots.
constexpr std::uint64_t kLessThanAnImage = kPageSize;

//! Takes checkpoints only when it is told to, and has the log for it: so all that was committed
//! since is recovered.
DatabaseOptions without_checkpoints(Recorder& recorder, std::uint64_t frames) {
  DatabaseOptions options = test::recorded_database(recorder, frames);
  options.log.capacity_bytes = std::uint64_t{16} << 20;
  options.checkpoint_thread = false;
  return options;
}

std::string group_key(int group, int n) {
  return std::to_string(10'000'000 + group * 100 + n);
}

void put(Transaction& transaction, int group, int n, std::size_t bytes) {
  transaction.put(0, group_key(group, n), std::string(bytes, 'v'));
}

//! Leaves of which each has just so many entries that one less would have it merged with its
//! neighbour. (With shorter keys it would be merged as it is.)
void build_leaves(Database& database, int groups) {
  constexpr int kKept = 15;
  for (int group = 0; group < groups; ++group) {
    Transaction transaction(database);
    for (int n = 0; n < kKept; ++n) put(transaction, group, n, 96);
    transaction.commit_no_wait();
    Transaction filler(database);  // makes the group a leaf of its own, and goes again
    for (const int n : {15, 16}) put(filler, group, n, 1000);
    put(filler, group, 17, 110);
    filler.commit_no_wait();
  }
  for (int group = 0; group < groups; ++group) {
    Transaction transaction(database);
    for (int n = kKept; n < kKept + 3; ++n) transaction.erase(0, group_key(group, n));
    transaction.commit_no_wait();
  }
}

//! Each transaction leaves its leaf as large as it was; of its changes, made again in another order
//! or one without the other, some would have a leaf split, or merged with one that the log knows
//! nothing of.
TEST(RecoveryRoom, LogsNoPageThatNormalWorkHasNotPaidFor) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    Recorder recorder;
    std::mt19937_64 random(seed);
    constexpr int kGroups = 60;
    std::uint64_t leaves = 0;
    Lsn end = 0;
    std::array<test::DiskImage, Recorder::kDevices> left;
    {
      Database database(without_checkpoints(recorder, 256));
      build_leaves(database, kGroups);
      database.checkpoint();
      for (int round = 0; round < 6; ++round) {
        for (int group = 0; group + 1 < kGroups; group += 2) {
          Transaction transaction(database);
          put(transaction, group, 0, 96);
          const int out = static_cast<int>(random() % 2);
          put(transaction, group, 50 + out, 96 + random() % 4);
          transaction.erase(0, group_key(group, round == 0 ? 3 : 51 - out));
          transaction.commit_no_wait();
        }
      }
      database.log().flush();
      leaves = database.tree(0).verify().leaf_pages;
      ASSERT_EQ(leaves, std::uint64_t{kGroups});
      end = database.log().end();
      left = recorder.content();
    }
    Recorder after(left);
    Database database(without_checkpoints(after, 64));
    EXPECT_GT(database.recovery().transactions, 100U);
    EXPECT_LT(database.log().end() - end, kLessThanAnImage) << "seed " << seed;
    EXPECT_EQ(database.tree(0).verify().leaf_pages, leaves) << "seed " << seed;
  }
}

//! The same for random transactions with values of all sizes: all that was applied was paid for.
TEST(RecoveryRoom, LogsNothingForCommitsThatWereApplied) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    Recorder recorder;
    std::mt19937_64 random(seed);
    Lsn end = 0;
    std::uint64_t pages = 0;
    test::StateHash state = 0;
    std::array<test::DiskImage, Recorder::kDevices> left;
    {
      Database database(without_checkpoints(recorder, 256));
      (void)database.tree(0);
      for (int i = 0; i < 150; ++i) {
        Transaction transaction(database);
        for (auto changes = 1 + random() % 3; changes > 0; --changes) {
          const std::string key = std::to_string(random() % 60);
          const std::size_t bytes = random() % 8 == 0 ? 1000 + random() % 30'000 : random() % 900;
          if (random() % 100 < (i / 30 % 2 == 0 ? 15U : 60U)) {
            transaction.erase(0, key);
          } else {
            transaction.put(0, key, std::string(bytes, static_cast<char>('a' + random() % 26)));
          }
        }
        transaction.commit_no_wait();
      }
      database.log().flush();
      state = test::read_state(database);
      pages = database.pool().stats().database_pages;
      end = database.log().end();
      left = recorder.content();
    }
    // Cut again and again: each attempt finds what the one before has left.
    for (const std::uint64_t frames : {64, 16, 64}) {
      Recorder after(left);
      Database database(without_checkpoints(after, frames));
      EXPECT_GT(database.recovery().changes, 50U);
      EXPECT_LT(database.log().end() - end, kLessThanAnImage) << "seed " << seed;
      EXPECT_EQ(database.pool().stats().database_pages, pages) << "seed " << seed << ": took pages";
      if (frames == 64) {
        EXPECT_EQ(test::read_state(database), state) << "seed " << seed;
      }
    }
  }
}

//! Of 16 frames, an extent of 512 KiB needs 128.
TEST(RecoveryRoom, WritesLargeValuesPastAPoolThatIsSmallerThanTheyAre) {
  Recorder recorder;
  const std::string value(400'000, 'L');
  {
    Database database(without_checkpoints(recorder, 512));
    Transaction transaction(database);
    transaction.put(0, "large", value);
    transaction.put(0, "small", "s");
    transaction.commit();
    const std::array<test::DiskImage, Recorder::kDevices> left = recorder.content();
    Recorder after(left);
    {
      Database small(without_checkpoints(after, 16));
      EXPECT_EQ(small.recovery().transactions, 1U);
      EXPECT_EQ(small.tree(0).get("small"), "s");
      EXPECT_EQ(small.tree(0).count(), 2U);
    }
    Database roomy(without_checkpoints(after, 512));
    EXPECT_EQ(roomy.tree(0).get("large"), value);
  }
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Full is an ordinary error (R15): it fails the transaction that needs room, and nothing else.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool/page_allocator.hpp"
#include "recovery/page_space.hpp"
#include "support/database.hpp"
#include "support/volatile_database.hpp"
#include "support/volatile_device.hpp"
#include "vmcache/database.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::code_of;
using test::VolatileDevice;
using test::VolatileStorage;

constexpr std::uint64_t kSmallBytes = std::uint64_t{2} << 20;

DatabaseOptions database_on(VolatileDevice& pages, VolatileDevice& log) {
  DatabaseOptions options =
      test::on_devices(pages, log, std::uint64_t{1} << 20, std::uint64_t{2} << 20);
  options.pool.frame_wait = std::chrono::seconds(20);
  return options;
}

//! Full at kSmallBytes: by capacity_bytes, or because the device has no more.
DatabaseOptions small_database_on(VolatileDevice& pages, VolatileDevice& log, bool by_capacity) {
  DatabaseOptions options = database_on(pages, log);
  if (by_capacity) {
    options.pool.capacity_bytes = kSmallBytes;
  } else {
    pages.max_bytes = kSmallBytes;
  }
  return options;
}

std::string key_of(std::uint64_t n) {
  return std::string("k").append(std::to_string(n));
}

using Model = std::map<std::string, std::string>;

void expect_model(const Database& database, Database& opened, const Model& model) {
  (void)database;
  std::size_t seen = 0;
  opened.tree(0).scan(Bound::all(), [&](Bytes key, Bytes value) {
    const auto known = model.find(std::string(key.view()));
    if (known == model.end()) {
      ADD_FAILURE() << "not in the model: " << key.view();
    } else {
      EXPECT_EQ(value.view(), known->second) << known->first;
    }
    ++seen;
    return true;
  });
  EXPECT_EQ(seen, model.size());
}

//! Some changes, in one transaction. Whether it was committed; if not, the database was full and
//! nothing has happened.
bool change_something(Database& database, Model& model, std::mt19937_64& random, bool only_erase) {
  std::vector<std::pair<std::string, std::optional<std::string>>> changed;
  Transaction transaction(database);
  const std::size_t changes = 1 + random() % 4;
  for (std::size_t i = 0; i < changes; ++i) {
    const std::string key = key_of(random() % 3000);
    if (only_erase || random() % 8 == 0) {
      transaction.erase(0, key);
      changed.emplace_back(key, std::nullopt);
    } else {
      const std::size_t bytes = random() % 12 == 0 ? random() % 40000 : random() % 1100;
      const std::string value(bytes, static_cast<char>('a' + random() % 26));
      transaction.put(0, key, value);
      changed.emplace_back(key, value);
    }
  }
  const Errc code = code_of([&] { transaction.commit_no_wait(); });
  if (code == Errc::kOk) {
    for (auto& [key, value] : changed) value ? void(model[key] = *value) : void(model.erase(key));
    return true;
  }
  EXPECT_EQ(code, Errc::kDatabaseFull);
  return false;
}

//! What must go on in a full database.
void expect_goes_on(Database& database, Model& model) {
  EXPECT_EQ(database.log().log_error(), 0) << "something was logged and could not be applied";
  EXPECT_EQ(database.tree(0).get(model.begin()->first), model.begin()->second);
  // A value that is no longer than the one in the leaf that it replaces.
  const auto in_leaf = std::ranges::find_if(model, [](const auto& entry) {
    return !entry.second.empty() && entry.second.size() <= BTree::kMaxInlineValue / 2;
  });
  if (in_leaf != model.end()) {
    in_leaf->second.back() = '!';
    Transaction replaces(database);
    replaces.put(0, in_leaf->first, in_leaf->second);
    EXPECT_EQ(code_of([&] { replaces.commit(); }), Errc::kOk);
  }
  Transaction erases(database);
  erases.erase(0, model.begin()->first);
  EXPECT_EQ(code_of([&] { erases.commit(); }), Errc::kOk);
  model.erase(model.begin());
}

TEST(Full, FailsTheTransactionThatNeedsRoomAndNothingElse) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    VolatileDevice pages;
    VolatileDevice log;
    const DatabaseOptions options = small_database_on(pages, log, seed % 2 == 0);
    Model model;
    int full = 0;
    for (int life = 0; life < 3; ++life) {
      Database database(options);
      expect_model(database, database, model);
      for (int i = 0; i < 700; ++i) {
        if (change_something(database, model, random, false)) continue;
        ++full;
        expect_goes_on(database, model);
        // Erasing makes room.
        for (int erased = 0; full % 8 == 0 && erased < 300; ++erased)
          ASSERT_TRUE(change_something(database, model, random, true));
      }
      EXPECT_EQ(database.log().log_error(), 0);
      (void)database.tree(0).verify();
      database.close();
      pages.cut_power();
      log.cut_power();
    }
    EXPECT_GT(full, 10);
    Database database(options);
    expect_model(database, database, model);
  }
}

//! Threads and tasks fill it at the same time. What one of them holds, the others cannot take.
TEST(Full, WhatIsLoggedCanBeAppliedHoweverManyCommitAtATime) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    VolatileDevice pages;
    VolatileDevice log;
    const DatabaseOptions options = small_database_on(pages, log, seed % 2 == 0);
    std::atomic<int> committed{0};
    std::atomic<int> refused{0};
    {
      Database database(options);
      (void)database.tree(0);
      const auto value_of = [](std::mt19937_64& random) {
        return std::string(random() % 20 == 0 ? 5000 + random() % 20000 : random() % 1100, 'v');
      };
      const auto note = [&](Errc code) {
        EXPECT_TRUE(code == Errc::kOk || code == Errc::kDatabaseFull) << to_string(code);
        ++(code == Errc::kOk ? committed : refused);
        return code == Errc::kDatabaseFull;
      };
      std::vector<std::thread> threads;
      for (int n = 0; n < 3; ++n) {
        threads.emplace_back([&, n] {
          std::mt19937_64 random(seed * 10 + static_cast<std::uint64_t>(n));
          for (int i = 0, full = 0; full < 20 && i < 5000; ++i) {
            Transaction transaction(database);
            transaction.put(0, std::to_string(n).append(key_of(random())), value_of(random));
            full += note(code_of([&] { transaction.commit_no_wait(); })) ? 1 : 0;
          }
        });
      }
      threads.emplace_back([&] {
        Worker worker(database.pool());
        for (int n = 3; n < 9; ++n) {
          worker.spawn([](Worker& own, Database& db, const auto& value_of_, const auto& note_,
                          int task, std::uint64_t first) -> Task<> {
            std::mt19937_64 random(first);
            for (int i = 0, full = 0; full < 20 && i < 5000; ++i) {
              Transaction transaction(db);
              const std::string key = std::to_string(task).append(key_of(random()));
              transaction.put(0, key, value_of_(random));
              Errc code = Errc::kOk;
              try {
                co_await transaction.commit_no_wait(own);
              } catch (const Error& error) {
                code = error.code();
              }
              full += note_(code) ? 1 : 0;
            }
          }(worker, database, value_of, note, n, seed * 10 + static_cast<std::uint64_t>(n)));
        }
        worker.run();
      });
      for (std::thread& thread : threads) thread.join();
      EXPECT_EQ(database.log().log_error(), 0) << "something was logged and could not be applied";
      EXPECT_GT(refused, 100);
      (void)database.tree(0).verify();
      database.close();
    }
    Database database(options);
    EXPECT_EQ(database.tree(0).count(), static_cast<std::uint64_t>(committed));
  }
}

//! A value that no frames can be had for fails before its record is in the log.
TEST(Full, AValueLargerThanThePoolFailsItsTransactionAlone) {
  VolatileDevice pages;
  VolatileDevice log;
  DatabaseOptions options = database_on(pages, log);
  options.pool.pool_bytes = 32 * kPageSize;
  options.pool.frame_wait = std::chrono::milliseconds(50);
  Database database(options);
  Transaction large(database);
  large.put(0, "large", std::string(200'000, 'v'));
  EXPECT_EQ(code_of([&] { large.commit(); }), Errc::kPoolExhausted);
  EXPECT_EQ(database.log().log_error(), 0);
  Transaction small(database);
  small.put(0, "small", "v");
  EXPECT_EQ(code_of([&] { small.commit(); }), Errc::kOk);
  database.close();
}

//! The page file's device fails for a while, and checkpoints with it, however often they are tried.
TEST(Full, FailingCheckpointsLeaveTheLogsReserveAlone) {
  VolatileDevice pages;
  VolatileDevice log;
  DatabaseOptions options = database_on(pages, log);
  options.pool.pool_bytes = std::uint64_t{8} << 20;
  options.log.capacity_bytes = std::uint64_t{1} << 20;
  std::mt19937_64 random(7);
  Model model;
  {
    Database database(options);
    for (int round = 0; round < 3; ++round) {
      pages.write_error = EIO;
      for (int refused = 0; refused < 3000;) {
        const std::string key = key_of(random() % 500);
        const std::string value(random() % 600, static_cast<char>('a' + random() % 26));
        Transaction transaction(database);
        transaction.put(0, key, value);
        const Errc code = code_of([&] { transaction.commit_no_wait(); });
        if (code == Errc::kOk) {
          model[key] = value;
        } else {
          ASSERT_EQ(code, Errc::kIo);
          ++refused;
        }
      }
      pages.write_error = 0;
      Transaction again(database);
      again.put(0, "again", key_of(random()));
      ASSERT_EQ(code_of([&] { again.commit(); }), Errc::kOk);
      model["again"] = *database.tree(0).get("again");
      ASSERT_EQ(code_of([&] { database.checkpoint(); }), Errc::kOk);
    }
    database.log().flush();
    pages.cut_power();
    log.cut_power();
    // What the database does from here on is of no use to the next one.
    VolatileDevice pages_left;
    VolatileDevice log_left;
    pages_left.copy(pages, true);
    log_left.copy(log, true);
    DatabaseOptions left = options;
    left.pool.make_storage = [&] { return std::make_unique<VolatileStorage>(pages_left); };
    left.log.make_storage = [&] { return std::make_unique<VolatileStorage>(log_left); };
    Database recovered(left);
    expect_model(database, recovered, model);
  }
}

//! P1, with so few pages that all reservations are counted, and with so many that small ones take
//! the quick way.
TEST(PageSpace, WhatIsReservedCanBeTaken) {
  for (const std::uint64_t capacity : {64U, 600U, 2000U}) {
    VolatileDevice device;
    VolatileStorage storage(device);
    PageAllocator allocator(storage, capacity, 1);
    PageSpace space(allocator);
    std::atomic<int> taken{0};
    std::atomic<int> refused{0};
    std::vector<std::thread> threads;
    for (unsigned n = 0; n < 4; ++n) {
      threads.emplace_back([&, n] {
        std::mt19937_64 random(n);
        std::vector<Extent> own;
        for (int i = 0; i < 4000; ++i) {
          const std::uint64_t pages = 1 + random() % (random() % 4 == 0 ? 30 : 8);
          if (const PageReservation reservation = space.try_reserve(pages)) {
            for (std::uint64_t page = random() % 3; page < pages; ++page) {
              try {
                own.push_back(allocator.allocate(0));
                ++taken;
              } catch (const Error& error) {
                ADD_FAILURE() << error.what();
              }
            }
          } else {
            ++refused;
          }
          const std::size_t keep = refused > 0 && random() % 2 == 0 ? own.size() / 2 : own.size();
          for (; own.size() > keep; own.pop_back()) EXPECT_TRUE(allocator.free(own.back()));
        }
        for (const Extent& extent : own) EXPECT_TRUE(allocator.free(extent));
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_GT(taken, 1000);
    EXPECT_GT(refused, 0);
    EXPECT_TRUE(space.try_reserve(capacity - 1)) << "something is still reserved";
  }
}

//! A page that somebody has latched cannot be given back. Nobody leads to it any more, so it is
//! free for the next open.
TEST(Orphans, AreFreeAfterTheNextOpen) {
  VolatileDevice device;
  PoolOptions options;
  options.make_storage = [&] { return std::make_unique<VolatileStorage>(device); };
  options.pool_bytes = 64 * kPageSize;
  options.capacity_bytes = std::uint64_t{1} << 28;
  options.memory = test::default_memory;
  options.frame_wait = std::chrono::milliseconds(50);
  const std::string large(5 * kPageSize, 'v');
  {
    BufferPool pool(options);
    pool.set_root(0, BTree::create(pool));
    BTree tree(pool, pool.root(0));
    tree.upsert("large", large);
    static constexpr Extent kValue{8, 3};  // the first place for so many pages
    Worker worker(pool);
    worker.spawn([](Worker& own, BTree& changed) -> Task<> {
      const SharedGuard held = co_await own.fix_shared(kValue.page_id, kValue.order);
      EXPECT_TRUE(changed.erase("large"));
    }(worker, tree));
    worker.run();
    EXPECT_EQ(tree.verify().orphan_pages, kValue.pages());
  }
  BufferPool pool(options);
  const BTree tree(pool, pool.root(0));
  std::uint64_t free = 0;
  std::uint64_t end = 0;
  pool.free_extents([&](std::uint64_t next_page, std::span<const Extent> extents) {
    end = next_page;
    for (const Extent& extent : extents) free += extent.pages();
  });
  EXPECT_EQ(free + tree.verify().pages() + 1, end) << "pages are lost";
}

//! A reader's commit waits for what it has read, and for nothing else.
TEST(ReadOnly, ACommitIsForWhatWasRead) {
  VolatileDevice pages;
  VolatileDevice log;
  Database database(database_on(pages, log));
  const auto put = [&](unsigned tree, const std::string& key, bool wait) {
    Transaction transaction(database);
    transaction.put(tree, key, "v");
    return wait ? transaction.commit() : transaction.commit_no_wait();
  };
  const auto read = [&](unsigned tree, const std::string& key, bool wait) {
    Transaction transaction(database);
    (void)transaction.get(tree, key);
    return wait ? transaction.commit() : transaction.commit_no_wait();
  };
  std::mt19937_64 random(3);
  for (int round = 0; round < 50; ++round) {
    const std::string key = key_of(random() % 400);
    put(0, key, true);
    put(1, key, true);
    database.log().flush();  // the leaf's image is behind the commit that it was logged for
    const Lsn old = database.log().durable_lsn();
    const Lsn written = put(0, key, false);
    EXPECT_LE(read(1, key, false), old) << "waits for what it has not read";
    EXPECT_GE(read(0, key, false), written) << "does not wait for what it has read";
    Transaction erases(database);
    erases.erase(0, key);
    const Lsn erased = erases.commit_no_wait();
    EXPECT_GE(read(0, key, false), erased) << "that a key is not there was read, too";
    const Lsn waited = read(0, key, true);
    EXPECT_LE(waited, database.log().durable_lsn());
    EXPECT_GE(database.log().durable_lsn(), erased);
    Worker worker(database.pool());
    const Lsn again = put(0, key, false);
    worker.spawn([](Worker& own, Database& db, std::string what, Lsn min) -> Task<> {
      Transaction transaction(db);
      (void)co_await transaction.get(own, 0, what);
      EXPECT_GE(co_await transaction.commit(own), min);
      EXPECT_GE(db.log().durable_lsn(), min);
    }(worker, database, key, again));
    worker.run();
  }
}

//! The bound on which room is taken for a change, with trees that long keys make deep.
TEST(Full, ChangesTakeNoMorePagesThanAreHeldForThem) {
  constexpr std::uint64_t kChanges = 3;
  std::uint64_t max_levels = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    VolatileDevice device;
    PoolOptions options;
    options.make_storage = [&] { return std::make_unique<VolatileStorage>(device); };
    options.pool_bytes = std::uint64_t{16} << 20;
    options.capacity_bytes = std::uint64_t{1} << 28;
    options.memory = test::default_memory;
    BufferPool pool(options);
    BTree tree(pool, BTree::create(pool));
    std::mt19937_64 random(seed);
    std::vector<std::string> keys;
    std::uint64_t before = 0;
    std::uint64_t levels_before = 0;
    for (std::uint64_t i = 0; i < 1500; ++i) {
      std::string key;
      if (!keys.empty() && random() % 4 != 0) {
        key = keys[random() % keys.size()];
        key.resize(seed % 3 == 0 ? key.size() - std::min<std::size_t>(key.size(), random() % 3)
                                 : random() % (key.size() + 1));
      }
      const std::size_t longer =
          random() % 10 == 0 ? BTree::kMaxKey : random() % (seed % 2 == 0 ? 6 : 1025);
      for (std::size_t n = 0; n < longer && key.size() < BTree::kMaxKey; ++n)
        key.push_back(random() % 50 == 0 ? 'c' : "ab"[random() % 2]);
      const std::size_t max = std::min<std::size_t>(BTree::kMaxInlineValue, 1900 - key.size());
      const std::uint64_t levels = tree.max_levels();
      const std::uint64_t before_this = pool.stats().allocated_pages;
      if (i % kChanges == 0) {
        before = before_this;
        levels_before = levels;
      }
      tree.upsert(key, std::string(random() % 3 == 0 ? max : random() % 30, 'v'));
      const std::uint64_t after = pool.stats().allocated_pages;
      // What pages_of_change() says of one change, and of some in one commit.
      ASSERT_LE(after - before_this, 3 * levels + 8) << "seed " << seed;
      ASSERT_LE(after - before, kChanges * (levels_before + 2) + 2 * levels_before + 6)
          << "seed " << seed;
      max_levels = std::max(max_levels, levels);
      if (random() % 4 == 0) keys.push_back(key);
    }
    pool.close();
  }
  EXPECT_GE(max_levels, 4U) << "the trees must be deep to show something";
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// What the tree does when the pool fails: the error reaches the caller, and the tree is as it was.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "support.hpp"
#include "support/faulty_storage.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::FaultPlan;
using test::number_key;

//! A tree and the map it must equal, on storage that fails on demand.
class BTreeErrors : public testing::Test {
 protected:
  static constexpr std::uint64_t kEntries = 2500;

  void open(std::uint64_t frames, std::uint64_t capacity_pages) {
    PoolOptions options = test::small_pool(_file, frames, capacity_pages);
    test::inject_faults(options, _plan);
    _pool = std::make_unique<BufferPool>(options);
    _tree = std::make_unique<BTree>(*_pool, BTree::create(*_pool));
  }
  void fill() {
    for (std::uint64_t n = 0; n < kEntries; ++n) {
      const std::string value(60 + n % 80, static_cast<char>('a' + n % 26));
      _tree->insert(number_key(n * 7919 % kEntries), value);
      _model[number_key(n * 7919 % kEntries)] = value;
    }
  }

  //! One change, in the tree and, if it succeeds, in the map. False if it failed.
  bool change(std::mt19937_64& random) {
    const std::string key = number_key(random() % (kEntries + 200));
    const std::string value(random() % 12 == 0 ? 5000 + random() % 9000 : random() % 900,
                            static_cast<char>(random()));
    const unsigned kind = static_cast<unsigned>(random() % 4);
    try {
      if (kind == 0) {
        const bool inserted = _tree->insert(key, value);
        EXPECT_EQ(inserted, _model.try_emplace(key, value).second);
      } else if (kind == 1) {
        _tree->upsert(key, value);
        _model[key] = value;
      } else if (kind == 2) {
        const bool erased = _tree->erase(key);
        EXPECT_EQ(erased, _model.erase(key) == 1);
      } else {
        const auto expected = _model.find(key);
        EXPECT_TRUE(_tree->get(key) ==
                    (expected == _model.end() ? std::nullopt : std::optional{expected->second}));
      }
      return true;
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == Errc::kIo || error.code() == Errc::kDatabaseFull) << error.what();
      EXPECT_NE(error.os_error() == 0, error.code() == Errc::kIo) << error.what();
      if (kind == 0) unchanged_by_insert(key);
      return false;
    }
  }
  //! try_emplace came after insert threw, so the map is right; the tree must not have the key if it
  //! has not.
  void unchanged_by_insert(const std::string& key) {
    EXPECT_EQ(_tree->get(key).has_value(), _model.contains(key))
        << "a failed insert left its entry";
  }

  void expect_tree_is_model() {
    const BTreeShape shape = _tree->verify();
    const PoolStats stats = _pool->stats();
    EXPECT_EQ(shape.pages(), stats.allocated_pages - stats.freed_pages)
        << "pages leaked or freed twice";
    EXPECT_EQ(shape.entries, _model.size());
    auto expected = _model.begin();
    _tree->scan(Bound::all(), [&](Bytes key, Bytes value) {
      EXPECT_EQ(key.view(), expected->first);
      EXPECT_TRUE(value.view() == expected->second);
      return ++expected != _model.end();
    });
  }

  test::TempFile _file;
  FaultPlan _plan;
  std::unique_ptr<BufferPool> _pool;
  std::unique_ptr<BTree> _tree;
  std::map<std::string, std::string> _model;
};

TEST_F(BTreeErrors, EveryReadThatFailsIsReportedAndChangesNothing) {
  const std::uint32_t seed = test::test_seed();
  open(24, 1 << 14);
  fill();
  std::uint64_t reported = 0;
  for (std::uint64_t n = 0;; ++n) {
    std::mt19937_64 random{seed};
    _plan.fail_at = n;
    _plan.seen = 0;
    _plan.failed = 0;
    _plan.reads = true;
    for (int i = 0; i < 60; ++i) reported += !change(random);
    _plan.reads = false;
    if (n % 16 == 0) expect_tree_is_model();
    if (HasFailure() || _plan.failed == 0) break;
  }
  EXPECT_GT(reported, 10u);  // 28 to 60, by the seed
  expect_tree_is_model();
  // Whatever could not be given back when a read failed, is given back later.
  _tree->upsert("one more", "change");
  EXPECT_EQ(_tree->verify().orphan_pages, 0u);
}

TEST_F(BTreeErrors, WritesThatFailLoseNothing) {
  const std::uint32_t seed = test::test_seed();
  open(24, 1 << 14);
  fill();
  for (std::uint64_t n = 0;; n += 3) {
    std::mt19937_64 random{seed + n};
    _plan.fail_at = n;
    _plan.seen = 0;
    _plan.failed = 0;
    _plan.times = 3;
    _plan.writes = true;
    for (int i = 0; i < 60; ++i) change(random);
    _plan.writes = false;
    if (n % 9 == 0) expect_tree_is_model();
    if (HasFailure() || _plan.failed == 0) break;
  }
  EXPECT_GT(_pool->stats().write_errors, 2u);
  expect_tree_is_model();
}

TEST_F(BTreeErrors, AFullDatabaseRefusesAndStaysWhole) {
  std::mt19937_64 random{test::test_seed()};
  open(64, 200);
  std::uint64_t refused = 0;
  for (int i = 0; i < 4000 && !HasFailure(); ++i) {
    const std::string key = number_key(random() % 100000);
    const std::string value(random() % 8 == 0 ? 3000 + random() % 30000 : random() % 900, 'v');
    try {
      if (random() % 4 == 0 && !_model.empty()) {
        const std::string erased = _model.lower_bound(key) == _model.end()
                                       ? _model.begin()->first
                                       : _model.lower_bound(key)->first;
        EXPECT_TRUE(_tree->erase(erased));
        _model.erase(erased);
      } else {
        _tree->upsert(key, value);
        _model[key] = value;
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kDatabaseFull) << error.what();
      ++refused;
    }
    if (i % 200 == 0) expect_tree_is_model();
  }
  EXPECT_GT(refused, 100u);
  expect_tree_is_model();
  while (!_model.empty()) {
    EXPECT_TRUE(_tree->erase(_model.begin()->first));
    _model.erase(_model.begin());
  }
  EXPECT_EQ(_tree->verify().pages(), 1u);
}

Task<> change_awaiting(Worker& worker, BTree& tree, std::uint64_t seed, std::uint64_t& failed,
                       std::uint64_t& done) {
  std::mt19937_64 random{seed};
  for (int i = 0; i < 30; ++i) {
    const std::string key = number_key(random() % 3000);
    try {
      random() % 2 == 0 ? co_await tree.upsert(worker, key, std::string(200, 'w'))
                        : co_await tree.erase(worker, key);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kIo);
      ++failed;
    }
  }
  ++done;
}

TEST_F(BTreeErrors, ReadsThatFailUnderTasksReachTheirTaskAlone) {
  open(32, 1 << 14);
  fill();
  _plan.reads = true;
  _plan.fail_at = 5;
  _plan.times = 40;
  std::uint64_t failed = 0;
  std::uint64_t done = 0;
  {
    Worker worker{*_pool};
    for (std::uint64_t task = 0; task < 100; ++task) {
      worker.spawn(change_awaiting(worker, *_tree, task, failed, done));
    }
    worker.run();
  }
  _plan.reads = false;
  EXPECT_EQ(done, 100u);
  EXPECT_GT(failed, 0u);
  EXPECT_LE(failed, 40u);
  const BTreeShape shape = _tree->verify();
  const PoolStats stats = _pool->stats();
  EXPECT_EQ(shape.pages(), stats.allocated_pages - stats.freed_pages);
}

}  // namespace
}  // namespace vmcache

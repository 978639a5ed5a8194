// SPDX-License-Identifier: MIT
//
// Threads that read, write and scan one tree at once, in pools that hold all of it and in pools of
// 16 pages.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "support.hpp"

namespace vmcache {
namespace {

using test::key_number;
using test::number_key;
using test::TreeFixture;

//! A value that shows whether it is whole: the number again and again, and its length follows from
//! it.
std::string value_of(std::uint64_t number, std::uint64_t version) {
  const std::string word = number_key(number * 1000003 + version);
  std::string value = word;
  for (std::uint64_t i = 0; i < number % 20 + version % 7; ++i) value += word;
  return value;
}
void expect_whole(std::uint64_t number, Bytes value) {
  ASSERT_GE(value.size(), 8u);
  const std::uint64_t stamp = key_number(Bytes{value.data(), 8});
  ASSERT_EQ(stamp / 1000003, number) << "a value of another key";
  ASSERT_TRUE(value.view() == value_of(number, stamp % 1000003)) << "bytes of two versions";
}

class Threads {
 public:
  template <typename F>
  void start(unsigned count, F body) {
    for (unsigned i = 0; i < count; ++i)
      _threads.emplace_back([this, body, i] {
        try {
          body(i);
        } catch (const std::exception& error) {
          ADD_FAILURE() << error.what();
          _stop = true;
        }
      });
  }
  //! Longer if `operations` has not got to `least` by then, as on a slow machine. Where it never
  //! does, threads block each other, and the test's time limit ends it.
  void run_for(std::chrono::milliseconds duration, const std::atomic<std::uint64_t>& operations,
               std::uint64_t min) {
    const auto end = std::chrono::steady_clock::now() + duration;
    while (!_stop && (std::chrono::steady_clock::now() < end || operations < min)) {
      std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    join();
  }
  void join() {
    _stop = true;
    for (std::thread& thread : _threads) thread.join();
    _threads.clear();
  }
  [[nodiscard]] bool stopped() const { return _stop.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> _stop{false};
  std::vector<std::thread> _threads;
};

struct Case {
  const char* name;
  std::uint64_t frames;
  std::uint64_t keys;
  unsigned threads;  // of each kind
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class BTreeConcurrency : public testing::TestWithParam<Case> {
 protected:
  static constexpr std::chrono::milliseconds kDuration{2500};

  BTreeConcurrency() : _fixture(GetParam().frames) {}

  //! Keys that are a multiple of four are always there, with changing values; the others come and
  //! go.
  void fill() {
    for (std::uint64_t n = 0; n < GetParam().keys; n += 4)
      _fixture.tree->insert(number_key(n), value_of(n, 0));
  }
  void write(unsigned seed) {
    std::mt19937_64 random{seed};
    while (!_threads.stopped()) {
      const std::uint64_t n = random() % GetParam().keys;
      const std::string key = number_key(n);
      const std::string value = value_of(n, random() % 1000);
      if (n % 4 == 0) {
        EXPECT_FALSE(_fixture.tree->upsert(key, value)) << "an entry was lost";
      } else if (random() % 2 == 0) {
        _fixture.tree->insert(key, value);
      } else {
        _fixture.tree->erase(key);
      }
      _operations.fetch_add(1, std::memory_order_relaxed);
    }
  }
  void read(unsigned seed) {
    std::mt19937_64 random{seed};
    while (!_threads.stopped()) {
      const std::uint64_t n = random() % GetParam().keys;
      const bool found =
          _fixture.tree->lookup(number_key(n), [&](Bytes value) { expect_whole(n, value); });
      EXPECT_TRUE(found || n % 4 != 0) << "an entry was not found: " << n;
      _operations.fetch_add(1, std::memory_order_relaxed);
    }
  }
  //! Order, wholeness, and all entries that are always there.
  void scan(Direction direction) {
    const std::uint64_t fixed = (GetParam().keys + 3) / 4;
    while (!_threads.stopped()) {
      std::uint64_t seen_fixed = 0;
      std::optional<std::uint64_t> previous;
      const auto visit = [&](Bytes key, Bytes value) {
        const std::uint64_t n = key_number(key);
        expect_whole(n, value);
        if (previous) {
          EXPECT_TRUE(direction == Direction::kAscending ? *previous < n : *previous > n)
              << "out of order";
        }
        previous = n;
        seen_fixed += n % 4 == 0;
        return !_threads.stopped();
      };
      if (direction == Direction::kAscending) {
        _fixture.tree->scan(Bound::all(), visit);
      } else {
        _fixture.tree->scan_descending(Bound::all(), visit);
      }
      if (!_threads.stopped()) {
        EXPECT_EQ(seen_fixed, fixed) << "a scan passed over entries";
        _scans.fetch_add(1, std::memory_order_relaxed);
      }
    }
  }

  TreeFixture _fixture;
  Threads _threads;
  std::atomic<std::uint64_t> _operations{0};
  std::atomic<std::uint64_t> _scans{0};
};

TEST_P(BTreeConcurrency, ReadersWritersAndScansBothWaysSeeWholeEntriesAndNeverBlockForEver) {
  const std::uint32_t seed = test::test_seed();
  fill();
  const unsigned threads = GetParam().threads;
  _threads.start(threads, [&](unsigned i) { write(seed + i); });
  _threads.start(threads, [&](unsigned i) { read(seed + 100 + i); });
  _threads.start(threads, [&](unsigned) { scan(Direction::kAscending); });
  _threads.start(threads, [&](unsigned) { scan(Direction::kDescending); });
  _threads.run_for(kDuration, _operations, 100);
  const BTreeShape shape = _fixture.verify();
  std::printf("%lu operations, %lu scans, %lu pages, %lu reads\n",
              static_cast<unsigned long>(_operations.load()),
              static_cast<unsigned long>(_scans.load()), static_cast<unsigned long>(shape.pages()),
              static_cast<unsigned long>(_fixture.pool->stats().read_pages));
}

TEST_P(BTreeConcurrency, ThreadsThatEraseWhatTheyInsertedLeaveAnEmptyTree) {
  const unsigned threads = GetParam().threads * 2;
  const std::uint64_t each = GetParam().keys / threads;
  _threads.start(threads, [&](unsigned i) {
    for (int round = 0; round < 2; ++round) {
      for (std::uint64_t n = 0; n < each; ++n) {
        ASSERT_TRUE(_fixture.tree->insert(number_key(n * threads + i), value_of(n, 1)));
      }
      for (std::uint64_t n = 0; n < each; ++n) {
        const std::uint64_t k = round == 0 ? n : each - 1 - n;
        ASSERT_TRUE(_fixture.tree->erase(number_key(k * threads + i)));
      }
    }
  });
  _threads.join();
  const BTreeShape shape = _fixture.verify();
  EXPECT_EQ(shape.entries, 0u);
  EXPECT_EQ(shape.pages(), 1u) << "nodes that were not merged";
}

TEST_P(BTreeConcurrency, CountersInValuesLoseNoUpdate) {
  constexpr std::uint64_t kCounters = 300;
  for (std::uint64_t n = 0; n < kCounters; ++n) _fixture.tree->insert(number_key(n), number_key(0));
  const unsigned threads = GetParam().threads * 4;
  std::atomic<std::uint64_t> added{0};
  _threads.start(threads, [&](unsigned i) {
    std::mt19937_64 random{i};
    while (!_threads.stopped()) {
      const std::string key = number_key(random() % kCounters);
      EXPECT_TRUE(_fixture.tree->update(key, [](std::span<std::byte> value) {
        const std::string next = number_key(key_number(value) + 1);
        std::memcpy(value.data(), next.data(), next.size());
      }));
      added.fetch_add(1, std::memory_order_relaxed);
      // Neighbours come and go, so that the counters move between nodes.
      const std::string neighbour = key + std::to_string(random() % 3);
      if (random() % 2 == 0) {
        _fixture.tree->insert(neighbour, std::string(200, 'n'));
      } else {
        _fixture.tree->erase(neighbour);
      }
    }
  });
  _threads.run_for(kDuration / 2, added, 20);
  std::uint64_t sum = 0;
  _fixture.tree->scan(Bound::all(), [&](Bytes key, Bytes value) {
    if (key.size() == 8) sum += key_number(value);
    return true;
  });
  EXPECT_EQ(sum, added.load());
  _fixture.verify();
}

class BTreeLargeValues : public BTreeConcurrency {};

TEST_P(BTreeLargeValues, AreReadWholeWhileTheyAreReplaced) {
  constexpr std::uint64_t kKeys = 8;
  const auto large = [](std::uint64_t n, char version) {
    return std::string(n % 2 == 0 ? 5000 + n * 9000 : 300 + n, version);
  };
  for (std::uint64_t n = 0; n < kKeys; ++n) _fixture.tree->insert(number_key(n), large(n, 'a'));
  const auto check = [&](std::uint64_t n, Bytes value) {
    EXPECT_EQ(value.view(), std::string(value.size(), value.view()[0])) << "bytes of two versions";
    EXPECT_TRUE(value.size() == large(n, 'a').size() || value.size() == large(n + 1, 'a').size());
  };
  _threads.start(2, [&](unsigned i) {
    std::mt19937_64 random{i};
    while (!_threads.stopped()) {
      const std::uint64_t n = random() % kKeys;
      EXPECT_FALSE(_fixture.tree->upsert(
          number_key(n), large(n + random() % 2, static_cast<char>('a' + random() % 26))));
      _operations.fetch_add(1, std::memory_order_relaxed);
    }
  });
  _threads.start(2, [&](unsigned i) {
    std::mt19937_64 random{i};
    while (!_threads.stopped()) {
      const std::uint64_t n = random() % kKeys;
      EXPECT_TRUE(_fixture.tree->lookup(number_key(n), [&](Bytes value) { check(n, value); }));
    }
  });
  _threads.start(1, [&](unsigned) {
    while (!_threads.stopped()) {
      std::uint64_t seen = 0;
      _fixture.tree->scan(Bound::all(), [&](Bytes key, Bytes value) {
        check(key_number(key), value);
        return ++seen > 0;
      });
      EXPECT_EQ(seen, kKeys);
    }
  });
  _threads.run_for(kDuration / 2, _operations, 20);
  EXPECT_EQ(_fixture.verify().entries, kKeys);
}

INSTANTIATE_TEST_SUITE_P(Pools, BTreeConcurrency,
                         testing::Values(Case{"all_in_memory", 8192, 4000, 1},
                                         Case{"few_hot_keys", 2048, 120, 2},
                                         Case{"larger_than_pool", 64, 8000, 1},
                                         Case{"16_frames_20_threads", 16, 1500, 5}),
                         [](const testing::TestParamInfo<Case>& c) {
                           return std::string{c.param.name};
                         });

INSTANTIATE_TEST_SUITE_P(Pools, BTreeLargeValues,
                         testing::Values(Case{"all_in_memory", 2048, 0, 0},
                                         Case{"larger_than_pool", 48, 0, 0}),
                         [](const testing::TestParamInfo<Case>& c) {
                           return std::string{c.param.name};
                         });

}  // namespace
}  // namespace vmcache

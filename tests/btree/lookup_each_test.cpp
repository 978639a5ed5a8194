// SPDX-License-Identifier: MIT
//
// Many look-ups at once give what the same look-ups give one by one.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include "support.hpp"
#include "support/faulty_storage.hpp"

namespace vmcache {
namespace {

using test::number_key;
using test::TreeFixture;

std::string value_of(std::uint64_t number) {
  // Every hundredth does not fit into a leaf.
  return std::string(number % 100 == 7 ? 3000 + number : number % 150,
                     static_cast<char>('a' + number % 26));
}

void fill(BTree& tree, std::uint64_t entries) {
  for (std::uint64_t n = 0; n < entries; ++n)
    ASSERT_TRUE(tree.insert(number_key(2 * n), value_of(2 * n)));
}

//! Odd numbers are not there. Some keys are asked for more than once.
std::vector<std::string> random_keys(std::size_t count, std::uint64_t entries, std::uint32_t seed) {
  std::mt19937_64 random{seed};
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < count; ++i) keys.push_back(number_key(random() % (2 * entries + 10)));
  if (count > 3) keys[count / 2] = keys[0];
  return keys;
}

class Answers {
 public:
  explicit Answers(const std::vector<std::string>& keys)
      : _keys(keys), _views(keys.begin(), keys.end()), _calls(keys.size()) {}
  [[nodiscard]] std::span<const Bytes> views() const { return _views; }
  void operator()(std::size_t index, std::optional<Bytes> value) {
    ASSERT_LT(index, _calls.size());
    ++_calls[index];
    const std::uint64_t number = test::key_number(_views[index]);
    ASSERT_EQ(value.has_value(), number % 2 == 0 && number < _end) << number;
    if (value) {
      EXPECT_TRUE(value->view() == value_of(number)) << number;
    }
  }
  void expect_all(std::uint64_t entries) {
    for (const unsigned calls : _calls) EXPECT_EQ(calls, 1u);
    EXPECT_EQ(_end, 2 * entries);
  }
  void entries(std::uint64_t entries) { _end = 2 * entries; }

 private:
  const std::vector<std::string>& _keys;
  std::vector<Bytes> _views;
  std::vector<unsigned> _calls;
  std::uint64_t _end = 0;
};

class LookupEach : public testing::TestWithParam<std::uint64_t> {};

TEST_P(LookupEach, AnswersForEveryKeyOnce) {
  constexpr std::uint64_t kEntries = 20'000;
  const TreeFixture f{GetParam()};
  fill(*f.tree, kEntries);
  const std::uint32_t seed = test::test_seed();
  for (const std::size_t count : {0u, 1u, 15u, 16u, 17u, 1000u}) {
    const std::vector<std::string> keys =
        random_keys(count, kEntries, seed + static_cast<std::uint32_t>(count));
    Answers answers{keys};
    answers.entries(kEntries);
    f.tree->lookup_each(answers.views(), answers);
    answers.expect_all(kEntries);
  }
}

TEST_P(LookupEach, AnswersTasksToo) {
  constexpr std::uint64_t kEntries = 10'000;
  const TreeFixture f{GetParam()};
  fill(*f.tree, kEntries);
  const std::uint32_t seed = test::test_seed();
  std::vector<std::vector<std::string>> keys;
  std::vector<Answers> answers;
  for (std::uint32_t task = 0; task < 8; ++task)
    keys.push_back(random_keys(200, kEntries, seed + task));
  for (const auto& each : keys) answers.emplace_back(each).entries(kEntries);
  {
    Worker worker{*f.pool};
    for (Answers& each : answers) {
      worker.spawn(f.tree->lookup_each(
          worker, each.views(),
          [&each](std::size_t index, std::optional<Bytes> value) { each(index, value); }));
    }
    worker.run();
  }
  for (Answers& each : answers) each.expect_all(kEntries);
}

INSTANTIATE_TEST_SUITE_P(Frames, LookupEach, testing::Values(16, 128, 8192));

TEST(LookupEach, OfAnEmptyTreeFindsNothing) {
  const TreeFixture f{16};
  const std::vector<std::string> keys = random_keys(50, 100, 1);
  Answers answers{keys};
  answers.entries(0);
  f.tree->lookup_each(answers.views(), answers);
  answers.expect_all(0);
}

TEST(LookupEach, SeesWholeEntriesBesideWriters) {
  constexpr std::uint64_t kEntries = 3000;
  const TreeFixture f{64};
  fill(*f.tree, kEntries);
  std::atomic<bool> stop{false};
  // Entries with odd numbers come and go between those that are looked up: splits and merges all
  // the time.
  std::thread writer([&] {
    std::mt19937_64 random{7};
    while (!stop) {
      const std::uint64_t n = 2 * (random() % kEntries) + 1;
      random() % 2 == 0 ? f.tree->upsert(number_key(n), std::string(n % 200, 'x'))
                        : f.tree->erase(number_key(n));
    }
  });
  const std::uint32_t seed = test::test_seed();
  for (std::uint32_t round = 0; round < 20; ++round) {
    std::vector<std::string> keys = random_keys(300, kEntries, seed + round);
    for (std::string& key : keys) key = number_key(test::key_number(key) / 2 * 2);
    Answers answers{keys};
    answers.entries(kEntries);
    f.tree->lookup_each(answers.views(), answers);
    answers.expect_all(kEntries);
  }
  stop = true;
  writer.join();
  f.verify();
}

TEST(LookupEach, ReportsAReadThatFails) {
  test::TempFile file;
  test::FaultPlan plan;
  PoolOptions options = test::small_pool(file, 64);
  test::inject_faults(options, plan);
  const TreeFixture f{options};
  fill(*f.tree, 5000);
  const std::vector<std::string> keys = random_keys(500, 5000, 3);
  Answers answers{keys};
  answers.entries(5000);
  plan.reads = true;
  plan.times = ~std::uint64_t{0} >> 1;
  plan.fail_at = 0;
  try {
    f.tree->lookup_each(answers.views(), answers);
    ADD_FAILURE() << "the pool holds a part of the tree only, and nothing can be read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kIo);
    EXPECT_EQ(error.os_error(), EIO);
    EXPECT_NE(error.page_id(), kNoPage);
  }
  plan.fail_at = ~std::uint64_t{0};
}

}  // namespace
}  // namespace vmcache

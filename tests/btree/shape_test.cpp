// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "support.hpp"

namespace vmcache {
namespace {

using test::key_number;
using test::number_key;
using test::TreeFixture;

enum class Order { kAscending, kDescending, kRandom };

std::vector<std::uint64_t> numbers(std::uint64_t count, Order order) {
  std::vector<std::uint64_t> list(count);
  std::iota(list.begin(), list.end(), 0);
  if (order == Order::kDescending) std::reverse(list.begin(), list.end());
  if (order == Order::kRandom)
    std::shuffle(list.begin(), list.end(), std::mt19937_64{test::test_seed()});
  return list;
}

class EveryOrder : public testing::TestWithParam<std::tuple<Order, Order>> {};

TEST_P(EveryOrder, TheTreeGrowsAndShrinksBackToOnePage) {
  constexpr std::uint64_t kCount = 40000;
  const auto [in, out] = GetParam();
  const TreeFixture f{8192};
  const std::string value(100, 'v');
  for (const std::uint64_t n : numbers(kCount, in))
    ASSERT_TRUE(f.tree->insert(number_key(n), value));
  BTreeShape shape = f.verify();
  EXPECT_EQ(shape.entries, kCount);
  EXPECT_GE(shape.levels, 3u);
  const double fill =
      static_cast<double>(shape.payload_bytes) / static_cast<double>(shape.leaf_pages * kPageSize);
  EXPECT_GT(fill, in == Order::kRandom ? 0.6 : 0.85);
  std::uint64_t erased = 0;
  for (const std::uint64_t n : numbers(kCount, out)) {
    ASSERT_TRUE(f.tree->erase(number_key(n)));
    if (++erased == kCount * 3 / 4) {
      shape = f.verify();
      EXPECT_EQ(shape.entries, kCount - erased);
      EXPECT_LT(shape.leaf_pages, kCount / 4 / 10) << "three quarters erased, and nothing merged";
    }
  }
  shape = f.verify();
  EXPECT_EQ(shape.pages(), 1u);
  EXPECT_EQ(shape.levels, 1u);
}

constexpr Order kOrders[] = {Order::kAscending, Order::kDescending, Order::kRandom};
INSTANTIATE_TEST_SUITE_P(InAndOut, EveryOrder,
                         testing::Combine(testing::ValuesIn(kOrders), testing::ValuesIn(kOrders)));

TEST(BTreeShape, NumbersOfEightBytesFillTheirNodes) {
  const TreeFixture f{16384};
  constexpr std::uint64_t kCount = 200000;
  for (const std::uint64_t n : numbers(kCount, Order::kRandom))
    f.tree->insert(number_key(n), "12345678");
  const BTreeShape shape = f.verify();
  // 8 bytes of slot, 2 of length, 8 of value, and of the key no more than two bytes that its leaf
  // does not share: 200 entries a full leaf, two thirds of that after random inserts.
  EXPECT_LT(shape.leaf_pages, kCount / 115);
  EXPECT_LT(shape.inner_pages, shape.leaf_pages / 80);
}

TEST(BTreeShape, HoldsTheSameAfterAReopen) {
  const test::TempFile file;
  constexpr std::uint64_t kCount = 20000;
  {
    BufferPool pool{test::small_pool(file, 64)};
    BTree tree{pool, BTree::create(pool)};
    pool.set_root(0, tree.root());
    for (const std::uint64_t n : numbers(kCount, Order::kRandom))
      tree.insert(number_key(n), std::to_string(n));
    tree.insert("large", std::string(100000, 'l'));
    pool.close();
  }
  BufferPool pool{test::small_pool(file, 64)};
  const BTree tree{pool, pool.root(0)};
  EXPECT_EQ(tree.verify().entries, kCount + 1);
  EXPECT_TRUE(tree.get("large") == std::string(100000, 'l'));
  std::uint64_t next = 0;
  tree.scan(Bound::all(), [&](Bytes key, Bytes value) {
    if (key.size() != 8) return false;
    EXPECT_EQ(key_number(key), next);
    EXPECT_EQ(value.view(), std::to_string(next));
    return ++next < kCount;
  });
  EXPECT_EQ(next, kCount);
}

TEST(BTreeShape, VerifyFindsWhatIsWrong) {
  const TreeFixture f{1024};
  for (std::uint64_t n = 0; n < 5000; ++n) f.tree->insert(number_key(n), "value");
  f.verify();
  const auto fails_after = [&](std::size_t offset_in_node) {
    // A byte of the root, changed and changed back.
    const std::size_t offset = btree::kHeaderAt + offset_in_node;
    {
      const ExclusiveGuard guard = f.pool->fix_exclusive(f.tree->root());
      guard.data()[offset] ^= std::byte{1};
    }
    bool failed = false;
    try {
      (void)f.tree->verify();
    } catch (const Error& error) {
      failed = error.code() == Errc::kCorrupt;
    }
    const ExclusiveGuard guard = f.pool->fix_exclusive(f.tree->root());
    guard.data()[offset] ^= std::byte{1};
    return failed;
  };
  EXPECT_TRUE(fails_after(0)) << "magic";
  EXPECT_TRUE(fails_after(2)) << "level";
  EXPECT_TRUE(fails_after(4)) << "count";
  EXPECT_TRUE(fails_after(16)) << "first child";
  EXPECT_TRUE(fails_after(88)) << "head of the first slot";
  f.verify();
}

TEST(BTreeShape, ARootThatIsNoneIsCorrupt) {
  const TreeFixture f{64};
  PageId page_id = kNoPage;
  {
    const ExclusiveGuard guard = f.pool->allocate();
    page_id = guard.page_id();
  }
  BTree other{*f.pool, page_id};
  try {
    (void)other.get("k");
    ADD_FAILURE() << "a page of zeros taken for a tree";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kCorrupt);
    EXPECT_EQ(error.page_id(), page_id);
  }
  EXPECT_THROW(other.insert("k", "v"), Error);
}

}  // namespace
}  // namespace vmcache

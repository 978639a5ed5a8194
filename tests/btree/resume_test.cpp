// SPDX-License-Identifier: MIT
//
// A look-up that lacked its leaf goes on at the leaf when it has come, but only if the leaf's
// parent is the same.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "support.hpp"

namespace vmcache {
namespace {

using test::number_key;
using test::TreeFixture;

constexpr std::uint64_t kKeys = 4000;

std::string value_of(std::uint64_t number) {
  return std::string(100, static_cast<char>('a' + number % 26));
}

class ResumedLookup : public testing::Test {
 protected:
  ResumedLookup() {
    for (std::uint64_t i = 0; i < kKeys; ++i) f.tree->insert(number_key(2 * i), value_of(i));
  }

  //! Fixes leaves all over the tree, until a look-up of `key` lacks its leaf.
  Need miss(btree::LookupIntoOp& op, const std::string& key) {
    // Enough of them between two looks that the leaf is not in constant use.
    constexpr std::uint64_t kBetween = 200;
    for (std::uint64_t i = 0; i < 100 * kKeys; ++i) {
      if (i % kBetween == 0) {
        const Need need = op.step(*f.pool);
        if (need.kind == Need::Kind::kPage) return need;
      }
      std::string other = number_key(2 * (i * 997 % kKeys));
      if (other != key) (void)f.tree->get(other);
    }
    ADD_FAILURE() << "the leaf stays in the pool";
    return {};
  }
  void supply(const Need& need) { (void)f.pool->fix_shared(need.extent.page_id); }

  TreeFixture f{32};
  btree::TreeContext context{*f.pool, f.tree->root()};
  std::array<std::byte, 200> buffer{};
};

TEST_F(ResumedLookup, GoesOnAtTheLeaf) {
  const std::string key = number_key(2 * 1234);
  btree::LookupIntoOp op{context, key, buffer};
  const Need need = miss(op, key);
  supply(need);
  ASSERT_TRUE(op.step(*f.pool).done());
  EXPECT_EQ(op.result(), value_of(1234).size());
  EXPECT_EQ(static_cast<char>(buffer[0]), value_of(1234)[0]);
}

TEST_F(ResumedLookup, FindsItsKeyThoughTheLeafWasSplitMeanwhile) {
  // Keys next to ours, which is the leaf's greatest or near it, push it into a new leaf.
  const std::uint64_t number = 1234;
  const std::string key = number_key(2 * number);
  btree::LookupIntoOp op{context, key, buffer};
  const Need need = miss(op, key);
  std::string pushed;
  for (int i = 0; i < 200; ++i) {
    pushed = number_key(2 * number - 1) + std::to_string(i);
    f.tree->insert(pushed, value_of(0));
  }
  supply(need);
  Need more = op.step(*f.pool);
  for (int i = 0; i < 20 && more.kind == Need::Kind::kPage; ++i) {
    supply(more);
    more = op.step(*f.pool);
  }
  ASSERT_TRUE(more.done());
  ASSERT_EQ(op.result(), value_of(number).size())
      << "it looked into the leaf that had the key once";
  EXPECT_EQ(static_cast<char>(buffer[0]), value_of(number)[0]);
}

TEST_F(ResumedLookup, GoesOnThoughTheLeafIsGoneAgain) {
  const std::string key = number_key(2 * 3210);
  btree::LookupIntoOp op{context, key, buffer};
  (void)miss(op, key);
  Need need = op.step(*f.pool);  // nobody has brought it
  for (int i = 0; i < 20 && need.kind == Need::Kind::kPage; ++i) {
    supply(need);
    need = op.step(*f.pool);
  }
  ASSERT_TRUE(need.done());
  EXPECT_EQ(op.result(), value_of(3210).size());
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>

#include "support/options.hpp"
#include "vmcache/btree.hpp"

namespace vmcache::test {

//! The seed of a random test: --gtest_random_seed=N if given, else a new one. Printed, so that a
//! failure can be played again.
inline std::uint32_t test_seed() {
  std::uint32_t seed = static_cast<std::uint32_t>(GTEST_FLAG_GET(random_seed));
  if (seed == 0) seed = std::random_device{}() % 99998 + 1;
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  std::printf("replay: --gtest_filter=%s.%s --gtest_random_seed=%u\n", test->test_suite_name(),
              test->name(), seed);
  testing::Test::RecordProperty("seed", static_cast<int>(seed));
  return seed;
}

//! Eight bytes that are ordered like the number.
inline std::string number_key(std::uint64_t number) {
  std::string key(8, '\0');
  for (int i = 7; i >= 0; --i, number >>= 8)
    key[static_cast<std::size_t>(i)] = static_cast<char>(number & 0xff);
  return key;
}
inline std::uint64_t key_number(Bytes key) {
  std::uint64_t number = 0;
  for (const std::byte byte : key) number = number << 8 | std::to_integer<std::uint64_t>(byte);
  return number;
}

//! A pool on a file of its own, with an empty tree.
struct TreeFixture {
  explicit TreeFixture(std::uint64_t frames, std::uint64_t capacity_pages = 1 << 16)
      : pool(std::make_unique<BufferPool>(small_pool(file, frames, capacity_pages))),
        tree(std::make_unique<BTree>(*pool, BTree::create(*pool))) {}
  explicit TreeFixture(const PoolOptions& options)
      : pool(std::make_unique<BufferPool>(options)),
        tree(std::make_unique<BTree>(*pool, BTree::create(*pool))) {}

  //! Checks the structure, and that every page handed out belongs to the tree.
  BTreeShape verify() const {
    const BTreeShape shape = tree->verify();
    const PoolStats stats = pool->stats();
    EXPECT_EQ(shape.pages(), stats.allocated_pages - stats.freed_pages)
        << "pages leaked or freed twice";
    return shape;
  }

  TempFile file;
  std::unique_ptr<BufferPool> pool;
  std::unique_ptr<BTree> tree;
};

}  // namespace vmcache::test

// SPDX-License-Identifier: MIT
#include "btree/node.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <set>
#include <vector>

#include "btree/node_split.hpp"
#include "btree/tree_walk.hpp"
#include "support.hpp"

namespace vmcache::btree {
namespace {

using test::number_key;

struct Page {
  alignas(8) std::array<std::byte, kPageSize> bytes{};
  Node node() { return Node{bytes.data()}; }
};

void put(Node node, const std::string& key, const std::string& value) {
  node.insert_leaf(node.read().lower_bound(key).index, key, value, false);
}

std::string value_of(const Node& node, unsigned index) {
  const NodeReader::Value value = node.read().value(index);
  return std::string{Bytes{value.data, value.size}.view()};
}

std::string key_of(const Node& node, unsigned index) {
  KeyBuffer key;
  node.key_at(index, key);
  return std::string{key.key().view()};
}

TEST(Node, FindsEveryKeyAndThePlaceOfEveryOther) {
  for (const unsigned count : {0u, 1u, 2u, 15u, 16u, 17u, 18u, 33u, 34u, 35u, 100u, 200u}) {
    Page page;
    Node node = page.node();
    node.init(0, {});
    for (unsigned i = 0; i < count; ++i) put(node, number_key(2 * ((i * 7919) % count) + 1), "v");
    std::uint64_t found = 0;
    for (unsigned i = 0; i <= 2 * count; ++i) {
      const NodeReader::Position position = node.read().lower_bound(number_key(i));
      EXPECT_EQ(position.index, i / 2) << i << " of " << count;
      found += position.found;
    }
    EXPECT_EQ(node.count(), count == 0 ? 0 : found);
  }
}

TEST(Node, BreaksTiesOfHeadsByTheRestOfTheKey) {
  Page page;
  Node node = page.node();
  node.init(0, {});
  std::vector<std::string> keys;
  for (int i = 0; i < 120; ++i)
    keys.push_back("same" + std::string(static_cast<std::size_t>(i % 5), 'x') + std::to_string(i));
  keys.insert(keys.end(), {"", std::string(1, '\0'), std::string(2, '\0'), std::string(5, '\0'),
                           "sam", "same"});
  std::vector<std::string> shuffled = keys;
  std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937{7});
  for (const std::string& key : shuffled) put(node, key, key + "!");
  std::sort(keys.begin(), keys.end());
  ASSERT_EQ(node.count(), keys.size());
  for (unsigned i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(key_of(node, i), keys[i]);
    EXPECT_EQ(value_of(node, i), keys[i] + "!");
    const NodeReader::Position position = node.read().lower_bound(keys[i]);
    EXPECT_TRUE(position.found);
    EXPECT_EQ(position.index, i);
  }
}

//! Keys of 0 to 15 bytes that begin alike and of which many are the beginning of another.
std::string tied_key(std::mt19937& random) {
  constexpr std::array kBytes{'\0', '\1', '\x80', '\xff'};
  std::string key(random() % 16, '\0');
  for (std::size_t i = 0; i < key.size(); ++i)
    if (i >= 3) key[i] = kBytes[random() % (i < 6 ? 2 : kBytes.size())];
  return key;
}

TEST(Node, OrdersKeysThatDifferBehindTheirHeadsOrOnlyInLength) {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    std::mt19937 random{seed};
    Page page;
    Node node = page.node();
    node.init(0, {});
    std::map<std::string, unsigned> keys;
    for (int i = 0; i < 120; ++i) {
      const std::string key = tied_key(random);
      if (keys.try_emplace(key).second) put(node, key, "v");
    }
    unsigned next = 0;
    for (auto& [key, index] : keys) index = next++;
    for (int i = 0; i < 1000; ++i) {
      const std::string key = tied_key(random);
      const auto place = keys.lower_bound(key);
      const NodeReader::Position position = node.read().lower_bound(key);
      ASSERT_EQ(position.index, place == keys.end() ? keys.size() : place->second)
          << "seed " << seed;
      ASSERT_EQ(position.found, place != keys.end() && place->first == key) << "seed " << seed;
    }
  }
}

//! Keys that begin alike, some longer than others, and now and then one that does not.
std::string beginning_alike(std::mt19937& random, std::size_t alike) {
  std::string key(alike, 'k');
  switch (random() % 64) {
    case 0:
      key[random() % alike] = static_cast<char>(random());
      break;
    case 1:
      key.resize(random() % alike);
      break;
    default:
      break;
  }
  for (unsigned i = 0; i < 1 + random() % 6; ++i) key += static_cast<char>(random() % 5);
  return key;
}

TEST(Node, LeavesWhatAllKeysBeginWithOutOfTheirHeads) {
  bool left_out = false;
  for (const std::size_t alike : {3u, 4u, 5u, 8u, 9u, 20u, 300u}) {
    for (unsigned seed = 1; seed <= 10; ++seed) {
      std::mt19937 random{seed};
      Page page;
      Node node = page.node();
      node.init(0, {});
      std::set<std::string> keys;
      for (int i = 0; i < 600; ++i) {
        const std::string key = beginning_alike(random, alike);
        const auto place = keys.lower_bound(key);
        const NodeReader::Position position = node.read().lower_bound(key);
        ASSERT_EQ(position.index, std::distance(keys.begin(), place))
            << alike << " alike, seed " << seed;
        ASSERT_EQ(position.found, place != keys.end() && *place == key);
        if (position.found && random() % 4 == 0) {
          node.erase(position.index);
          keys.erase(key);
        } else if (!position.found && node.leaf_has_room(key.size(), 1)) {
          node.insert_leaf(position.index, key, std::string("v"), false);
          keys.insert(key);
        } else if (!keys.empty() &&
                   random() % 8 == 0) {  // at the ends, so that all have more in common
          const unsigned index = random() % 2 == 0 ? 0 : node.count() - 1;
          keys.erase(key_of(node, index));
          node.erase(index);
        }
        ASSERT_EQ(fault_of(node, 0, {}), "");
        left_out = left_out || node.read().shared_len() > 0;
      }
    }
  }
  EXPECT_TRUE(left_out);
}

TEST(Node, StoresWhatItsFencesHaveInCommonOnce) {
  Page page;
  Node node = page.node();
  const std::string prefix(500, 'p');
  const std::string lower = prefix + "a";
  const std::string upper = prefix + "c";
  node.init(0, {lower, upper});
  for (int i = 100; i < 240; ++i) {
    const std::string key = prefix + "b" + std::to_string(i);
    ASSERT_TRUE(node.leaf_has_room(key.size(), 1)) << i;
    put(node, key, "v");
  }
  EXPECT_EQ(node.read().prefix_len(), prefix.size());
  EXPECT_EQ(key_of(node, 139), prefix + "b239");
}

TEST(Node, UsesEveryByteAgainAfterErase) {
  Page page;
  Node node = page.node();
  node.init(0, {});
  std::map<std::string, std::string> model;
  std::mt19937 random{11};
  for (int round = 0; round < 20000; ++round) {
    const std::string key = std::to_string(random() % 60);
    const NodeReader::Position position = node.read().lower_bound(key);
    ASSERT_EQ(position.found, model.contains(key));
    if (position.found && random() % 2 == 0) {
      node.erase(position.index);
      model.erase(key);
      continue;
    }
    const std::string value(random() % 300, static_cast<char>('a' + random() % 26));
    if (position.found && node.can_replace(position.index, value.size())) {
      node.replace_value(position.index, key, value, false);
      model[key] = value;
    } else if (!position.found && node.leaf_has_room(key.size(), value.size())) {
      node.insert_leaf(position.index, key, value, false);
      model[key] = value;
    }
    ASSERT_EQ(node.count(), model.size());
  }
  unsigned i = 0;
  for (const auto& [key, value] : model) {
    EXPECT_EQ(key_of(node, i), key);
    EXPECT_EQ(value_of(node, i++), value);
  }
}

TEST(Node, SplitsAndMergesWithoutLosingAnything) {
  Page page;
  Page right_page;
  Node node = page.node();
  node.init(0, {Bytes{"key"}, Bytes{"kez"}});
  unsigned count = 0;
  for (; node.leaf_has_room(9, 20); ++count)
    put(node, "key" + std::to_string(100000 + count * 2), std::string(20, 'v'));
  SplitPoint point;
  choose_leaf_split(node, "key100003", point);
  split_leaf(node, right_page.node(), point);
  Node right = right_page.node();
  EXPECT_EQ(node.count() + right.count(), count);
  EXPECT_GT(node.count(), count / 3);
  EXPECT_GT(right.count(), count / 3);
  EXPECT_LT(key_of(node, node.count() - 1), point.separator.key().view());
  EXPECT_GE(key_of(right, 0), point.separator.key().view());
  EXPECT_FALSE(merge_nodes(node, right, point.separator.key()))
      << "the halves of a full node are no merge";
  while (right.count() > 3) right.erase(1);
  ASSERT_TRUE(merge_nodes(node, right, point.separator.key()));
  EXPECT_EQ(std::string{node.fences().lower.view()}, "key");
  EXPECT_EQ(std::string{node.fences().upper->view()}, "kez");
  for (unsigned i = 1; i < node.count(); ++i) EXPECT_LT(key_of(node, i - 1), key_of(node, i));
}

TEST(Node, ReadsOnlyItsPageWhateverTheBytesAre) {
  // The page lies at the end of its memory: a sanitizer sees the first byte behind it.
  const auto page = std::make_unique<std::byte[]>(kPageSize);
  std::mt19937_64 random{test::test_seed()};
  std::array<std::byte, kPageSize> copy;
  for (int round = 0; round < 3000; ++round) {
    for (std::size_t i = 0; i < kPageSize; i += 8) {
      const std::uint64_t bits =
          round % 2 == 0 ? random() : random() & random() & 0x0fff0fff0fff0fff;
      std::memcpy(page.get() + i, &bits, sizeof bits);
    }
    const NodeReader reader{page.get()};
    for (const std::size_t size : {0u, 3u, 8u, 700u}) {
      const std::string key(size, static_cast<char>(random()));
      const NodeReader::Position position = reader.lower_bound(key);
      EXPECT_LE(position.index, reader.count());
      (void)reader.child_for(key);
      (void)reader.child_before(key);
      if (position.index < reader.count()) {
        const NodeReader::Value value = reader.value(position.index);
        NodeReader::copy(copy.data(), value.data, std::min(value.size, copy.size()));
        KeyBuffer whole;
        whole.assign(reader.prefix(), reader.suffix(position.index));
      }
    }
    (void)compare_bytes(reader.lower_fence(), reader.upper_fence());
  }
}

}  // namespace
}  // namespace vmcache::btree

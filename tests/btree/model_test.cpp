// SPDX-License-Identifier: MIT
//
// Random operations on a tree and on std::map, which must agree on every result; the seed replays a
// run.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "support.hpp"

namespace vmcache {
namespace {

using test::TreeFixture;

//! What keys and values look like.
struct Mix {
  const char* name;
  std::size_t key_len_max;
  std::size_t value_len_max;
  unsigned alphabet;        // distinct bytes in keys
  std::size_t prefix_len;   // that all keys share
  unsigned large_permille;  // values of up to 300 kB
  std::uint64_t frames;
  unsigned operations;
};

void PrintTo(const Mix& mix, std::ostream* out) {
  *out << mix.name;
}

class ModelTest : public testing::TestWithParam<Mix> {
 protected:
  using Model = std::map<std::string, std::string>;

  std::string random_key() {
    const Mix& mix = GetParam();
    std::string key(mix.prefix_len, 'p');
    const std::size_t size = _random() % (mix.key_len_max + 1);
    for (std::size_t i = 0; i < size; ++i) {
      key += static_cast<char>(mix.alphabet >= 256 ? _random() : 'a' + _random() % mix.alphabet);
    }
    return key;
  }
  std::string some_key() {
    if (_model.empty() || _random() % 3 == 0) return random_key();
    const auto near = _model.lower_bound(random_key());
    return near == _model.end() ? _model.rbegin()->first : near->first;
  }
  std::string random_value() {
    const Mix& mix = GetParam();
    const bool large = _random() % 1000 < mix.large_permille;
    const std::size_t size = large ? _random() % 300000 : _random() % (mix.value_len_max + 1);
    std::string value(size, static_cast<char>(_random()));
    if (size > 8) value[_random() % size] = '*';
    return value;
  }

  void write_once(unsigned kind) {
    const std::string key = kind < 6 && _random() % 4 != 0 ? random_key() : some_key();
    const bool there = _model.contains(key);
    if (kind < 4) {
      const std::string value = random_value();
      ASSERT_EQ(_fixture->tree->insert(key, value), !there);
      _model.try_emplace(key, value);
    } else if (kind < 6) {
      const std::string value = random_value();
      ASSERT_EQ(_fixture->tree->upsert(key, value), !there);
      _model[key] = value;
    } else if (kind < 7) {
      const std::string value = random_value();
      ASSERT_EQ(_fixture->tree->replace(key, value), there);
      if (there) _model[key] = value;
    } else if (kind < 8) {
      ASSERT_EQ(_fixture->tree->update(key,
                                       [](std::span<std::byte> value) {
                                         for (std::byte& byte : value) byte ^= std::byte{0x5a};
                                       }),
                there);
      if (there) {
        for (char& c : _model[key]) c = static_cast<char>(c ^ 0x5a);
      }
    } else {
      ASSERT_EQ(_fixture->tree->erase(key), there);
      _model.erase(key);
    }
  }

  void read_once() {
    const std::string key = some_key();
    const auto expected = _model.find(key);
    const std::optional<std::string> found = _fixture->tree->get(key);
    ASSERT_EQ(found.has_value(), expected != _model.end());
    if (found) {
      ASSERT_EQ(*found, expected->second);
    }
    std::array<std::byte, 64> buffer{};
    const std::optional<std::size_t> size = _fixture->tree->lookup(key, buffer);
    ASSERT_EQ(size.has_value(), found.has_value());
    if (size) {
      ASSERT_EQ(*size, found->size());
      ASSERT_EQ(std::memcmp(buffer.data(), found->data(), std::min(*size, buffer.size())), 0);
    }
  }

  void scan_once() {
    const std::string key = some_key();
    const bool inclusive = _random() % 2 == 0;
    std::size_t left = _random() % 40 + 1;
    const Bound bound = inclusive ? Bound::at(key) : Bound::beyond(key);
    if (_random() % 2 == 0) {
      auto expected = inclusive ? _model.lower_bound(key) : _model.upper_bound(key);
      _fixture->tree->scan(bound, [&](Bytes k, Bytes v) {
        EXPECT_NE(expected, _model.end());
        EXPECT_EQ(k.view(), expected->first);
        EXPECT_TRUE(v.view() == expected->second);
        ++expected;
        return --left > 0;
      });
      EXPECT_TRUE(left == 0 || expected == _model.end());
    } else {
      auto expected =
          std::make_reverse_iterator(inclusive ? _model.upper_bound(key) : _model.lower_bound(key));
      _fixture->tree->scan_descending(bound, [&](Bytes k, Bytes v) {
        EXPECT_NE(expected, _model.rend());
        EXPECT_EQ(k.view(), expected->first);
        EXPECT_TRUE(v.view() == expected->second);
        ++expected;
        return --left > 0;
      });
      EXPECT_TRUE(left == 0 || expected == _model.rend());
    }
  }

  void compare_all() {
    const BTreeShape shape = _fixture->verify();
    ASSERT_EQ(shape.entries, _model.size());
    ASSERT_EQ(_fixture->tree->count(), _model.size());
    auto expected = _model.begin();
    _fixture->tree->scan(Bound::all(), [&](Bytes key, Bytes value) {
      EXPECT_EQ(key.view(), expected->first);
      EXPECT_TRUE(value.view() == expected->second);
      return ++expected != _model.end();
    });
    ASSERT_EQ(expected, _model.end());
  }

  std::mt19937_64 _random;
  std::unique_ptr<TreeFixture> _fixture;
  Model _model;
};

TEST_P(ModelTest, TheTreeAgreesWithAMap) {
  _random.seed(test::test_seed());
  const Mix& mix = GetParam();
  _fixture = std::make_unique<TreeFixture>(mix.frames);
  for (unsigned i = 0; i < mix.operations && !HasFailure(); ++i) {
    // Phases of growth and of decline, so that nodes split and merge at every level.
    const bool shrinking = i / (mix.operations / 5 + 1) % 2 == 1;
    const unsigned kind = static_cast<unsigned>(_random() % (shrinking ? 20 : 10));
    write_once(shrinking && kind >= 7 ? 9 : kind);
    if (i % 2 == 0) read_once();
    if (i % 16 == 0) scan_once();
    if (i % 4096 == 4095) compare_all();
  }
  compare_all();
  const BTreeShape full = _fixture->verify();
  std::printf("%zu entries in %lu pages, %u levels; %lu pages read\n", _model.size(),
              static_cast<unsigned long>(full.pages()), full.levels,
              static_cast<unsigned long>(_fixture->pool->stats().read_pages));
  EXPECT_GE(full.levels, 2u) << "too few entries to test anything";
  while (!_model.empty() && !HasFailure()) {
    ASSERT_TRUE(_fixture->tree->erase(_model.begin()->first));
    _model.erase(_model.begin());
    if (!_model.empty()) {
      ASSERT_TRUE(_fixture->tree->erase(_model.rbegin()->first));
      _model.erase(std::prev(_model.end()));
    }
  }
  const BTreeShape shape = _fixture->verify();
  EXPECT_EQ(shape.pages(), 1u) << "an empty tree is its root";
}

INSTANTIATE_TEST_SUITE_P(
    Mixes, ModelTest,
    testing::Values(Mix{"small", 12, 40, 256, 0, 0, 4096, 250000},
                    Mix{"few_letters", 14, 10, 2, 0, 0, 4096, 150000},
                    Mix{"longest", BTree::kMaxKey, BTree::kMaxInlineValue, 3, 0, 0, 4096, 12000},
                    Mix{"long_prefix", 20, 30, 4, BTree::kMaxKey - 20, 0, 4096, 60000},
                    Mix{"larger_than_pool", 30, 200, 256, 3, 0, 32, 20000},
                    Mix{"large_values", 16, 900, 8, 0, 60, 1024, 6000}),
    [](const testing::TestParamInfo<Mix>& mix) { return std::string{mix.param.name}; });

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "support.hpp"

namespace vmcache {
namespace {

using test::TreeFixture;

TEST(BTreeLimits, TakesKeysAndValuesFromEmptyToAQuarterPage) {
  const TreeFixture f{64};
  for (const std::size_t key_size : {0u, 1u, 4u, 5u, 500u, 1023u, 1024u}) {
    for (const std::size_t value_size : {0u, 1u, 1023u, 1024u, 1025u}) {
      const std::string key(key_size, 'k');
      const std::string value(value_size, 'v');
      EXPECT_TRUE(f.tree->insert(key, value));
      EXPECT_FALSE(f.tree->insert(key, "other"));
      EXPECT_EQ(f.tree->get(key), value);
      f.verify();
      EXPECT_TRUE(f.tree->erase(key));
      EXPECT_FALSE(f.tree->erase(key));
      EXPECT_EQ(f.tree->get(key), std::nullopt);
    }
  }
  EXPECT_EQ(f.verify().pages(), 1u);
}

template <typename F>
std::string refused_as_too_large(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kTooLarge);
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return {};
}

TEST(BTreeLimits, RefusesWhatIsTooLargeAndSaysTheLimit) {
  const TreeFixture f{64};
  f.tree->insert("here", "1");
  const std::string key(1025, 'k');
  EXPECT_THAT(refused_as_too_large([&] { f.tree->insert(key, "v"); }), testing::HasSubstr("1024"));
  EXPECT_THAT(refused_as_too_large([&] { f.tree->upsert(key, "v"); }), testing::HasSubstr("1024"));
  const std::string value(BTree::kMaxValue + 1, 'v');
  EXPECT_THAT(refused_as_too_large([&] { f.tree->insert("k", value); }),
              testing::HasSubstr(std::to_string(BTree::kMaxValue)));
  EXPECT_EQ(f.tree->get(key), std::nullopt);
  EXPECT_FALSE(f.tree->erase(key));
  const BTreeShape shape = f.verify();
  EXPECT_EQ(shape.entries, 1u);
  EXPECT_EQ(shape.pages(), 1u);
}

TEST(BTreeLimits, FitsLongKeysBetweenLongFences) {
  // Neighbours that differ in the last byte alone make fences of a quarter page.
  const TreeFixture f{256};
  const std::string value(BTree::kMaxInlineValue, 'v');
  for (int round = 0; round < 2; ++round) {
    for (int a = 0; a < 26; ++a) {
      for (const char last : {'c', 'a', 'd', 'b'}) {
        const std::string key = std::string(1023, static_cast<char>('a' + a)) + last;
        EXPECT_TRUE(f.tree->insert(key, value));
      }
    }
    f.verify();
    for (int a = 25; a >= 0; --a) {
      for (const char last : {'b', 'd'}) {
        EXPECT_TRUE(f.tree->erase(std::string(1023, static_cast<char>('a' + a)) + last));
      }
    }
    f.verify();
    for (int a = 0; a < 26; ++a) {
      for (const char last : {'a', 'c'}) {
        EXPECT_TRUE(f.tree->erase(std::string(1023, static_cast<char>('a' + a)) + last));
      }
    }
    EXPECT_EQ(f.verify().pages(), 1u);
  }
}

TEST(BTreeLimits, SearchesForKeysThatAreLongerThanAny) {
  const TreeFixture f{64};
  const std::string longest(1024, 'k');
  f.tree->insert(longest, "1");
  f.tree->insert("l", "2");
  const std::string longer(2000, 'k');
  EXPECT_EQ(f.tree->get(longer), std::nullopt);
  std::string seen;
  f.tree->scan(Bound::at(longer), [&](Bytes, Bytes value) { return seen += value.view(), true; });
  EXPECT_EQ(seen, "2");
  seen.clear();
  f.tree->scan_descending(Bound::at(longer),
                          [&](Bytes, Bytes value) { return seen += value.view(), true; });
  EXPECT_EQ(seen, "1");
}

std::string pattern(std::size_t size, unsigned seed) {
  std::string text(size, '\0');
  std::minstd_rand random{seed + 1};
  for (std::size_t i = 0; i < size; i += 61) text[i] = static_cast<char>(random());
  return text;
}

TEST(BTreeLimits, KeepsLargeValues) {
  const TreeFixture f{12000};
  const std::size_t mib = 1 << 20;
  const std::size_t sizes[] = {1025, 4096,    4097,         5 * 4096, mib - 1,
                               mib,  mib + 1, 3 * mib + 77, 16 * mib, 17 * mib + 4095};
  for (const std::size_t size : sizes) {
    const std::string key = std::to_string(size);
    EXPECT_TRUE(f.tree->insert(key, pattern(size, 1)));
    EXPECT_FALSE(f.tree->insert(key, pattern(size, 2)));
    EXPECT_TRUE(f.tree->get(key) == pattern(size, 1)) << size;
    std::array<std::byte, 100> front{};
    EXPECT_EQ(f.tree->lookup(key, front), size);
    EXPECT_EQ(std::memcmp(front.data(), pattern(size, 1).data(), front.size()), 0);
    f.verify();
  }
  std::size_t seen = 0;
  f.tree->scan(Bound::all(), [&](Bytes key, Bytes value) {
    EXPECT_TRUE(value.view() == pattern(std::stoul(std::string{key.view()}), 1));
    return ++seen > 0;
  });
  EXPECT_EQ(seen, std::size(sizes));
  for (const std::size_t size : sizes) {
    const std::string key = std::to_string(size);
    EXPECT_FALSE(f.tree->upsert(key, pattern(size / 2, 3)));
    EXPECT_TRUE(f.tree->get(key) == pattern(size / 2, 3));
    EXPECT_TRUE(f.tree->replace(key, "small"));
    EXPECT_EQ(f.tree->get(key), "small");
    EXPECT_TRUE(f.tree->replace(key, pattern(size, 4)));
    f.verify();
    EXPECT_TRUE(f.tree->erase(key));
  }
  EXPECT_EQ(f.verify().pages(), 1u);
}

TEST(BTreeLimits, UpdatesLargeValuesInPlaceUpToOneExtent) {
  const TreeFixture f{2048};
  const std::size_t mib = 1 << 20;
  f.tree->insert("mib", std::string(mib, 'a'));
  EXPECT_TRUE(
      f.tree->update("mib", [](std::span<std::byte> value) { value.back() = std::byte{'z'}; }));
  EXPECT_EQ(f.tree->get("mib")->back(), 'z');
  f.tree->insert("more", std::string(mib + 1, 'a'));
  refused_as_too_large([&] { f.tree->update("more", [](std::span<std::byte>) { FAIL(); }); });
  EXPECT_FALSE(f.tree->update("none", [](std::span<std::byte>) { FAIL(); }));
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include "storage/layout.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

#include "vmcache/types.hpp"

namespace vmcache {
namespace {

TEST(Layout, OneDeviceIsTakenAsItIs) {
  const Layout layout;
  const Piece piece = layout.piece(123 * kPageSize, std::uint64_t{1} << 20);
  EXPECT_EQ(piece.device, 0u);
  EXPECT_EQ(piece.offset, 123 * kPageSize);
  EXPECT_EQ(piece.bytes, std::uint64_t{1} << 20);
  const std::uint64_t size = 7 * kPageSize;
  EXPECT_EQ(layout.total({&size, 1}), size);
  EXPECT_EQ(layout.share(0, size), size);
}

TEST(Layout, GivesEveryPageAPlaceOfItsOwnBehindTheLabels) {
  for (const unsigned devices : {2u, 3u, 7u}) {
    for (const unsigned shift : {12u, 14u}) {
      const std::uint64_t stripe = std::uint64_t{1} << shift;
      const Layout layout(devices, shift, stripe);
      std::set<std::pair<unsigned, std::uint64_t>> taken;
      for (std::uint64_t page = 0; page < 500; ++page) {
        const Piece piece = layout.piece(page * kPageSize, kPageSize);
        EXPECT_LT(piece.device, devices);
        EXPECT_GE(piece.offset, stripe);
        EXPECT_EQ(piece.bytes, kPageSize);
        EXPECT_TRUE(taken.emplace(piece.device, piece.offset).second) << page;
      }
    }
  }
}

TEST(Layout, CutsAtEveryBorderAndNowhereElse) {
  const Layout layout(3, 14, 1 << 14);
  std::uint64_t bytes = 0;
  std::vector<unsigned> devices;
  layout.for_each_piece(2 * kPageSize, 10 * kPageSize, [&](const Piece& piece) {
    bytes += piece.bytes;
    devices.push_back(piece.device);
  });
  EXPECT_EQ(bytes, 10 * kPageSize);
  EXPECT_EQ(devices, (std::vector<unsigned>{0, 1, 2}));
}

TEST(Layout, SharesAndTotalsAreEachOthersInverse) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 5000; ++i) {
    const auto devices = static_cast<unsigned>(2 + random() % 9);
    const auto shift = static_cast<unsigned>(12 + random() % 8);
    const Layout layout(devices, shift, std::uint64_t{1} << shift);
    const std::uint64_t total = random() % 100'000 * kPageSize;
    std::vector<std::uint64_t> sizes;
    for (unsigned device = 0; device < devices; ++device)
      sizes.push_back(layout.share(device, total));
    ASSERT_EQ(layout.total(sizes), total) << devices << " devices, 2^" << shift;
    // A device with less than its share holds less; more on one alone is of no use.
    auto& some = sizes[random() % devices];
    if (some > layout.stripe_bytes()) {
      some -= kPageSize;
      ASSERT_LT(layout.total(sizes), total);
    }
  }
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// One flipped bit, anywhere: the library gives an error or a right answer, and vmcache-check finds
// it and says where.
#include <gtest/gtest.h>

#include <algorithm>

#include "btree/node.hpp"
#include "check/damage.hpp"
#include "recovery/redo.hpp"
#include "support/sanitizer.hpp"

namespace vmcache {
namespace {

using check::Region;
using test::Answer;
using test::Images;
using test::Place;
using test::Places;
using test::Recorder;

constexpr int kFlips = test::tries(60);  // a region

const Place& any_of(const std::vector<Place>& places, std::mt19937_64& random) {
  return places[random() % places.size()];
}

std::string found_by(const check::Report& report) {
  return report.text();
}

//! Whether the damage is named. Of a page of a tree, the flipped bit may be the one that says what
//! it is.
bool named(const check::Report& report, Region region) {
  if (region != Region::kInner && region != Region::kLeaf) return test::names(report, {region});
  return test::names(report, {Region::kInner, Region::kLeaf, Region::kNode});
}

TEST(FlippedBit, InAClosedDatabaseWithItsLogIsFoundInEveryRegion) {
  const test::Logged database = test::closed_database();
  ASSERT_TRUE(test::check_images(database.images, true).sound());
  const Places places = test::places_of(database.images, true);
  std::mt19937_64 random(1);
  for (const Region region : {Region::kHeader, Region::kFreeList, Region::kInner, Region::kLeaf,
                              Region::kMaster, Region::kSnapshot}) {
    ASSERT_TRUE(places.contains(region)) << to_string(region);
    int errors = 0;
    for (int i = 0; i < kFlips; ++i) {
      Images bad = database.images;
      test::flip_bit(bad, any_of(places.at(region), random), random);
      const check::Report report = test::check_images(bad, true);
      EXPECT_TRUE(named(report, region)) << to_string(region) << ":\n" << found_by(report);
      const Answer answer = test::ask(database, bad, database.min);
      EXPECT_NE(answer, Answer::kWrong) << to_string(region);
      errors += answer == Answer::kError;
    }
    // Page 0 and the list of free pages are the log's business; of two masters one suffices.
    const bool mended =
        region == Region::kHeader || region == Region::kFreeList || region == Region::kMaster;
    if (!mended) {
      EXPECT_EQ(errors, kFlips) << to_string(region);
    }
  }
}

TEST(FlippedBit, InADatabaseThatIsToBeRecoveredIsFoundOrMended) {
  const test::Logged database = test::cut_database();
  const check::Report sound = test::check_images(database.images, true);
  ASSERT_TRUE(sound.sound()) << sound.text();
  EXPECT_TRUE(sound.counts.pending);
  EXPECT_GT(sound.counts.transactions, 0U);
  std::mt19937_64 random(2);
  int found = 0;
  const std::uint64_t used = 2 * kPageSize + (std::uint64_t{1} << 20);
  for (int i = 0; i < 4 * kFlips; ++i) {
    Images bad = database.images;
    const bool in_log = i % 2 == 0;
    test::flip_bit(bad,
                   in_log ? Place{Recorder::kLog, 0, used}
                          : Place{Recorder::kPages, 0, database.images[Recorder::kPages].size()},
                   random);
    const check::Report report = test::check_images(bad, true);
    // The last record may be lost: that is what a crash looks like (R8).
    const Answer answer = test::ask(database, bad, database.min - 1);
    EXPECT_NE(answer, Answer::kWrong) << found_by(report);
    if (answer == Answer::kError) {
      EXPECT_FALSE(report.sound()) << found_by(report);
    }
    if (report.sound()) {
      EXPECT_EQ(answer, Answer::kRight) << found_by(report);
    }
    found += !report.sound();
  }
  EXPECT_GT(found, 0);
}

//! Of a database whose last checkpoint has left a list in the page file, killed while it was open.
Images with_a_free_list() {
  Recorder recorder;
  Database database(test::recorded_database(recorder, 64));
  const auto commit = [&](auto change) {
    Transaction transaction(database);
    change(transaction);
    transaction.commit();
  };
  // A page each.
  for (int n = 0; n < 60; ++n)
    commit([&](Transaction& put) { put.put(0, std::to_string(n), std::string(2000, 'v')); });
  for (int n = 0; n < 60; n += 2)
    commit([&](Transaction& erase) { erase.erase(0, std::to_string(n)); });
  database.checkpoint();
  commit([&](Transaction& put) { put.put(0, "later", "v"); });
  return recorder.content();
}

//! Where the list lies that the log's snapshot names.
std::vector<PageId> list_pages_of(const Images& images) {
  Recorder recorder(images);
  LogOptions options;
  options.make_storage = [&] { return recorder.open(Recorder::kLog); };
  WriteAheadLog log(options);
  Redo redo(images[Recorder::kPages].size() / kPageSize);
  (void)log.scan([&](const WriteAheadLog::Record& record) { redo.visit(record); });
  redo.read_free_list(*recorder.open(Recorder::kPages));
  return redo.state().list_pages;
}

TEST(FlippedBit, InTheFreeListOfADatabaseThatIsToBeRecoveredIsNamedByItsPage) {
  const Images images = with_a_free_list();
  const check::Report sound = test::check_images(images, true);
  ASSERT_TRUE(sound.sound()) << sound.text();
  EXPECT_TRUE(sound.counts.pending);
  const std::vector<PageId> list = list_pages_of(images);
  ASSERT_FALSE(list.empty());
  std::mt19937_64 random(8);
  for (int i = 0; i < kFlips; ++i) {
    const PageId page_id = list[random() % list.size()];
    Images bad = images;
    test::flip_bit(bad, {Recorder::kPages, page_id * kPageSize, kPageSize}, random);
    const check::Report report = test::check_images(bad, true);
    EXPECT_TRUE(test::names(report, {Region::kFreeList})) << report.text();
    ASSERT_FALSE(report.findings().empty());
    EXPECT_EQ(report.findings()[0].place, "page " + std::to_string(page_id)) << report.text();
    Recorder recorder(bad);
    try {
      const Database database(test::recorded_database(recorder, 64));
      ADD_FAILURE() << "was opened";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kCorrupt) << error.what();
      EXPECT_EQ(error.page_id(), page_id) << error.what();
      EXPECT_NE(error.status().expected, error.status().found) << error.what();
    }
    EXPECT_EQ(recorder.moment(), 0U) << "something was written";
  }
}

TEST(FlippedBit, InARecordIsNamedByItsPosition) {
  const test::Logged database = test::cut_database();
  Recorder recorder(database.images);
  LogOptions options;
  options.make_storage = [&] { return recorder.open(Recorder::kLog); };
  WriteAheadLog log(options);
  std::vector<WriteAheadLog::Record> records;
  (void)log.scan([&](const WriteAheadLog::Record& record) { records.push_back(record); });
  ASSERT_GT(records.size(), 40U);
  std::mt19937_64 random(3);
  for (int i = 0; i < kFlips; ++i) {
    // Not the last ones, after which nothing says that they were durable.
    const WriteAheadLog::Record& record = records[random() % (records.size() * 3 / 4)];
    const std::uint64_t at = 2 * kPageSize + record.begin % log.capacity_bytes();
    if (at + record.end - record.begin > 2 * kPageSize + log.capacity_bytes()) continue;
    Images bad = database.images;
    test::flip_bit(bad, {Recorder::kLog, at, 32 + record.body.size()}, random);
    const check::Report report = test::check_images(bad, true);
    EXPECT_TRUE(test::names(report, {Region::kRecord, Region::kSnapshot}));
    ASSERT_FALSE(report.findings().empty());
    EXPECT_EQ(report.findings()[0].place, "LSN " + std::to_string(record.begin)) << report.text();
    EXPECT_EQ(test::ask(database, bad, 0), Answer::kError);
  }
}

TEST(FlippedBit, InAPoolWithPageHeadersIsFoundInEveryRegion) {
  const test::Plain database = test::plain_database(true);
  ASSERT_TRUE(test::check_images(database.images, false).sound());
  const Places places = test::places_of(database.images, false);
  std::mt19937_64 random(4);
  for (const auto& [region, list] : places) {
    for (int i = 0; i < kFlips; ++i) {
      Images bad = database.images;
      test::flip_bit(bad, any_of(list, random), random);
      const check::Report report = test::check_images(bad, false);
      EXPECT_TRUE(named(report, region)) << to_string(region) << ":\n" << found_by(report);
      EXPECT_EQ(test::ask(database, bad), Answer::kError) << to_string(region);
    }
  }
  EXPECT_EQ(places.size(), 5U) << "header, free list, inner, leaf, large value";
}

//! Without checksums, a wrong key or value looks like a right one. But the library must come to an
//! end, and the checker must see what contradicts itself.
TEST(FlippedBit, InAPoolWithoutPageHeadersEndsAndItsStructureIsChecked) {
  const test::Plain database = test::plain_database(false);
  ASSERT_TRUE(test::check_images(database.images, false).sound());
  const Places places = test::places_of(database.images, false);
  ASSERT_TRUE(places.contains(Region::kLargeValue));
  std::mt19937_64 random(5);
  for (const auto& [region, list] : places) {
    const bool tree = region == Region::kInner || region == Region::kLeaf;
    for (int i = 0; i < (tree ? 6 * kFlips : kFlips); ++i) {
      Images bad = database.images;
      Place place = any_of(list, random);
      if (tree && i % 2 == 0) {  // where a node says how it is built
        place.offset += btree::kHeaderAt;
        place.bytes = sizeof(btree::NodeHeader) + 20 * sizeof(btree::InnerSlot);
      }
      test::flip_bit(bad, place, random);
      const Answer answer = test::ask(database, bad);
      const check::Report report = test::check_images(bad, false);
      if (region == Region::kHeader || region == Region::kFreeList) {
        EXPECT_EQ(answer, Answer::kError);
        EXPECT_TRUE(named(report, region)) << found_by(report);
      }
      if (answer == Answer::kError) {
        EXPECT_FALSE(report.sound()) << to_string(region) << " flip " << i;
      }
    }
  }
}

//! Everything outside the regions is unused: a flip there is silent, and does not matter.
TEST(FlippedBit, ElsewhereDoesNotMatter) {
  const test::Logged database = test::closed_database();
  const Places places = test::places_of(database.images, true);
  std::mt19937_64 random(6);
  int flips = 0;
  for (int i = 0; i < 20 * kFlips && flips < 2 * kFlips; ++i) {
    const auto device = i % 2 == 0 ? Recorder::kPages : Recorder::kLog;
    const Place place{device, random() % database.images[device].size(), 1};
    const bool used = std::ranges::any_of(places, [&](const auto& region) {
      return std::ranges::any_of(region.second, [&](const Place& other) {
        return other.device == device && other.offset <= place.offset &&
               place.offset < other.offset + other.bytes;
      });
    });
    if (used) continue;
    ++flips;
    Images bad = database.images;
    test::flip_bit(bad, place, random);
    const check::Report report = test::check_images(bad, true);
    EXPECT_TRUE(report.sound()) << found_by(report);
    EXPECT_EQ(test::ask(database, bad, database.min), Answer::kRight);
  }
  EXPECT_GT(flips, kFlips);
}

}  // namespace
}  // namespace vmcache

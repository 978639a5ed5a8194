// SPDX-License-Identifier: MIT
//
// A creation that was cut, at any write, is begun again; and what no creation can have left is
// refused.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>

#include "check/damage.hpp"
#include "support/code_of.hpp"
#include "support/temp_file.hpp"
#include "support/wrapped_storage.hpp"

namespace vmcache {
namespace {

using test::Images;
using test::Recorder;

void create_pool(Recorder& recorder, bool page_headers) {
  PoolOptions options = test::recorded_database(recorder, 16).pool;
  options.page_header = page_headers;
  const BufferPool pool(options);
}
void create_database(Recorder& recorder) {
  const Database database(test::recorded_database(recorder, 16));
}

//! Cuts a creation after each of its events, several times with other writes lost, reordered and
//! torn; begins it again, cuts that as well, and ends it.
template <typename Create>
void is_begun_again_wherever_it_is_cut(Create create) {
  constexpr int kEndings = 12;
  Recorder whole;
  std::uint64_t made = 0;
  create(whole, made);
  ASSERT_GT(made, 2U);
  for (std::uint64_t seed = 0; seed < kEndings; ++seed) {
    Recorder recorder;
    std::uint64_t events = 0;
    create(recorder, events);
    std::mt19937_64 random(seed);
    for (std::uint64_t moment = 0; moment <= events; ++moment) {
      const Images left = recorder.cut(moment, random);
      Recorder again(left);
      std::uint64_t more = 0;
      ASSERT_NO_THROW(create(again, more))
          << "seed " << seed << ", cut after " << moment << " of " << events;
      Recorder last(again.cut(random() % (more + 1), random));
      ASSERT_NO_THROW(create(last, more))
          << "seed " << seed << ", cut after " << moment << ", and again";
    }
  }
}

TEST(Creation, OfAPoolIsBegunAgainWhereverItIsCut) {
  for (const bool page_headers : {false, true}) {
    is_begun_again_wherever_it_is_cut([&](Recorder& recorder, std::uint64_t& events) {
      PoolOptions options = test::recorded_database(recorder, 16).pool;
      options.page_header = page_headers;
      const BufferPool pool(options);
      events = recorder.moment();
    });
  }
}

TEST(Creation, OfADatabaseIsBegunAgainWhereverItIsCut) {
  is_begun_again_wherever_it_is_cut([](Recorder& recorder, std::uint64_t& events) {
    DatabaseOptions options = test::recorded_database(recorder, 16);
    options.checkpoint_thread = false;
    Database database(options);
    events = recorder.moment();
    Transaction transaction(database);
    transaction.put(0, "key", "value");
    transaction.commit();
    EXPECT_EQ(database.tree(0).get("key"), "value");
  });
}

//! As embedders write it: blank only while it is empty.
class BlankIfEmpty final : public test::WrappedStorage {
 public:
  using WrappedStorage::WrappedStorage;
  [[nodiscard]] bool blank() override { return size_bytes() == 0; }
};

TEST(Creation, WorksOnAStorageThatIsBlankOnlyWhileItIsEmpty) {
  Recorder recorder;
  DatabaseOptions options = test::recorded_database(recorder, 16);
  for (auto* make : {&options.pool.make_storage, &options.log.make_storage}) {
    *make = [plain = *make] { return std::make_unique<BlankIfEmpty>(plain()); };
  }
  for (int opened = 0; opened < 2; ++opened) EXPECT_NO_THROW(Database{options});
}

TEST(Creation, LeavesNoZerosLongerThanItsFirstPages) {
  for (const std::uint64_t bytes : {std::uint64_t{2} * kPageSize, std::uint64_t{1} << 20}) {
    Images images;
    images[Recorder::kPages].resize(bytes);
    Recorder recorder(images);
    EXPECT_THROW(create_pool(recorder, false), Error) << bytes;
    EXPECT_THROW(create_database(recorder), Error) << bytes;
    EXPECT_EQ(recorder.moment(), 0U) << "something was written";
  }
  Images images;
  images[Recorder::kLog].resize(3 * kPageSize);
  Recorder recorder(images);
  EXPECT_THROW(create_database(recorder), Error);
  EXPECT_EQ(recorder.moment(), 0U) << "something was written";
}

TEST(Creation, OfADatabaseThatIsRefusedWritesToNeither) {
  for (const bool logged_page_file : {false, true}) {
    Recorder recorder;
    if (logged_page_file) {
      create_database(recorder);
    } else {
      create_pool(recorder, true);
    }
    Images images = recorder.content();
    images[Recorder::kLog] = {};
    Recorder alone(images);
    EXPECT_THROW(create_database(alone), Error) << "a page file beside an empty log";
    EXPECT_EQ(alone.moment(), 0U) << "something was written";
  }
}

//! The log is there before the pool is made.
TEST(Creation, OfADatabaseWhosePoolIsRefusedLeavesNoFile) {
  const test::TempFile file;
  const std::filesystem::path folder = file.path().string() + "-files";
  std::filesystem::create_directory(folder);
  DatabaseOptions options;
  options.pool.path = folder / "pages";
  options.log.path = folder / "log";
  options.pool.pool_bytes = std::uint64_t{1} << 20;
  options.pool.capacity_bytes = std::uint64_t{1} << 30;
  options.pool.memory = MemoryKind::kAnonymous;
  options.pool.storage = StorageKind::kPread;
  options.pool.io_uring.registered_frames = Switch::kOn;  // pread has none
  EXPECT_EQ(test::code_of([&] { Database database(options); }), Errc::kUnsupported);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  options.pool.io_uring.registered_frames = Switch::kAuto;
  { Database database(options); }
  EXPECT_TRUE(std::filesystem::exists(options.log.path));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace vmcache

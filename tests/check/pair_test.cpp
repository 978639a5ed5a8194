// SPDX-License-Identifier: MIT
//
// Page files and logs that do not belong together: every pair of two moments of several histories
// is refused untouched, or opens with exactly what the log says. vmcache-check says the same.
#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "check/damage.hpp"
#include "copy_on_write.hpp"
#include "pool/header.hpp"

namespace vmcache {
namespace {

using test::Images;
using test::Recorder;

using Entries = std::map<std::string, std::string>;

//! The files at a moment, as a kill leaves them, and what had been committed by then.
struct Moment {
  std::string name;
  unsigned database = 0;
  Images images;
  Entries entries;
  std::uint64_t generation = 0;
};

std::uint64_t generation_of(const Images& images) {
  Recorder recorder(images);
  const std::unique_ptr<Storage> pages = recorder.open(Recorder::kPages);
  return FirstPage::read(*pages).front->identity.generation;
}

//! One history of a database, that may begin where another one has been.
class Life {
 public:
  Life(unsigned database, std::uint64_t seed) : _database(database), _random(seed) {}

  void begin_at(const Moment& moment) {
    _recorder = std::make_unique<Recorder>(moment.images);
    _entries = moment.entries;
  }
  //! Opens, commits, takes a checkpoint, commits, and closes or is killed.
  void live(std::vector<Moment>& moments, const std::string& name, bool close) {
    auto database = std::make_unique<Database>(test::recorded_database(*_recorder, 16));
    commit(*database);
    note(moments, name + " committed");
    database->checkpoint();
    note(moments, name + " after a checkpoint");
    commit(*database);
    note(moments, name + " committed again");
    const Images killed = _recorder->content();
    if (close) {
      database->close();
      return note(moments, name + " closed");
    }
    database.reset();
    _recorder = std::make_unique<Recorder>(killed);
  }

 private:
  void commit(Database& database) {
    const auto commits = 5 + _random() % 40;
    for (unsigned i = 0; i < commits; ++i) {
      const std::string key = "key " + std::to_string(_random() % 60);
      const std::string value(20 + _random() % 700,
                              static_cast<char>('a' + static_cast<char>(_random() % 26)));
      Transaction transaction(database);
      transaction.put(0, key, value);
      transaction.commit();
      _entries[key] = value;
    }
  }
  void note(std::vector<Moment>& moments, const std::string& name) {
    const Images images = _recorder->content();
    moments.push_back({name, _database, images, _entries, generation_of(images)});
  }

  const unsigned _database;
  std::mt19937_64 _random;
  std::unique_ptr<Recorder> _recorder = std::make_unique<Recorder>();
  Entries _entries;
};

enum class Ending : std::uint8_t { kRefused, kFailed, kRight, kWrong };

struct Ended {
  Ending ending = Ending::kRefused;
  std::string what;
  bool touched = false;
};

Ended open(const Images& images, const Entries& expected) {
  Recorder recorder(images);
  Ended ended;
  try {
    Database database(test::recorded_database(recorder, 16));
    Entries found;
    database.tree(0).scan(Bound::all(), [&](Bytes key, Bytes value) {
      found[std::string(key.view())] = std::string(value.view());
      return true;
    });
    (void)database.tree(0).verify();
    ended.ending = found == expected ? Ending::kRight : Ending::kWrong;
    return ended;
  } catch (const Error& error) {
    ended.what = error.what();
    const bool refused = error.code() == Errc::kMismatch || error.code() == Errc::kNotADatabase;
    ended.ending = refused ? Ending::kRefused : Ending::kFailed;
  }
  ended.touched = recorder.moment() > 0;
  return ended;
}

bool checker_calls_sound(const Images& images) {
  try {
    return test::check_images(images, true).sound();
  } catch (const Error&) {
    return false;
  }
}

std::vector<Moment> make_moments(std::uint64_t seed) {
  std::vector<Moment> moments;
  Life first(0, seed);
  first.live(moments, "life 1", true);
  const Moment fork = moments.back();
  first.live(moments, "life 2", false);
  Life copy(0, seed + 1000);
  copy.begin_at(fork);
  copy.live(moments, "another life 2", true);
  Life other(1, seed + 2000);
  other.live(moments, "another database", true);
  return moments;
}

TEST(Pair, OfAnyTwoMomentsIsRefusedUntouchedOrOpensWithWhatTheLogSays) {
  unsigned opened = 0;
  unsigned refused = 0;
  for (std::uint64_t seed = 1; seed <= 1; ++seed) {
    const std::vector<Moment> moments = make_moments(seed);
    for (const Moment& pages : moments) {
      for (const Moment& log : moments) {
        Images images = pages.images;
        images[Recorder::kLog] = log.images[Recorder::kLog];
        const Ended ended = open(images, log.entries);
        const std::string pair = "seed " + std::to_string(seed) + ", pages of \"" + pages.name +
                                 "\", log of \"" + log.name + "\": " + ended.what;
        EXPECT_NE(ended.ending, Ending::kWrong) << pair;
        opened += ended.ending == Ending::kRight;
        refused += ended.ending == Ending::kRefused;
        if (&pages == &log) {
          EXPECT_EQ(ended.ending, Ending::kRight) << pair;
        }
        if (pages.database != log.database || pages.generation < log.generation) {
          EXPECT_EQ(ended.ending, Ending::kRefused) << pair;
        }
        if (ended.ending == Ending::kRefused) {
          EXPECT_FALSE(ended.touched) << pair;
          EXPECT_FALSE(checker_calls_sound(images)) << pair;
        }
        if (ended.ending == Ending::kRight) {
          EXPECT_TRUE(checker_calls_sound(images)) << pair;
        }
      }
    }
  }
  EXPECT_GT(opened, 12U);
  EXPECT_GT(refused, 80U);
}

//! What is left of a pair when one of them is missing, blank, somebody else's, the other's, or
//! shorter than it was.
TEST(Pair, WithAFileMissingForeignSwappedOrShorterIsRefusedUntouched) {
  for (const Moment& moment : make_moments(7)) {
    const auto is_refused = [&](const std::string& what, const Images& images) {
      const Ended ended = open(images, moment.entries);
      EXPECT_TRUE(ended.ending == Ending::kRefused || ended.ending == Ending::kFailed)
          << moment.name << ", " << what;
      EXPECT_FALSE(ended.touched) << moment.name << ", " << what << ": " << ended.what;
      EXPECT_FALSE(checker_calls_sound(images)) << moment.name << ", " << what;
    };
    const auto with = [&](unsigned device, const test::DiskImage& image) {
      Images images = moment.images;
      images[device] = image;
      return images;
    };
    test::DiskImage foreign;
    const std::vector<std::byte> text(1 << 20, std::byte{'T'});
    foreign.write(0, text.data(), text.size());
    test::DiskImage zeros;
    zeros.resize(3 << 20);
    test::DiskImage page_of_zeros;
    page_of_zeros.resize(kPageSize);
    for (const unsigned device : {Recorder::kPages, Recorder::kLog}) {
      const std::string name = device == Recorder::kPages ? "pages " : "log ";
      is_refused(name + "missing", with(device, {}));
      is_refused(name + "foreign", with(device, foreign));
      is_refused(name + "zeros", with(device, zeros));
      is_refused(name + "a page of zeros", with(device, page_of_zeros));
      is_refused(name + "is the other", with(device, moment.images[1 - device]));
    }
    test::DiskImage shorter = moment.images[Recorder::kLog];
    shorter.resize(shorter.size() - kPageSize);
    is_refused("log shorter", with(Recorder::kLog, shorter));
    shorter = moment.images[Recorder::kPages];
    shorter.resize(2 * kPageSize);
    if (moment.generation > 1) is_refused("pages shorter", with(Recorder::kPages, shorter));
    Images swapped = moment.images;
    std::swap(swapped[0], swapped[1]);
    is_refused("swapped", swapped);
  }
}

//! A log older than the page file within one generation is told by the pages that know more than it
//! does.
TEST(Pair, APageNewerThanItsLogIsAnError) {
  Recorder recorder;
  Images early;
  Images late;
  {
    Database database(test::recorded_database(recorder, 16));
    const auto put_all = [&](char byte) {
      for (int n = 0; n < 200; ++n) {
        Transaction transaction(database);
        transaction.put(0, std::to_string(n), std::string(600, byte));
        transaction.commit();
      }
    };
    put_all('a');
    database.checkpoint();
    early = recorder.content();
    // Less than what has a checkpoint made; more pages than the pool has.
    for (int n = 0; n < 40; ++n) {
      Transaction transaction(database);
      transaction.put(0, std::to_string(n * 5), std::string(600, 'b'));
      transaction.commit();
    }
    late = recorder.content();
    ASSERT_EQ(generation_of(early), generation_of(late));
  }
  late[Recorder::kLog] = early[Recorder::kLog];
  Recorder mixed(late);
  try {
    Database database(test::recorded_database(mixed, 16));
    (void)database.tree(0).verify();
    database.tree(0).scan(Bound::all(), [](Bytes, Bytes) { return true; });
    ADD_FAILURE() << "pages of a later moment than the log's were taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kBeyondLog) << error.what();
    EXPECT_GT(error.status().found, error.status().expected);
  }
}

//! A log device whose first pages were wiped, not its ring, and on which a new database is made:
//! the old records must not count, whatever the two have in common.
TEST(Pair, RecordsOfAnEarlierLifeOfTheLogNeverCount) {
  Recorder first;
  Images images;
  {
    Database database(test::recorded_database(first, 64));
    for (int n = 0; n < 500; ++n) {
      Transaction transaction(database);
      transaction.put(0, std::to_string(n), std::string(40, 'o'));
      transaction.commit();
    }
    images = first.content();
  }
  const std::vector<std::byte> zeros(2 * kPageSize);
  images[Recorder::kLog].write(0, zeros.data(), zeros.size());
  images[Recorder::kPages] = {};
  Recorder second(images);
  //! A device: it cannot grow, so zeros at its front are all that an empty one has.
  class Fixed final : public check::BorrowedStorage {
   public:
    explicit Fixed(std::unique_ptr<Storage> storage)
        : BorrowedStorage(*storage), _storage(std::move(storage)) {}
    [[nodiscard]] bool can_grow() const noexcept override { return false; }
    [[nodiscard]] int resize(std::uint64_t bytes) override {
      return bytes <= size_bytes() ? 0 : ENOSPC;
    }

   private:
    const std::unique_ptr<Storage> _storage;
  };
  const auto options_on = [](Recorder& recorder) {
    DatabaseOptions options = test::recorded_database(recorder, 64);
    options.log.make_storage = [&recorder] {
      return std::make_unique<Fixed>(recorder.open(Recorder::kLog));
    };
    return options;
  };
  for (int commits = 0; commits < 100; commits += 9) {
    Recorder recorder(images);
    Images killed;
    {
      Database database(options_on(recorder));
      for (int n = 0; n < commits; ++n) {
        Transaction transaction(database);
        transaction.put(0, std::to_string(n), std::string(40, 'n'));
        transaction.commit();
      }
      (void)database.tree(0);
      killed = recorder.content();
    }
    Recorder after(killed);
    Database database(options_on(after));
    int entries = 0;
    database.tree(0).scan(Bound::all(), [&](Bytes, Bytes value) {
      EXPECT_EQ(value.view()[0], 'n') << "an entry of the old database";
      ++entries;
      return true;
    });
    EXPECT_EQ(entries, commits);
  }
}

}  // namespace
}  // namespace vmcache

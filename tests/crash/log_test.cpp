// SPDX-License-Identifier: MIT
//
// The write-ahead log by itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "crash/memory_storage.hpp"
#include "crash/recording_storage.hpp"
#include "support/code_of.hpp"
#include "support/faulty_storage.hpp"
#include "vmcache/error.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {
namespace {

using test::DiskImage;
using test::FaultPlan;
using test::Recorder;

LogOptions options_of(Recorder& recorder) {
  LogOptions options;
  options.make_storage = [&recorder] { return recorder.open(Recorder::kLog); };
  options.capacity_bytes = std::uint64_t{1} << 20;
  return options;
}

Lsn append(WriteAheadLog& log, const std::string& text) {
  const Bytes part{text};
  return log.append(1, {&part, 1});
}

//! What a log holds after it was opened again.
std::vector<std::string> read_all(WriteAheadLog& log) {
  std::vector<std::string> found;
  const Lsn end = log.scan(
      [&](const WriteAheadLog::Record& record) { found.emplace_back(record.body.view()); });
  log.start(end);
  return found;
}

void make(WriteAheadLog& log) {
  ASSERT_TRUE(log.fresh());
  log.start(log.begin());
  append(log, "first");
  log.flush();
  log.set_begin(log.begin());
}

TEST(RecordedLog, KeepsWhatIsDurable) {
  Recorder recorder;
  {
    WriteAheadLog log(options_of(recorder));
    make(log);
    for (int i = 0; i < 100; ++i) append(log, std::string(static_cast<std::size_t>(i * 37), 'x'));
    log.flush();
    append(log, "not flushed");
  }
  WriteAheadLog log(options_of(recorder));
  EXPECT_FALSE(log.fresh());
  EXPECT_EQ(read_all(log).size(), 101U);
}

TEST(RecordedLog, GoesRoundItsRingForAsLongAsItsBeginMovesOn) {
  Recorder recorder;
  std::string last;
  {
    WriteAheadLog log(options_of(recorder));
    make(log);
    Lsn before = log.begin();
    for (int i = 0; i < 2000; ++i) {  // several MiB through a ring of one
      const Lsn begin = log.end();
      last = std::to_string(i) + std::string(3000, 'r');
      log.wait_durable(append(log, last));
      if (i % 50 == 49) log.set_begin(before);
      if (i % 50 == 0) before = begin;
    }
  }
  WriteAheadLog log(options_of(recorder));
  const std::vector<std::string> found = read_all(log);
  EXPECT_LE(found.size(), 101U);
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found.back(), last);
}

TEST(RecordedLog, SaysWhenItIsFull) {
  Recorder recorder;
  WriteAheadLog log(options_of(recorder));
  make(log);
  try {
    for (;;) append(log, std::string(10000, 'f'));
  } catch (const Error& error) {
    EXPECT_EQ(error.os_error(), ENOSPC);
  }
  log.flush();  // what was taken is kept
  EXPECT_THROW(append(log, std::string(WriteAheadLog::kMaxRecord + 1, 'f')), Error);
}

//! Cut anywhere, opened, gone on with, and cut again: always a prefix of what was appended, with
//! all that was durable.
TEST(RecordedLog, EndsBeforeTheFirstRecordThatIsNotWhole) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 300; ++round) {
    Recorder recorder;
    std::vector<std::pair<std::uint64_t, std::string>> durable;  // (moment, text)
    std::vector<std::string> all{"first"};
    const auto fill = [&](WriteAheadLog& log, Recorder& on) {
      for (int i = 0; i < 30; ++i) {
        all.push_back(std::to_string(random()) + std::string(random() % 6000, 'z'));
        const Lsn lsn = append(log, all.back());
        if (random() % 3 != 0) continue;
        log.wait_durable(lsn);
        durable.emplace_back(on.moment(), all.back());
      }
    };
    {
      WriteAheadLog log(options_of(recorder));
      make(log);
      durable.emplace_back(recorder.moment(), "first");
      fill(log, recorder);
    }
    Recorder* now = &recorder;
    std::vector<std::unique_ptr<Recorder>> later;
    for (int life = 0; life < 3; ++life) {
      const std::uint64_t moment =
          life == 0 ? durable.front().first + random() % (now->moment() - durable.front().first + 1)
                    : random() % (now->moment() + 1);
      later.push_back(std::make_unique<Recorder>(now->cut(moment, random)));
      std::size_t min = 0;
      for (const auto& [at, text] : durable) {
        if (at > moment) continue;
        min = static_cast<std::size_t>(std::find(all.begin(), all.end(), text) - all.begin()) + 1;
      }
      now = later.back().get();
      WriteAheadLog log(options_of(*now));
      const std::vector<std::string> found = read_all(log);
      ASSERT_GE(found.size(), min) << "round " << round << ", life " << life;
      ASSERT_LE(found.size(), all.size());
      for (std::size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], all[i]);
      all = found;
      durable.clear();
      if (!all.empty()) durable.emplace_back(0, all.back());
      fill(log, *now);
    }
  }
}

LogOptions with_faults(Recorder& recorder, FaultPlan& plan) {
  LogOptions options = options_of(recorder);
  options.make_storage = [&recorder, &plan] {
    return std::make_unique<test::FaultyStorage>(recorder.open(Recorder::kLog), plan);
  };
  return options;
}

TEST(RecordedLog, AFailedFlushIsFinalAndNothingAfterItIsDurable) {
  for (const bool write : {false, true}) {
    Recorder recorder;
    FaultPlan plan;
    WriteAheadLog log(with_faults(recorder, plan));
    make(log);
    const Lsn good = append(log, "good");
    log.wait_durable(good);
    plan.fail_at = 0;  // once: the next one would succeed again, as after a lost fsync error
    plan.writes = write;
    plan.flushes = !write;
    const Lsn lost = append(log, "lost");
    EXPECT_THROW(log.wait_durable(lost), Error);
    EXPECT_EQ(log.log_error(), EIO);
    EXPECT_THROW(log.wait_durable(lost), Error) << "a second try must not make it durable";
    EXPECT_THROW(append(log, "later"), Error);
    EXPECT_THROW(log.set_begin(log.begin()), Error);
    EXPECT_EQ(log.durable_lsn(), good);
  }
}

TEST(RecordedLog, OneFlushServesManyWhoWait) {
  Recorder recorder;
  WriteAheadLog log(options_of(recorder));
  make(log);
  const std::uint64_t before = log.flushes();
  Lsn last = 0;
  for (int i = 0; i < 1000; ++i) last = append(log, "commit");
  log.wait_durable(last);
  EXPECT_LE(log.flushes() - before, 2U);
}

enum class Damage : std::uint8_t { kBit, kSector, kPage };

//! Flips a bit in the master with the greater number, or zeroes its sector or page.
void damage_newer_master(Storage& storage, Damage damage = Damage::kBit) {
  constexpr std::size_t kSector = 512;
  constexpr std::size_t kNumberAt = 16;
  std::array<std::vector<std::byte>, 2> slots;
  std::array<std::uint64_t, 2> numbers{};
  for (std::size_t slot = 0; slot < slots.size(); ++slot) {
    slots[slot].resize(kPageSize);
    ASSERT_EQ(storage.read(slot * kPageSize, slots[slot]), 0);
    std::memcpy(&numbers[slot], &slots[slot][kNumberAt], sizeof numbers[slot]);
  }
  const std::size_t newer = numbers[0] > numbers[1] ? 0 : 1;
  if (damage == Damage::kBit) slots[newer][kNumberAt + 8] ^= std::byte{1};
  const std::size_t zeros = damage == Damage::kBit      ? 0
                            : damage == Damage::kSector ? kSector
                                                        : kPageSize;
  std::memset(slots[newer].data(), 0, zeros);
  ASSERT_EQ(storage.write(newer * kPageSize, slots[newer]), 0);
}

//! What opening and reading the log is refused with.
Errc code_of_reading(const LogOptions& options) {
  return test::code_of([&] {
    WriteAheadLog log(options);
    (void)log.scan([](const WriteAheadLog::Record&) {});
  });
}

//! The master of the creation says that the log is empty. Beside a damaged one that may be wrong.
TEST(RecordedLog, ADamagedMasterBesideThatOfTheCreationIsNotAnEmptyLog) {
  for (const Damage damage : {Damage::kBit, Damage::kSector, Damage::kPage}) {
    Recorder recorder;
    {
      WriteAheadLog log(options_of(recorder));
      make(log);  // the creation's masters, then one more
      log.wait_durable(append(log, "acknowledged"));
    }
    damage_newer_master(*recorder.open(Recorder::kLog), damage);
    const std::uint64_t moment = recorder.moment();
    EXPECT_EQ(code_of_reading(options_of(recorder)), Errc::kCorrupt);
    EXPECT_EQ(recorder.moment(), moment);
  }
}

//! What the older master takes for the log's begin has been overwritten: the end of the log is not
//! there.
TEST(Log, ARingThatHasGoneOnWithoutItsNewerMasterIsNotAShortLog) {
  // Much more than the buffer, so that no record of the older round lies near its begin.
  constexpr std::uint64_t kCapacity = std::uint64_t{96} << 20;
  test::MemoryDevice device(kCapacity + (std::uint64_t{1} << 20));
  LogOptions options;
  options.make_storage = [&] { return std::make_unique<test::MemoryStorage>(device); };
  options.capacity_bytes = kCapacity;
  {
    WriteAheadLog log(options);
    make(log);
    const std::string text(500'000, 'x');
    const auto append_up_to = [&](Lsn end) {
      while (log.end() + text.size() < end) append(log, text);
      log.flush();
    };
    Lsn older = 0;
    for (int round = 0; round < 2; ++round) {
      older = log.begin();
      append_up_to(older + kCapacity / 3 * 2);
      log.set_begin(log.end());
    }
    append_up_to(log.begin() + kCapacity - 2 * text.size());
    ASSERT_GT(log.end(), older + kCapacity);
  }
  test::MemoryStorage storage(device);
  damage_newer_master(storage);
  EXPECT_EQ(code_of_reading(options), Errc::kCorrupt);
}

TEST(RecordedLog, AForeignFileIsNotTouched) {
  Recorder recorder;
  const std::vector<std::byte> foreign(3 * kPageSize, std::byte{'f'});
  ASSERT_EQ(recorder.open(Recorder::kLog)->write(0, foreign), 0);
  const std::uint64_t moment = recorder.moment();
  EXPECT_THROW(WriteAheadLog{options_of(recorder)}, Error);
  EXPECT_EQ(recorder.moment(), moment);
}

}  // namespace
}  // namespace vmcache

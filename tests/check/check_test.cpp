// SPDX-License-Identifier: MIT
//
// vmcache-check: what it calls sound, what it refuses, and damage larger than a bit.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "check/damage.hpp"
#include "pool/header.hpp"
#include "support/database.hpp"
#include "vmcache/detail/btree/node_reader.hpp"

namespace vmcache {
namespace {

using check::Region;
using test::Answer;
using test::Images;
using test::on_files;
using test::Recorder;
using test::TempFile;

struct Outcome {
  int status = -1;
  std::string output;
};
Outcome run(const std::string& arguments) {
  // A checker that waits for ever is a failure, and not of the whole test's time.
  const std::string command =
      "timeout 120 '" + std::string(VMCACHE_CHECK) + "' " + arguments + " 2>&1";
  Outcome run;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return run;
  std::array<char, 4096> buffer;
  for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    run.output.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  run.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return run;
}
std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void fill(Database& database) {
  for (int n = 0; n < 300; ++n) {
    Transaction transaction(database);
    transaction.put(0, std::to_string(n), std::string(200, 'v'));
    transaction.commit();
  }
}
//! The page with the tree's root, which is an inner node.
PageId root_of(const Images& images) {
  Recorder recorder(images);
  return Header::read(*recorder.open(Recorder::kPages)).roots[0];
}
PageId a_leaf_of(const Images& images, bool with_log, std::size_t index) {
  return test::places_of(images, with_log).at(Region::kLeaf).at(index).offset / kPageSize;
}

TEST(Check, AClosedDatabaseIsSoundAndNotTouched) {
  if (!test::default_devices.empty()) GTEST_SKIP() << "is about files";
  const TempFile pages;
  const TempFile log;
  {
    Database database(on_files(pages, log));
    fill(database);
    const Outcome busy = run(pages.path().string() + " --log " + log.path().string());
    EXPECT_EQ(busy.status, 2) << busy.output;
    EXPECT_NE(busy.output.find("in use"), std::string::npos) << busy.output;
  }
  const std::string before = contents(pages.path()) + contents(log.path());
  ::chmod(pages.path().c_str(), 0400);
  ::chmod(log.path().c_str(), 0400);
  const Outcome sound = run(pages.path().string() + " --log " + log.path().string());
  EXPECT_EQ(sound.status, 0) << sound.output;
  EXPECT_EQ(sound.output.find("sound; "), 0U) << sound.output;
  EXPECT_NE(sound.output.find("300 entries"), std::string::npos) << sound.output;
  EXPECT_EQ(run(pages.path().string()).status, 0) << "closed cleanly, so page 0 suffices";
  EXPECT_EQ(contents(pages.path()) + contents(log.path()), before);
}

TEST(Check, AStripedPoolIsSoundAndDamageIsNamedByDevice) {
  if (!test::default_devices.empty()) GTEST_SKIP() << "is about files";
  const TempFile first;
  const TempFile second;
  PoolOptions options = test::small_pool(first, 64);
  options.path.clear();
  options.paths = {first.path(), second.path()};
  options.stripe_bytes = 16 << 10;
  options.page_header = true;
  PageId root = kNoPage;
  {
    BufferPool pool(options);
    pool.set_root(0, root = BTree::create(pool));
    BTree tree(pool, root);
    for (int n = 0; n < 500; ++n) tree.upsert(std::to_string(n), std::string(100, 'v'));
  }
  const std::string both = first.path().string() + " " + second.path().string();
  EXPECT_EQ(run(both).status, 0) << run(both).output;
  EXPECT_EQ(run(second.path().string() + " " + first.path().string()).status, 2)
      << "the order counts";
  EXPECT_EQ(run(first.path().string()).status, 2);
  const auto flip = [](const TempFile& file, std::uint64_t offset) {
    std::fstream stream(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    char byte = 0;
    stream.seekg(static_cast<std::streamoff>(offset)).read(&byte, 1);
    byte = static_cast<char>(byte ^ 4);
    stream.seekp(static_cast<std::streamoff>(offset)).write(&byte, 1);
  };
  flip(second, (16 << 10) + 100);  // page 4, behind the label
  const Outcome page = run(both);
  EXPECT_EQ(page.status, 1);
  EXPECT_NE(page.output.find("damage: " + second.path().string()), std::string::npos)
      << page.output;
  EXPECT_NE(page.output.find("page 4"), std::string::npos) << page.output;
  flip(second, (16 << 10) + 100);
  for (const std::uint64_t offset : {0, 9, 13, 20, 25, 40, 1000}) {
    flip(second, offset);
    const Outcome label = run(both);
    EXPECT_EQ(label.status, 1) << "byte " << offset << ": " << label.output;
    EXPECT_NE(label.output.find(second.path().string() + ": stripe label"), std::string::npos)
        << label.output;
    EXPECT_THROW(BufferPool{options}, Error);
    flip(second, offset);
  }
  EXPECT_EQ(run(both).status, 0);
}

TEST(Check, WhatIsNotADatabaseIsRefused) {
  const TempFile empty;
  EXPECT_EQ(run(empty.path().string()).status, 2);
  const TempFile text;
  std::ofstream(text.path()) << std::string(20000, 'x');
  EXPECT_EQ(run(text.path().string()).status, 2);
  EXPECT_EQ(run("/nonexistent/database").status, 2);
  EXPECT_EQ(run(".").status, 2);
  EXPECT_EQ(run("").status, 2);
  EXPECT_EQ(run("--wrong " + text.path().string()).status, 2);
  EXPECT_EQ(contents(empty.path()).size(), 0U);
}

TEST(Check, ARawFileHasNoHeader) {
  const TempFile raw;
  const auto check = [&](std::size_t bytes, char first) {
    std::ofstream(raw.path(), std::ios::binary)
        << std::string(1, first) << std::string(bytes - 1, 'x');
    const Outcome outcome = run(raw.path().string());
    EXPECT_EQ(outcome.status, 2) << bytes << " bytes: " << outcome.output;
    EXPECT_NE(outcome.output.find(raw.path().string() + ": no vmcache header"), std::string::npos)
        << bytes << " bytes: " << outcome.output;
    EXPECT_EQ(contents(raw.path()).size(), bytes);
  };
  for (const std::size_t bytes : {10, 4096, 20000}) check(bytes, 'x');
  check(8192, 'v');
  // The first page was never written.
  std::ofstream(raw.path(), std::ios::binary) << std::string(4096, '\0') << std::string(4096, 'x');
  const Outcome zeros = run(raw.path().string());
  EXPECT_EQ(zeros.status, 2);
  EXPECT_NE(zeros.output.find("no vmcache header"), std::string::npos) << zeros.output;
}

std::string quoted(const std::filesystem::path& path) {
  std::string text = "'";
  text += path.string() + "'";
  return text;
}

TEST(Check, TakesNamesWithSpacesAndWithBytesThatAreNotUtf8) {
  if (!test::default_devices.empty()) GTEST_SKIP() << "is about files";
  const TempFile pages;
  const TempFile log;
  {
    Database database(on_files(pages, log));
    fill(database);
    database.close();
  }
  const std::filesystem::path name = pages.path().string() + " \xff\xc3(\xe2\x82\xac)";
  std::filesystem::copy_file(pages.path(), name);
  const std::string both = quoted(name) + " --log " + quoted(log.path());
  EXPECT_EQ(run(both).status, 0) << run(both).output;
  std::filesystem::resize_file(name, kPageSize);
  const Outcome json = run(both + " --json");
  std::filesystem::remove(name);
  EXPECT_EQ(json.status, 1) << json.output;
  EXPECT_NE(json.output.find("\\ufffd\\ufffd(\xe2\x82\xac)"), std::string::npos) << json.output;
  EXPECT_EQ(json.output.find('\xff'), std::string::npos) << "JSON is UTF-8";
}

TEST(Check, RefusesAFifoWithoutWaiting) {
  const std::filesystem::path fifo = "check-test-fifo";
  std::filesystem::remove(fifo);
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const TempFile empty;
  const Outcome alone = run(quoted(fifo));
  const Outcome as_log = run(quoted(empty.path()) + " --log " + quoted(fifo));
  std::filesystem::remove(fifo);
  EXPECT_EQ(alone.status, 2) << alone.output;
  EXPECT_NE(alone.output.find("FIFO"), std::string::npos) << alone.output;
  EXPECT_EQ(as_log.status, 2) << as_log.output;
}

//! A pool may hold anything: what is under a root that is no B+tree is the embedder's.
TEST(Check, ARootThatIsNoTreeIsARemark) {
  for (const bool page_headers : {false, true}) {
    for (const unsigned order : {0U, 2U}) {
      Recorder recorder;
      PoolOptions options = test::recorded_database(recorder, 64).pool;
      options.page_header = page_headers;
      {
        BufferPool pool(options);
        ExclusiveGuard page = pool.allocate(order);
        *reinterpret_cast<int*>(page.as<std::byte>() + sizeof(PageHeader)) = 42;
        pool.set_root(0, page.page_id());
        page.release();
        pool.close();
      }
      const check::Report report = test::check_images(recorder.content(), false);
      EXPECT_TRUE(report.sound()) << report.text();
      EXPECT_NE(report.text().find("is not a B+tree"), std::string::npos) << report.text();
    }
  }
}

TEST(Check, ATruncatedFileIsDamage) {
  const test::Logged database = test::closed_database();
  Images cut = database.images;
  const std::uint64_t size = cut[Recorder::kPages].size();
  for (const std::uint64_t bytes :
       {size - kPageSize, size - 100, size / 2, std::uint64_t{kPageSize}}) {
    cut[Recorder::kPages].resize(bytes);
    const check::Report report = test::check_images(cut, true);
    EXPECT_TRUE(test::names(report, {Region::kHeader})) << bytes << ": " << report.text();
    EXPECT_NE(test::ask(database, cut, database.min), Answer::kWrong) << bytes;
  }
  cut = database.images;
  cut[Recorder::kLog].resize(cut[Recorder::kLog].size() / 2);
  EXPECT_TRUE(test::names(test::check_images(cut, true), {Region::kMaster}));
  EXPECT_NE(test::ask(database, cut, database.min), Answer::kWrong);
}

TEST(Check, PagesThatChangedPlacesAreFoundWithAndWithoutChecksums) {
  for (const bool page_headers : {true, false}) {
    const test::Plain database = test::plain_database(page_headers);
    Images bad = database.images;
    const PageId one = a_leaf_of(bad, false, 1);
    const PageId other = a_leaf_of(bad, false, 4);
    test::put_page(bad, one, test::page_of(database.images, other));
    test::put_page(bad, other, test::page_of(database.images, one));
    const check::Report report = test::check_images(bad, false);
    EXPECT_EQ(report.damage(), 2U) << report.text();
    EXPECT_TRUE(test::names(report, {Region::kLeaf})) << report.text();
    if (page_headers) {
      EXPECT_NE(report.text().find("the bytes are those of page " + std::to_string(other)),
                std::string::npos);
      EXPECT_EQ(test::ask(database, bad), Answer::kError);
    }
  }
}

//! Without a checksum nothing but the fences themselves says that they lead back.
TEST(Check, AScanOfATreeWhoseFencesLeadBackEndsWithAnError) {
  const test::Plain database = test::plain_database(false);
  Images bad = database.images;
  const PageId page_id = a_leaf_of(bad, false, 5);
  std::vector<std::byte> page = test::page_of(bad, page_id);
  const Bytes upper = btree::NodeReader{page.data()}.upper_fence();
  ASSERT_FALSE(upper.empty());
  std::fill_n(page.begin() + (upper.data() - page.data()), upper.size(), std::byte{' '});
  test::put_page(bad, page_id, page);
  EXPECT_EQ(test::ask(database, bad), Answer::kError);
  EXPECT_TRUE(test::names(test::check_images(bad, false), {Region::kLeaf}));
}

TEST(Check, TheLogOfAnotherDatabaseIsDamage) {
  const test::Logged database = test::closed_database();
  Recorder recorder;
  {
    Database other(test::recorded_database(recorder, 64));
    fill(other);
    other.close();
  }
  Images mixed = database.images;
  mixed[Recorder::kLog] = recorder.content()[Recorder::kLog];
  EXPECT_TRUE(test::names(test::check_images(mixed, true), {Region::kHeader}));
}

//! A write that the device forgot leaves an old version of a page, with a checksum that is right.
//! It is found where it contradicts its neighbours; where only entries differ it is not, by nobody:
//! see docs/recovery.md.
TEST(Check, ALostWriteIsFoundIfThePagesAroundItHaveChangedWithIt) {
  Recorder recorder;
  Images before;
  Images after;
  {
    Database database(test::recorded_database(recorder, 64));
    fill(database);
    database.close();
    before = recorder.content();
  }
  {
    Database database(test::recorded_database(recorder, 64));
    for (int n = 0; n < 300; ++n) {
      Transaction transaction(database);
      transaction.put(0, std::to_string(n) + " more", std::string(300, 'w'));
      transaction.commit();
    }
    database.close();
    after = recorder.content();
  }
  ASSERT_TRUE(test::check_images(before, true).sound());
  ASSERT_TRUE(test::check_images(after, true).sound());
  const auto lose = [&](PageId page_id) {
    Images bad = after;
    test::put_page(bad, page_id, test::page_of(before, page_id));
    return test::check_images(bad, true);
  };
  EXPECT_TRUE(test::names(lose(0), {Region::kHeader})) << "page 0 disagrees with the log";
  EXPECT_FALSE(lose(root_of(before)).sound()) << "a leaf that it knows has split since";
  EXPECT_TRUE(test::names(lose(a_leaf_of(before, true, 0)), {Region::kLeaf}))
      << "fences from before its split";
}

TEST(Check, ALostWriteOfEntriesAloneIsNotFound) {
  Recorder recorder;
  Images before;
  {
    Database database(test::recorded_database(recorder, 64));
    fill(database);
    database.close();
    before = recorder.content();
  }
  {
    Database database(test::recorded_database(recorder, 64));
    Transaction transaction(database);
    transaction.put(0, "17", std::string(200, 'w'));
    transaction.commit();
    database.close();
  }
  Images bad = recorder.content();
  for (PageId page_id = 1; page_id < bad[Recorder::kPages].size() / kPageSize; ++page_id) {
    test::put_page(bad, page_id, test::page_of(before, page_id));
  }
  EXPECT_TRUE(test::check_images(bad, true).sound())
      << "if this is found now, docs/recovery.md says too little";
}

TEST(Check, ADatabaseThatWasNotClosedIsNotCalledSoundWithoutItsLog) {
  const check::Report report = test::check_images(test::cut_database().images, false);
  EXPECT_FALSE(report.sound() && report.counts.complete) << report.text();
}

TEST(Check, SaysOnlySoMuchOfEachKind) {
  const test::Plain database = test::plain_database(true);
  Images bad = database.images;
  std::mt19937_64 random(9);
  const test::Places places = test::places_of(bad, false);
  const std::vector<test::Place>& leaves = places.at(Region::kLeaf);
  ASSERT_GT(leaves.size(), 20U);
  for (const test::Place& leaf : leaves) test::flip_bit(bad, leaf, random);
  const check::Report report = test::check_images(bad, false);
  EXPECT_EQ(report.damage(), leaves.size());
  EXPECT_EQ(report.findings().size(), 10U);
  EXPECT_NE(report.text().find("leaf page: and " + std::to_string(leaves.size() - 10) + " more"),
            std::string::npos);
}

}  // namespace
}  // namespace vmcache

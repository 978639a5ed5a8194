// SPDX-License-Identifier: MIT
//
// Frames that are registered with io_uring: every page's bytes go where they belong, whatever the
// pool does. On memory that has no such frames: that is said, or refused.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

constexpr std::uint64_t kPages = 700;

//! What a page holds that was changed `version` times: every word of it.
std::uint64_t word_of(PageId id, std::uint64_t version) {
  return id << 32 | version;
}

//! Pages and how often each was changed; all are checked word by word whenever they are seen.
class Model {
 public:
  explicit Model(BufferPool& pool) : _pool(pool), _versions(kPages + 1) {
    for (std::uint64_t i = 0; i < kPages; ++i) {
      const ExclusiveGuard page = pool.allocate();
      fill(page.data(), page.page_id(), 0);
    }
  }
  void work(unsigned seed, int rounds) {
    std::mt19937_64 random(seed);
    Worker worker(_pool);
    for (int i = 0; i < rounds; i += 16) {
      for (int task = 0; task < 16; ++task)
        worker.spawn(visit(worker, 1 + random() % kPages, random() % 2 == 0));
      worker.run();
    }
    for (int i = 0; i < rounds / 8; ++i) {  // and by the blocking calls' engine
      const PageId id = 1 + random() % kPages;
      check(_pool.fix_shared(id).data(), id);
    }
  }
  Task<> read(Worker& worker, PageId id) { return visit(worker, id, false); }
  void check_all() {
    for (PageId id = 1; id <= kPages; ++id) check(_pool.fix_shared(id).data(), id);
  }

 private:
  static void fill(std::byte* page, PageId id, std::uint64_t version) {
    const std::uint64_t word = word_of(id, version);
    for (std::size_t at = 0; at < kPageSize; at += sizeof word)
      std::memcpy(page + at, &word, sizeof word);
  }
  void check(const std::byte* page, PageId id) const {
    const std::uint64_t wanted = word_of(id, _versions[id]);
    for (std::size_t at = 0; at < kPageSize; at += sizeof wanted) {
      std::uint64_t word = 0;
      std::memcpy(&word, page + at, sizeof word);
      ASSERT_EQ(word, wanted) << "page " << id << ", byte " << at;
    }
  }
  Task<> visit(Worker& worker, PageId id, bool change) {
    if (!change) {
      const SharedGuard page = co_await worker.fix_shared(id);
      check(page.data(), id);
      co_return;
    }
    const ExclusiveGuard page = co_await worker.fix_exclusive(id);
    check(page.data(), id);
    fill(page.data(), id, ++_versions[id]);
  }

  BufferPool& _pool;
  std::vector<std::uint64_t> _versions;
};

bool registered(const BufferPool& pool) {
  return pool.description().find("registered frames") != std::string::npos;
}

TEST(RegisteredFrames, EveryPageGetsItsOwnBytes) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  std::printf("%s\n", pool.description().c_str());
  Model model(pool);
  model.work(1, 3000);
  pool.checkpoint();
  model.check_all();
}

TEST(RegisteredFrames, APoolThatGrowsAndShrinksLosesNothing) {
  const TempFile file;
  BufferPool pool(small_pool(file, 128));
  Model model(pool);
  unsigned seed = 0;
  // Only the first ones are registered; then none.
  for (const std::uint64_t frames : {200, 40, 300, 64}) {
    model.work(++seed, 600);
    pool.resize(frames * kPageSize);
  }
  model.work(++seed, 600);
  model.check_all();
}

//! Rings of other threads still hold the registration when it is given up.
TEST(RegisteredFrames, AreGivenUpUnderAWorkerThatGoesOn) {
  const TempFile file;
  BufferPool pool(small_pool(file, 128));
  Model model(pool);
  Worker worker(pool);
  const auto read_all = [](Worker& w, Model& all, PageId first) -> Task<> {
    for (PageId id = first; id <= kPages; id += 8) co_await all.read(w, id);
  };
  for (const std::uint64_t frames : {128, 64, 32, 200}) {
    pool.resize(frames * kPageSize);
    for (PageId first = 1; first <= 8; ++first) worker.spawn(read_all(worker, model, first));
    worker.run();
  }
}

TEST(RegisteredFrames, AreHadOrRefusedByName) {
  for (const MemoryKind memory : {MemoryKind::kAnonymous, test::default_memory}) {
    const TempFile file;
    PoolOptions options = small_pool(file, 64);
    options.memory = memory;
    options.io_uring.registered_frames = Switch::kOff;
    EXPECT_FALSE(registered(BufferPool(options)));
    std::string log;
    options.logger = [&](LogLevel, std::string_view line) { log += line; };
    options.io_uring.registered_frames = Switch::kAuto;
    const bool had = registered(BufferPool(options));
    EXPECT_NE(had, log.find("without registered frames") != std::string::npos) << log;
    options.io_uring.registered_frames = Switch::kOn;
    try {
      EXPECT_TRUE(registered(BufferPool(options)));
      EXPECT_TRUE(had);
    } catch (const Error& error) {
      EXPECT_FALSE(had) << error.what();
      EXPECT_EQ(error.code(), Errc::kUnsupported);
      EXPECT_NE(std::string(error.what()).find("registered frames"), std::string::npos)
          << error.what();
    }
    EXPECT_FALSE(had && memory == MemoryKind::kAnonymous);
  }
}

}  // namespace
}  // namespace vmcache

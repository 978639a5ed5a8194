// SPDX-License-Identifier: MIT
//
// Readers that overlap, and a writer: L1 to L4 of libvmcache/pool/latch_wait.hpp.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "pool/latch_wait.hpp"
#include "support/options.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using detail::keeps_readers_out;
using test::small_pool;
using test::TempFile;

constexpr PageId kPage = 1;

//! Has the page at every moment until it is refused, or `done`, or a minute has passed. True if it
//! was refused.
bool overlap_until_refused(BufferPool& pool, const std::atomic<bool>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  SharedGuard held = pool.fix_shared(kPage);
  while (!done && std::chrono::steady_clock::now() < deadline) {
    SharedGuard next;
    if (pool.try_fix(kPage, next) != TryFix::kFixed) return true;
    held = std::move(next);
  }
  return false;
}

//! `wait` waits for the page exclusively and gets it, though there is always a reader.
template <typename Wait>
void expect_a_turn(BufferPool& pool, Wait wait) {
  std::atomic<bool> got{false};
  SharedGuard first = pool.fix_shared(kPage);
  std::thread writer([&] {
    wait();
    got = true;
  });
  first.release();
  bool refused = false;
  while (!got && !refused) refused = overlap_until_refused(pool, got);
  writer.join();
  EXPECT_TRUE(got);
  EXPECT_FALSE(pool.page_ref(kPage).state().load().writer_waits()) << "L1";
}

class LatchWait : public ::testing::Test {
 protected:
  LatchWait() : _pool(small_pool(_file, 64)) { (void)_pool.allocate(); }
  TempFile _file;
  BufferPool _pool;
};

TEST_F(LatchWait, ABlockingWriterGetsItsTurn) {
  for (int n = 0; n < 20; ++n) expect_a_turn(_pool, [&] { (void)_pool.fix_exclusive(kPage); });
}

TEST_F(LatchWait, ATaskThatWritesGetsItsTurn) {
  const auto write = [](Worker& worker) -> Task<> { (void)co_await worker.fix_exclusive(kPage); };
  for (int n = 0; n < 20; ++n) {
    expect_a_turn(_pool, [&] {
      Worker worker(_pool);
      worker.spawn(write(worker));
      worker.run();
    });
  }
}

//! Wants a page exclusively, as operations do: tries, and says what was in the way.
struct WriteOperation {
  Need step(BufferPool& pool) {
    ExclusiveGuard guard;
    const TryFix result = pool.try_fix(kPage, guard);
    return result == TryFix::kFixed ? Need::nothing() : Need::after(result, kPage);
  }
  void supply(ExclusiveGuard&&) {}
};

TEST_F(LatchWait, AnOperationThatWritesGetsItsTurn) {
  const auto perform = [](Worker& worker) -> Task<> {
    WriteOperation op;
    co_await worker.perform(op);
  };
  for (int n = 0; n < 5; ++n) {
    expect_a_turn(_pool, [&] {
      WriteOperation op;
      _pool.perform(op);
    });
    expect_a_turn(_pool, [&] {
      Worker worker(_pool);
      worker.spawn(perform(worker));
      worker.run();
    });
  }
}

TEST_F(LatchWait, AReaderThatHasThePageGetsItASecondTime) {
  SharedGuard first = _pool.fix_shared(kPage);
  std::thread writer([&] { (void)_pool.fix_exclusive(kPage); });
  for (int n = 0; n < 5; ++n) {
    while (!_pool.page_ref(kPage).state().load().writer_waits()) std::this_thread::yield();
    (void)_pool.fix_shared(kPage);  // while the writer waits for `first`
  }
  first.release();
  writer.join();
  EXPECT_FALSE(_pool.page_ref(kPage).state().load().writer_waits());
}

TEST(LatchWaitTimes, HalfOfTheTimeIsTheReaders) {
  constexpr std::uint64_t kStep = 10'000;
  std::uint64_t out = 0, all = 0;
  for (std::uint64_t ns = 200'000; ns < 4'000'000'000; ns += kStep) {
    out += keeps_readers_out(ns) ? 1 : 0;
    ++all;
  }
  EXPECT_FALSE(keeps_readers_out(0));
  EXPECT_FALSE(keeps_readers_out(199'999));
  EXPECT_TRUE(keeps_readers_out(200'000));
  EXPECT_GT(out, all / 4);
  EXPECT_LT(out, all * 3 / 4);
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// A queue keeps what it promises whatever the layout: all that is submitted comes back, with the
// right bytes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "logger.hpp"
#include "storage/aligned_buffer.hpp"
#include "storage/open.hpp"
#include "support/temp_file.hpp"
#include "vmcache/error.hpp"
#include "vmcache/options.hpp"

namespace vmcache {
namespace {

struct Setup {
  const char* name;
  unsigned devices;
  std::uint64_t stripe_bytes;
  StorageKind kind;

  friend void PrintTo(const Setup& setup, std::ostream* out) { *out << setup.name; }
};

class Queue : public testing::TestWithParam<Setup> {
 protected:
  Queue() {
    PoolOptions options;
    for (unsigned i = 0; i < GetParam().devices; ++i) {
      _files.push_back(std::make_unique<test::TempFile>());
      options.paths.push_back(_files.back()->path());
    }
    options.stripe_bytes = GetParam().stripe_bytes;
    options.storage = GetParam().kind;
    Logger silent({});
    storage = open_storage(options, silent);
  }

  //! Submits as many as fit and reaps until all are back.
  static void run(IoQueue& queue, std::vector<IoRequest>& requests) {
    std::size_t submitted = 0;
    std::size_t returned = 0;
    std::vector<IoRequest*> completed(queue.depth());
    while (returned < requests.size()) {
      std::vector<IoRequest*> batch;
      while (submitted < requests.size() && batch.size() + queue.in_flight() < queue.depth())
        batch.push_back(&requests[submitted++]);
      queue.submit(batch);
      const std::size_t n = queue.reap(completed, 1, 1'000'000'000);
      for (std::size_t i = 0; i < n; ++i) ++completed[i]->started_ns;
      returned += n;
    }
    EXPECT_EQ(queue.in_flight(), 0u);
    for (const IoRequest& request : requests)
      EXPECT_EQ(request.started_ns, 1u) << "returned more or less than once";
  }

  std::unique_ptr<Storage> storage;

 private:
  std::vector<std::unique_ptr<test::TempFile>> _files;
};

TEST_P(Queue, AReadIsNotBehindWrites) {
  if (GetParam().kind != StorageKind::kPread) GTEST_SKIP() << "a device decides itself";
  ASSERT_EQ(storage->resize(64 * kPageSize), 0);
  const AlignedBuffer bytes(64 * kPageSize);
  const auto queue = storage->make_queue(64, false);
  std::vector<IoRequest> requests(64);
  std::vector<IoRequest*> batch;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].op = i == 40 ? IoRequest::Op::kRead : IoRequest::Op::kWrite;
    requests[i].offset = i * kPageSize;
    requests[i].data = &bytes.bytes()[i * kPageSize];
    requests[i].bytes = kPageSize;
    batch.push_back(&requests[i]);
  }
  queue->submit(batch);
  std::vector<IoRequest*> completed(queue->depth());
  ASSERT_EQ(queue->reap(completed, 1, 1'000'000'000), 1u);
  EXPECT_EQ(completed[0], &requests[40]);
  std::size_t returned = 1;
  while (queue->in_flight() > 0) returned += queue->reap(completed, 1, 1'000'000'000);
  EXPECT_EQ(returned, requests.size());
  for (const IoRequest& request : requests) EXPECT_EQ(request.error, 0);
}

TEST_P(Queue, BringsBackWhatWasWrittenThroughEveryDepth) {
  constexpr std::uint64_t kPages = 3000;
  constexpr std::size_t kBytes = kPages * kPageSize;
  ASSERT_EQ(storage->resize(kBytes), 0);
  ASSERT_EQ(storage->size_bytes(), kBytes);
  const AlignedBuffer written(kBytes);
  const AlignedBuffer read(kBytes);
  std::mt19937_64 random(11);
  for (std::size_t i = 0; i < kBytes; i += 8) {
    const std::uint64_t number = random();
    std::memcpy(&written.bytes()[i], &number, sizeof number);
  }
  for (const unsigned depth : {1u, 3u, 64u}) {
    const auto queue = storage->make_queue(depth, true);
    EXPECT_GE(queue->depth(), depth);
    // Everything once, in pieces of up to 1 MiB, in any order.
    const auto requests = [&](IoRequest::Op op, const AlignedBuffer& buffer) {
      std::vector<IoRequest> list;
      for (std::uint64_t page = 0; page < kPages;) {
        const std::uint64_t pages =
            std::min(kPages - page, 1 + random() % (random() % 8 == 0 ? 256 : 4));
        list.push_back({.op = op,
                        .offset = page * kPageSize,
                        .data = &buffer.bytes()[page * kPageSize],
                        .bytes = static_cast<std::uint32_t>(pages * kPageSize)});
        page += pages;
      }
      std::shuffle(list.begin(), list.end(), random);
      return list;
    };
    auto writes = requests(IoRequest::Op::kWrite, written);
    run(*queue, writes);
    for (const IoRequest& request : writes) ASSERT_EQ(request.error, 0);
    std::ranges::fill(read.bytes(), std::byte{0});
    auto reads = requests(IoRequest::Op::kRead, read);
    run(*queue, reads);
    for (const IoRequest& request : reads) ASSERT_EQ(request.error, 0);
    ASSERT_EQ(std::memcmp(written.bytes().data(), read.bytes().data(), kBytes), 0);
  }
  // The blocking calls see the same bytes in the same places.
  std::ranges::fill(read.bytes(), std::byte{0});
  ASSERT_EQ(storage->read(0, read.bytes()), 0);
  EXPECT_EQ(std::memcmp(written.bytes().data(), read.bytes().data(), kBytes), 0);
  EXPECT_EQ(storage->flush(), 0);
}

TEST_P(Queue, AReadPastTheEndIsAnErrorOfThatRequestAlone) {
  constexpr std::size_t kBytes = 64 * kPageSize;
  ASSERT_EQ(storage->resize(kBytes), 0);
  const auto queue = storage->make_queue(8, true);
  const AlignedBuffer buffer(3 * kBytes);
  std::vector<IoRequest> reads;
  for (std::uint64_t i = 0; i < 3; ++i) {
    reads.push_back({.op = IoRequest::Op::kRead,
                     .offset = i == 1 ? kBytes - 2 * kPageSize : 0,
                     .data = &buffer.bytes()[i * kBytes],
                     .bytes = kBytes});
  }
  run(*queue, reads);
  EXPECT_EQ(reads[0].error, 0);
  EXPECT_EQ(reads[1].error, ENODATA);
  EXPECT_EQ(reads[2].error, 0);
}

INSTANTIATE_TEST_SUITE_P(Layouts, Queue,
                         testing::Values(Setup{"PlainRing", 1, 0, StorageKind::kIoUring},
                                         Setup{"PlainPread", 1, 0, StorageKind::kPread},
                                         Setup{"TwoRing", 2, 64 << 10, StorageKind::kIoUring},
                                         Setup{"TwoSmallestRing", 2, 4 << 10,
                                               StorageKind::kIoUring},
                                         Setup{"FiveRing", 5, 16 << 10, StorageKind::kIoUring},
                                         Setup{"TwoDefaultRing", 2, 0, StorageKind::kIoUring},
                                         Setup{"ThreePread", 3, 4 << 10, StorageKind::kPread}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace vmcache

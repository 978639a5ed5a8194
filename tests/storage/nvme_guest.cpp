// SPDX-License-Identifier: MIT
//
// NVMe passthrough on the drives of nvme_guest.hpp: what it says of itself, polling, and what it
// refuses.
#include "storage/nvme_guest.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <liburing.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "file_descriptor.hpp"
#include "logger.hpp"
#include "storage/aligned_buffer.hpp"
#include "storage/open.hpp"
#include "vmcache/worker.hpp"

namespace {
std::atomic<bool> before_5_19{false};
}  // namespace

//! liburing's, but while `before_5_19` it refuses what Linux before 5.19 does: the rings that
//! passthrough needs.
extern "C" int io_uring_queue_init_params(unsigned entries, io_uring* ring,
                                          io_uring_params* params) {
  if (before_5_19 && (params->flags & (IORING_SETUP_SQE128 | IORING_SETUP_CQE32)) != 0)
    return -EINVAL;
  static const auto real = reinterpret_cast<decltype(&io_uring_queue_init_params)>(
      ::dlsym(RTLD_NEXT, "io_uring_queue_init_params"));
  return real(entries, ring, params);
}

namespace vmcache {
namespace {

using namespace test;

TEST(NvmeGuest, SaysThatItIsPassthroughAndPolled) {
  wipe(kGood);
  BufferPool pool(polled_pool_on(kGood));
  for (const char* said : {"NVMe passthrough", "512-byte blocks", "volatile write cache",
                           "polled completions", "registered files", "deferred task run"})
    EXPECT_NE(pool.description().find(said), std::string::npos)
        << said << ": " << pool.description();
  fill(pool);
  for (PageId id = 1; id <= kFull; ++id)
    ASSERT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), number_of(id));
  pool.close();
}

//! The kernel does not poll while completions lie in the ring that nobody has taken. So a wait for
//! several must take them as they come, or it asks in vain until its time is over.
TEST(NvmeGuest, APolledWaitEndsWithAsManyAsItIsFor) {
  constexpr unsigned kDepth = 32, kShare = 8, kRounds = 50;
  constexpr std::uint64_t kPatienceNs = 20'000'000'000;
  Logger silent({});
  const std::unique_ptr<Storage> storage = open_storage(polled_pool_on(kGood), silent);
  ASSERT_NE(storage->description().find("polled completions"), std::string::npos)
      << storage->description();
  const std::unique_ptr<IoQueue> queue = storage->make_queue(kDepth, true);
  const AlignedBuffer memory(kDepth * kPageSize);
  std::array<IoRequest, kDepth> requests;
  std::array<IoRequest*, kDepth> done;  // NOLINT: filled by reap()
  for (unsigned round = 0; round < kRounds; ++round) {
    for (unsigned i = 0; i < kDepth; ++i) {
      requests[i] = IoRequest{};
      requests[i].offset = (round * kDepth + i) * kPageSize;
      requests[i].data = memory.bytes().data() + i * kPageSize;
      requests[i].bytes = kPageSize;
      done[i] = &requests[i];
    }
    queue->submit(done);
    while (queue->in_flight() > 0) {
      const unsigned wanted = std::min(kShare, queue->in_flight());
      ASSERT_GE(queue->reap(done, wanted, kPatienceNs), wanted);
    }
    for (const IoRequest& request : requests) ASSERT_EQ(request.error, 0);
  }
}

//! Runs `work` in a thread on `cpu` alone.
void pinned_to(unsigned cpu, const std::function<void()>& work) {
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    work();
  }).join();
}

//! Two rings that poll one hardware queue can make the kernel oops (storage/poll_queues.hpp).
TEST(NvmeGuest, NoTwoRingsPollOneHardwareQueue) {
  Logger silent({});
  const std::unique_ptr<Storage> storage = open_storage(polled_pool_on(kGood), silent);
  {
    const auto first = storage->make_queue(8, true);
    EXPECT_TRUE(first->polled());
    EXPECT_FALSE(storage->make_queue(8, true)->polled()) << "the first one submits from any CPU";
    pinned_to(0, [&] { EXPECT_FALSE(storage->make_queue(8, true)->polled()); });
  }
  EXPECT_FALSE(storage->make_queue(8, false)->polled()) << "several threads take turns with it";
  // The drive has two poll queues, and the guest two CPUs.
  pinned_to(0, [&] {
    const auto first = storage->make_queue(8, true);
    EXPECT_TRUE(first->polled());
    EXPECT_FALSE(storage->make_queue(8, true)->polled()) << "both submit from CPU 0";
    pinned_to(1, [&] { EXPECT_TRUE(storage->make_queue(8, true)->polled()); });
  });
}

TEST(NvmeGuest, AControllerIsPolledByOnePool) {
  wipe(kGood);
  const std::string controller = "/dev/" + controller_of("/dev/vm/data0");
  const FileDescriptor other(::open(controller.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  const Error error = error_of_open(polled_pool_on(kGood));
  EXPECT_EQ(error.code(), Errc::kUnsupported);
  EXPECT_NE(std::string(error.what())
                .find("another pool, here or in another process, polls " + controller),
            std::string::npos)
      << error.what();
  PoolOptions options = pool_on(kGood);
  std::string logged;
  options.logger = [&](LogLevel, std::string_view text) { logged += text; };
  BufferPool pool(options);
  EXPECT_EQ(pool.description().find("polled"), std::string::npos);
  EXPECT_NE(logged.find("without polled completions: another pool"), std::string::npos) << logged;
  pool.close();
}

Task<> read_pages(Worker& worker, std::uint64_t seed, const std::atomic<bool>& stop) {
  std::minstd_rand random(static_cast<unsigned>(seed));
  while (!stop) {
    const PageId id = 1 + random() % kFull;
    const SharedGuard guard = co_await worker.fix_shared(id);
    EXPECT_EQ(*guard.as<std::uint64_t>(), number_of(id));
  }
}

//! Workers on any CPU and on one, and blocking calls; what they must not do is make the kernel
//! oops.
TEST(NvmeGuest, ManyThreadsReadAPolledDrive) {
  constexpr unsigned kThreads = 9;
  constexpr auto kTime = std::chrono::seconds(4);
  wipe(kGood);
  PoolOptions options = polled_pool_on(kGood);
  options.pool_bytes = 256 * kPageSize;
  BufferPool pool(options);
  fill(pool);
  pool.checkpoint();
  std::atomic<bool> stop{false};
  const auto use_worker = [&](unsigned t) {
    Worker worker(pool);
    for (unsigned i = 0; i < 8; ++i) worker.spawn(read_pages(worker, 1 + 8 * t + i, stop));
    worker.run();
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      if (t % 3 == 0) return use_worker(t);
      if (t % 3 == 1) return pinned_to(t % 2, [&] { use_worker(t); });
      std::minstd_rand random(t);
      while (!stop) {
        const PageId id = 1 + random() % kFull;
        EXPECT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), number_of(id));
      }
    });
  }
  std::this_thread::sleep_for(kTime);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  pool.close();
}

TEST(NvmeGuest, WorksUnpolledAndWithSqPolling) {
  for (const bool sq_polling : {false, true}) {
    wipe(kGood);
    PoolOptions options = pool_on(kGood);
    options.io_uring.polled = sq_polling ? Switch::kOn : Switch::kOff;
    options.io_uring.sq_polling = sq_polling ? Switch::kOn : Switch::kOff;
    BufferPool pool(options);
    EXPECT_EQ(pool.description().find("SQ polling") != std::string::npos, sq_polling);
    fill(pool);
    for (PageId id = 1; id <= kFull; ++id)
      ASSERT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), number_of(id));
    pool.close();
  }
}

TEST(NvmeGuest, LargeExtentsAreSplitAtTheTransferLimit) {
  wipe(kGood);
  PoolOptions options = pool_on(kGood);
  options.pool_bytes = 600 * kPageSize;
  BufferPool pool(options);
  std::vector<PageId> ids;
  for (int i = 0; i < 6; ++i) {
    const ExclusiveGuard guard = pool.allocate(kMaxOrder);
    ids.push_back(guard.page_id());
    for (std::size_t page = 0; page < 256; ++page)
      guard.as<std::uint64_t>()[page * kPageSize / 8] = number_of(guard.page_id() + page);
  }
  for (const PageId id : ids) {
    const SharedGuard guard = pool.fix_shared(id, kMaxOrder);
    for (std::size_t page = 0; page < 256; ++page)
      ASSERT_EQ(guard.as<std::uint64_t>()[page * kPageSize / 8], number_of(id + page));
  }
  EXPECT_GT(pool.stats().reads, 0u);
}

//! The first word of each page as the device has it, past the library.
std::uint64_t raw_word(const char* block_device, PageId page_id) {
  const AlignedBuffer page(kPageSize);
  const FileDescriptor fd(::open(block_device, O_RDONLY | O_DIRECT | O_CLOEXEC));
  EXPECT_EQ(
      ::pread(fd.get(), page.bytes().data(), kPageSize, static_cast<off_t>(page_id * kPageSize)),
      static_cast<ssize_t>(kPageSize));
  std::uint64_t word = 0;
  std::memcpy(&word, page.bytes().data(), sizeof word);
  return word;
}

TEST(NvmeGuest, FreedPagesAreGivenBackToTheDeviceAndOthersAreNot) {
  for (const char* path : {kGood, "/dev/vm/data0"}) {
    wipe(kGood);
    BufferPool pool(pool_on(path));
    for (PageId id = 1; id <= 300; ++id) *pool.allocate().as<std::uint64_t>() = number_of(id);
    pool.checkpoint();
    for (PageId id = 100; id < 200; ++id) pool.free(pool.fix_exclusive(id));
    const PageId reused = pool.allocate().page_id();
    *pool.fix_exclusive(reused).as<std::uint64_t>() = number_of(reused);
    pool.checkpoint();
    for (PageId id = 1; id <= 300; ++id) {
      const bool gone = id >= 100 && id < 200 && id != reused;
      ASSERT_EQ(raw_word("/dev/vm/data0", id), gone ? 0 : number_of(id)) << path << ", page " << id;
    }
    pool.close();
  }
}

TEST(NvmeGuest, ADeviceThatIsInUseIsRefusedByEitherNode) {
  constexpr std::array kNodes{kGood, "/dev/vm/data0"};
  wipe(kGood);
  for (const char* first : kNodes) {
    BufferPool pool(pool_on(first));
    for (const char* second : kNodes)
      EXPECT_EQ(error_of_open(pool_on(second)).code(), Errc::kInUse) << first << second;
    pool.close();
  }
  for (const char* node : kNodes) {
    // As a mount does.
    const FileDescriptor other(::open("/dev/vm/data0", O_RDONLY | O_EXCL | O_CLOEXEC));
    const Error error = error_of_open(pool_on(node));
    EXPECT_EQ(error.code(), Errc::kInUse);
    EXPECT_NE(std::string(error.what()).find("is mounted, or another"), std::string::npos)
        << error.what();
  }
  BufferPool(pool_on(kGood)).close();
}

TEST(NvmeGuest, RefusesWhatIsNoNamespaceOrNotPermitted) {
  PoolOptions options = pool_on("/dev/vm/data0");
  options.storage = StorageKind::kNvmePassthrough;
  EXPECT_EQ(error_of_open(options).code(), Errc::kInvalidOption);
  options.path = "/dev/nvme0";
  EXPECT_EQ(error_of_open(options).code(), Errc::kUnsupported);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(65534) != 0) std::_Exit(2);
    options.path = kGood;
    const Error error = error_of_open(options);
    std::_Exit(error.code() == Errc::kUnsupported && error.os_error() == EACCES ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(NvmeGuest, AKernelWithoutPassthroughIsSaidAndNothingIsWritten) {
  wipe(kGood);
  const auto begin = [] {  // of the drive
    const FileDescriptor block(::open("/dev/vm/data0", O_RDONLY | O_DIRECT | O_CLOEXEC));
    const AlignedBuffer pages(64 * kPageSize);
    EXPECT_EQ(::pread(block.get(), pages.bytes().data(), pages.bytes().size(), 0), 64 * kPageSize);
    return std::string(reinterpret_cast<const char*>(pages.bytes().data()), pages.bytes().size());
  };
  const std::string before = begin();
  before_5_19 = true;
  const Error error = error_of_open(pool_on(kGood));
  before_5_19 = false;
  EXPECT_EQ(error.code(), Errc::kUnsupported);
  EXPECT_NE(std::string(error.what()).find("no NVMe passthrough by io_uring (Linux 5.19)"),
            std::string::npos)
      << error.what();
  EXPECT_TRUE(begin() == before);
  BufferPool(pool_on(kGood)).close();
  EXPECT_FALSE(begin() == before) << "what a pool writes would have been seen";
}

}  // namespace
}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Limits of the process: descriptors, locked memory, address space.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <string>
#include <thread>
#include <vector>

#include "support/database.hpp"
#include "support/in_child.hpp"
#include "support/options.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::in_child;
using test::small_pool;
using test::TempFile;

constexpr int kSkipped = 77;

//! While it lives, the process may have `more` descriptors than it has now.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t more) {
    ::getrlimit(RLIMIT_NOFILE, &_before);
    const int lowest_free = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::close(lowest_free);
    const rlimit few{static_cast<rlim_t>(lowest_free) + more, _before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &_before); }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;

 private:
  rlimit _before{};
};

TEST(ProcessLimits, ThreadsThatFindNoDescriptorForARingDoWithout) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan, which comes with AddressSanitizer, looks at memory through a pipe";
#endif
  const TempFile file;
  PoolOptions options = small_pool(file, 32);
  std::atomic<unsigned> said = 0;
  options.logger = [&](LogLevel level, std::string_view) {
    said += level == LogLevel::kWarning ? 1 : 0;
  };
  BufferPool pool(options);
  constexpr PageId kPages = 300;
  for (PageId page_id = 1; page_id <= kPages; ++page_id) {
    ExclusiveGuard guard = pool.allocate();
    *guard.as<std::uint64_t>() = guard.page_id();
  }
  said = 0;  // what the file system may have said at the open
  {
    const FewDescriptors none(0);
    constexpr std::ptrdiff_t kThreads = 6;
    std::barrier begin(kThreads);
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        begin.arrive_and_wait();
        for (std::uint64_t i = 0; i < 100; ++i) {
          const PageId page_id = 1 + (i * 97 + t * 31) % kPages;
          EXPECT_EQ(*pool.fix_shared(page_id).as<std::uint64_t>(), page_id);
        }
        Worker worker(pool);
        const auto read = [&](PageId page_id) -> Task<> {
          EXPECT_EQ(*(co_await worker.fix_shared(page_id)).as<std::uint64_t>(), page_id);
        };
        for (PageId page_id = 1; page_id <= 50; ++page_id) worker.spawn(read(page_id));
        worker.run();
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_NO_THROW(pool.close());
  }
  EXPECT_LE(said, 1u) << "said once";
}

int fill_evict_and_read(BufferPool& pool) {
  for (std::uint64_t i = 1; i <= 300; ++i) *pool.allocate().as<std::uint64_t>() = i;
  for (PageId page_id = 1; page_id <= 300; ++page_id) {
    if (*pool.fix_shared(page_id).as<std::uint64_t>() != page_id) return 1;
  }
  return pool.stats().evictions > 0 ? 0 : 2;
}

//! In a child, because it is for good.
TEST(ProcessLimits, AProcessThatLocksItsMemoryCanEvict) {
  for (const AnonymousRelease release : {AnonymousRelease::kAuto, AnonymousRelease::kMadviseRuns}) {
    for (const int flags : {MCL_FUTURE, MCL_FUTURE | MCL_ONFAULT}) {
      const TempFile file;
      PoolOptions options = small_pool(file, 32, 4096);
      options.anonymous_release = release;
      options.memory = MemoryKind::kAnonymous;
      const int result = in_child([&] {
        if (::mlockall(flags) != 0) return kSkipped;
        unsigned said = 0;
        options.logger = [&](LogLevel, std::string_view what) {
          said += what.find("mlockall") != std::string_view::npos ? 1 : 0;
        };
        BufferPool pool(options);
// Where mlockall() does nothing.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        if (said != 1) return 3;
#endif
        return fill_evict_and_read(pool);
      });
      if (result == kSkipped) GTEST_SKIP() << "mlockall is refused here";
      EXPECT_EQ(result, 0) << flags;
    }
  }
}

TEST(ProcessLimits, AProcessThatLocksItsMemoryAfterTheOpenCanEvict) {
  const TempFile file;
  PoolOptions options = small_pool(file, 32, 4096);
  options.memory = MemoryKind::kAnonymous;
  const int result = in_child([&] {
    BufferPool pool(options);
    if (::mlockall(MCL_CURRENT) != 0) return kSkipped;
    return fill_evict_and_read(pool);
  });
  if (result == kSkipped) GTEST_SKIP() << "mlockall is refused here";
  EXPECT_EQ(result, 0);
}

// They need terabytes themselves.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(ProcessLimits, AnAddressSpaceTooSmallForTheCapacityIsSaid) {
  const TempFile file;
  PoolOptions options = small_pool(file, 32);
  options.memory = MemoryKind::kAnonymous;
  options.capacity_bytes = std::uint64_t{1} << 40;
  EXPECT_EQ(
      in_child([&] {
        const rlimit space{std::uint64_t{8} << 30, RLIM_INFINITY};
        if (::setrlimit(RLIMIT_AS, &space) != 0) return 1;
        try {
          const BufferPool pool(options);
          return 2;
        } catch (const Error& error) {
          if (error.code() != Errc::kOutOfMemory) return 3;
          const std::string what = error.what();
          for (const char* named : {"capacity_bytes", "the page area", "RLIMIT_AS", "8589934592"}) {
            if (what.find(named) == std::string::npos) return 4;
          }
        }
        options.capacity_bytes = std::uint64_t{1} << 30;
        BufferPool pool(options);
        return fill_evict_and_read(pool);
      }),
      0);
}
#endif

}  // namespace
}  // namespace vmcache

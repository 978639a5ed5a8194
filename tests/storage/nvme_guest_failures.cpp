// SPDX-License-Identifier: MIT
//
// NVMe passthrough on the drives of nvme_guest.hpp: what becomes of errors, and of drives that are
// gone.
#include "storage/nvme_guest.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace vmcache {
namespace {

using namespace test;

constexpr const char* kRemoved = "/dev/vm/data1-char";
constexpr const char* kFailing = "/dev/vm/data2-char";
constexpr const char* kUnflushable = "/dev/vm/data3-char";
constexpr const char* kPulled = "/dev/vm/data4-char";
constexpr PageId kUnreadable = 1000, kUnwritable = 1001;
constexpr unsigned kHangSeconds = 300;  // then a signal ends the program, which is a failure

//! Before the others on this drive, which would use the failures up.
TEST(NvmeGuest, AFailureThatMayPassIsTriedAgain) {
  constexpr PageId kUnreadableOnce = 500, kUnwritableOnce = 501;
  wipe(kFailing);
  BufferPool pool(pool_on(kFailing));
  for (PageId id = 0; id < kUnwritableOnce + 100;) {
    const ExclusiveGuard guard = pool.allocate();
    id = guard.page_id();
    *guard.as<std::uint64_t>() = number_of(id);
  }
  pool.checkpoint();
  EXPECT_EQ(pool.stats().retries, 1u);
  ASSERT_EQ(*pool.fix_shared(kUnwritableOnce).as<std::uint64_t>(), number_of(kUnwritableOnce));
  ASSERT_EQ(*pool.fix_shared(kUnreadableOnce).as<std::uint64_t>(), number_of(kUnreadableOnce));
  EXPECT_EQ(pool.stats().retries, 2u);
  EXPECT_EQ(pool.stats().write_errors + pool.stats().read_errors, 0u);
  pool.close();
}

TEST(NvmeGuest, AFailedTransferIsATypedErrorAndTheOthersGoOn) {
  wipe(kFailing);
  BufferPool pool(pool_on(kFailing));
  fill(pool);
  try {
    pool.checkpoint();
    ADD_FAILURE() << "two pages cannot be written";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kIo);
    EXPECT_EQ(error.os_error(), EIO);
    EXPECT_TRUE(error.page_id() == kUnwritable || error.page_id() == kFull) << error.what();
    EXPECT_EQ(error.status().device_status, 0x280);
    EXPECT_NE(std::string(error.what()).find("media error: write fault"), std::string::npos)
        << error.what();
  }
  // They stay in memory, and dirty: with what was written to them, while all others come and go.
  for (PageId id = 1; id < kFull + 100; ++id) {
    if (id == kUnreadable) continue;
    ASSERT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), number_of(id));
  }
  for (int i = 0; i < 2; ++i) {
    try {
      (void)pool.fix_shared(kUnreadable);
      ADD_FAILURE() << "the page cannot be read";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kIo);
      EXPECT_EQ(error.page_id(), kUnreadable);
      EXPECT_EQ(error.status().device_status, 0x281);
      EXPECT_NE(std::string(error.what()).find("media error: unrecovered read error"),
                std::string::npos);
    }
  }
  EXPECT_GT(pool.stats().write_errors, 1u);
  EXPECT_EQ(pool.stats().read_errors, 2u);
  EXPECT_GE(pool.stats().retries, 20u) << "five for each failure";
  EXPECT_THROW(pool.close(), Error);
}

TEST(NvmeGuest, TheBlockDeviceFailsInTheSameWay) {
  wipe(kFailing);
  BufferPool pool(pool_on("/dev/vm/data2"));
  EXPECT_NE(pool.description().find("block device"), std::string::npos);
  fill(pool);
  EXPECT_THROW(pool.checkpoint(), Error);
  for (PageId id = 1; id < kFull + 100; ++id) {
    if (id == kUnreadable) continue;
    ASSERT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), number_of(id));
  }
  try {
    (void)pool.fix_shared(kUnreadable);
    ADD_FAILURE() << "the page cannot be read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kIo);
    EXPECT_EQ(error.page_id(), kUnreadable);
  }
}

TEST(NvmeGuest, AFlushThatFailsIsAnErrorOnEveryPath) {
  for (const char* path : {kUnflushable, "/dev/vm/data3"}) {
    const Error error = error_of_open(pool_on(path));
    EXPECT_EQ(error.code(), Errc::kIo) << error.what();
    // ENODATA: what the block layer makes of a media error.
    EXPECT_TRUE(error.os_error() == EIO || error.os_error() == ENODATA) << error.what();
    const bool explained =
        std::string(error.what()).find("NVMe: media error: write fault") != std::string::npos;
    EXPECT_EQ(explained, path == kUnflushable) << error.what();
  }
}

//! Uses page after page until no frame is to be had; those that cannot be read do not matter.
void try_pages(const std::function<void(PageId)>& use) {
  for (PageId id = 1; id <= kFull; ++id) {
    try {
      use(id);
    } catch (const Error& error) {
      EXPECT_EQ(error.page_id(), id) << error.what();
      if (error.code() == Errc::kPoolExhausted) return;
      EXPECT_EQ(error.code(), Errc::kIo) << error.what();
    }
  }
}

//! Fills a pool on the drive, has it taken away by `pull` while two threads change pages, and
//! checks that both hear of it, that what they changed and could not be written is still there, and
//! that another pool goes on.
void lose_the_drive(const char* path, const std::function<void()>& pull) {
  ::alarm(kHangSeconds);
  wipe(path);
  wipe(kGood);
  BufferPool other(pool_on(kGood));
  PoolOptions options = pool_on(path);
  options.frame_wait = std::chrono::milliseconds(500);
  {
    BufferPool pool(options);
    fill(pool);
    std::vector<std::uint64_t> written(kFull + 1);  // each changed under its page's latch
    for (PageId id = 1; id <= kFull; ++id) written[id] = number_of(id);
    std::atomic<unsigned> failures{0};
    std::atomic<bool> pulled{false};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (PageId id = 1 + t; !pulled || failures < 20; id = 1 + (id + 7) % kFull) {
          try {
            const ExclusiveGuard guard = pool.fix_exclusive(id);
            EXPECT_EQ(*guard.as<std::uint64_t>(), written[id]);
            *guard.as<std::uint64_t>() = ++written[id];
          } catch (const Error& error) {
            EXPECT_TRUE(error.code() == Errc::kIo || error.code() == Errc::kPoolExhausted)
                << error.what();
            EXPECT_EQ(error.page_id(), id);
            ++failures;
          }
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    pull();
    pulled = true;
    for (std::thread& thread : threads) thread.join();

    // What is in memory is still to be had, and changed once more.
    std::vector<PageId> kept;
    for (PageId id = 1; id <= kFull; ++id) {
      ExclusiveGuard guard;
      const TryFix found = pool.try_fix(id, guard);
      if (found == TryFix::kMiss) continue;
      if (found != TryFix::kFixed) guard = pool.fix_exclusive(id);
      EXPECT_EQ(*guard.as<std::uint64_t>(), written[id]) << "page " << id;
      *guard.as<std::uint64_t>() = ++written[id];
      kept.push_back(id);
    }
    ASSERT_FALSE(kept.empty());
    // And nothing else: there may be no frame for the first page that is not, if all are full of
    // changes.
    try_pages([&](PageId id) {
      const ExclusiveGuard guard = pool.fix_exclusive(id);
      EXPECT_EQ(*guard.as<std::uint64_t>(), written[id]) << "page " << id;
      EXPECT_EQ(std::ranges::count(kept, id), 1) << "page " << id;
    });
    const std::uint64_t failed = pool.stats().write_errors;
    try {
      pool.checkpoint();
      ADD_FAILURE() << "nothing can be written any more";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kIo) << error.what();
      EXPECT_EQ(std::ranges::count(kept, error.page_id()), 1) << error.what();
    }
    EXPECT_GT(pool.stats().write_errors, failed);
    // New pages want their frames, and do not get them.
    try {
      for (PageId i = 0; i < kFull; ++i) (void)pool.allocate();
      ADD_FAILURE() << "more frames than the pool has";
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == Errc::kPoolExhausted || error.code() == Errc::kIo)
          << error.what();
    }
    for (const PageId id : kept)
      EXPECT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), written[id]) << "page " << id;
    EXPECT_THROW(pool.close(), Error);
  }
  EXPECT_EQ(error_of_open(options).code(), Errc::kInvalidOption) << "not a file of that name";
  fill(other);
  for (PageId id = 1; id <= kFull; ++id)
    ASSERT_EQ(*other.fix_shared(id).as<std::uint64_t>(), number_of(id));
  other.close();
  ::alarm(0);
}

// The last ones: the drives do not come back.

TEST(NvmeGuest, ADeviceTakenFromItsDriverIsAnErrorAndNoHang) {
  const std::string name = controller_of("/dev/vm/data1");
  lose_the_drive(kRemoved,
                 [&] { std::ofstream("/sys/class/nvme/" + name + "/device/remove") << "1\n"; });
}

TEST(NvmeGuest, ADevicePulledOutOfItsSlotIsAnErrorAndNoHang) {
  lose_the_drive(kPulled, [] {
    std::ofstream("/dev/vm/host") << "pull data4\n";
    // The guest's kernel hears of it, and takes its time.
    for (int i = 0;
         i < 10 * static_cast<int>(kHangSeconds) && std::filesystem::exists("/dev/vm/data4"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_FALSE(std::filesystem::exists("/dev/vm/data4"));
  });
}

}  // namespace
}  // namespace vmcache

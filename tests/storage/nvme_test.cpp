// SPDX-License-Identifier: MIT
//
// What can be checked of passthrough without a device: what Identify says, and what statuses mean.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "nvme_status.hpp"
#include "storage/nvme_identify.hpp"
#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

//! The pages of a plain drive: 1000 blocks of 512 bytes.
struct Identified {
  std::vector<std::byte> of_namespace = std::vector<std::byte>(nvme::kIdentifyBytes);
  std::vector<std::byte> of_controller = std::vector<std::byte>(nvme::kIdentifyBytes);

  Identified() {
    set<std::uint64_t>(of_namespace, 0, 1000);
    format(0, 9, 0);
    set<std::uint8_t>(of_controller, 77, 5);
    set<std::uint16_t>(of_controller, 520, 4);
    set<std::uint8_t>(of_controller, 525, 1);
  }
  template <typename T>
  static void set(std::vector<std::byte>& page, std::size_t offset, T value) {
    std::memcpy(&page[offset], &value, sizeof value);
  }
  void format(unsigned number, unsigned shift, unsigned metadata_bytes) {
    set<std::uint32_t>(of_namespace, 128 + 4 * number, shift << 16 | metadata_bytes);
  }
  [[nodiscard]] std::string refusal() {
    return nvme::parse_identify(of_namespace, of_controller, result);
  }
  nvme::Namespace result;
};

TEST(NvmeIdentify, ReadsWhatTransfersNeed) {
  Identified drive;
  EXPECT_EQ(drive.refusal(), "");
  EXPECT_EQ(drive.result.bytes(), 512'000u);
  EXPECT_EQ(drive.result.max_transfer_bytes, 128u << 10);
  EXPECT_TRUE(drive.result.write_cache);
  EXPECT_TRUE(drive.result.deallocates);
}

TEST(NvmeIdentify, FindsTheFormatInUse) {
  Identified drive;
  drive.format(1, 12, 0);
  drive.format(17, 10, 0);
  drive.set<std::uint8_t>(drive.of_namespace, 26, 1);
  EXPECT_EQ(drive.refusal(), "");
  EXPECT_EQ(drive.result.block_shift, 12u);
  drive.set<std::uint8_t>(drive.of_namespace, 26, 0x21);  // 17: its upper bits are bits 6:5
  EXPECT_EQ(drive.refusal(), "");
  EXPECT_EQ(drive.result.block_shift, 10u);
}

TEST(NvmeIdentify, RefusesWhatItCannotWriteProperly) {
  const auto refused = [](const char* why, auto change) {
    Identified drive;
    change(drive);
    const std::string refusal = drive.refusal();
    EXPECT_NE(refusal.find(why), std::string::npos) << why << ": " << refusal;
  };
  refused("metadata", [](Identified& d) { d.format(0, 9, 8); });
  refused("blocks of 2^13", [](Identified& d) { d.format(0, 13, 0); });
  refused("blocks of 2^8", [](Identified& d) { d.format(0, 8, 0); });
  refused("blocks of 2^255", [](Identified& d) { d.format(0, 255, 0); });
  refused("not active", [](Identified& d) { d.set<std::uint64_t>(d.of_namespace, 0, 0); });
  refused("write protected", [](Identified& d) { d.set<std::uint8_t>(d.of_namespace, 99, 1); });
  refused("protection information",
          [](Identified& d) { d.set<std::uint8_t>(d.of_namespace, 29, 2); });
}

TEST(NvmeIdentify, BoundsATransferWhereTheDeviceDoesNot) {
  for (const std::uint8_t limit : {std::uint8_t{0}, std::uint8_t{9}, std::uint8_t{255}}) {
    Identified drive;
    drive.set<std::uint8_t>(drive.of_controller, 77, limit);
    EXPECT_EQ(drive.refusal(), "");
    EXPECT_EQ(drive.result.max_transfer_bytes, 1u << 20) << unsigned{limit};
  }
}

TEST(NvmeStatus, HasAMeaningAndAnErrnoThatIsNeverTriedAgain) {
  for (unsigned status = 1; status <= nvme::kStatusMask; ++status) {
    const int error = nvme::errno_of(static_cast<std::uint16_t>(status));
    EXPECT_TRUE(error > 0 && error != EAGAIN && error != EINTR) << status;
    EXPECT_FALSE(nvme::meaning_of(static_cast<std::uint16_t>(status)).empty());
  }
  EXPECT_NE(nvme::meaning_of(0x281).find("media error"), std::string::npos);
  EXPECT_EQ(nvme::meaning_of(0x281), nvme::meaning_of(0x4281))
      << "the do-not-retry bit is no part of it";
  EXPECT_EQ(nvme::meaning_of(0x080), "LBA out of range");
  EXPECT_EQ(nvme::meaning_of(0x082), "namespace not ready");
  EXPECT_EQ(nvme::errno_of(0x081), ENOSPC);
  EXPECT_EQ(nvme::errno_of(0x020), EROFS);
}

TEST(NvmeStatus, IsTriedAgainUnlessItSaysNotTo) {
  for (const int passing : {0x007, 0x082, 0x300, 0x2082})
    EXPECT_TRUE(nvme::may_pass(passing)) << passing;
  for (const int final : {0, -EINTR, -ENODEV, 0x4007, 0x4080, 0x6281})
    EXPECT_FALSE(nvme::may_pass(final)) << final;
}

//! A flush that was begun is not sent again: it may have lost what it did not make durable.
TEST(NvmeStatus, OnlyACommandThatWasNotBegunLeavesNothingBehind) {
  EXPECT_TRUE(nvme::was_not_begun(0x082));
  for (const int begun : {0, -EINTR, 0x006, 0x007, 0x280, 0x371, 0x2006})
    EXPECT_FALSE(nvme::was_not_begun(begun)) << begun;
}

TEST(NvmeStatus, IsInTheErrorsText) {
  const Error error(Status{Errc::kIo, EIO, 77, 0x281});
  const std::string text = error.what();
  EXPECT_NE(text.find("page 77"), std::string::npos) << text;
  EXPECT_NE(text.find("unrecovered read error"), std::string::npos) << text;
  EXPECT_NE(text.find("0x281"), std::string::npos) << text;
}

TEST(NvmeOpen, RefusesWhatIsNoNamespace) {
  const test::TempFile file;
  PoolOptions options = test::small_pool(file, 16);
  const auto refused = [&](Errc code, const std::string& path) {
    options.path = path;
    try {
      const BufferPool pool(options);
      ADD_FAILURE() << path << " was opened";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    }
  };
  options.storage = StorageKind::kNvmePassthrough;
  refused(Errc::kInvalidOption, file.path());
  refused(Errc::kInvalidOption, "/dev/ng77n1");
  refused(Errc::kUnsupported, "/dev/zero");
  EXPECT_EQ(std::filesystem::file_size(file.path()), 0u);
  options.storage = StorageKind::kAuto;
  refused(Errc::kUnsupported, "/dev/zero");
  refused(Errc::kInvalidOption, "/dev/ng77n1");
  EXPECT_FALSE(std::filesystem::exists("/dev/ng77n1"));
  options.storage = StorageKind::kPread;
  refused(Errc::kUnsupported, "/dev/zero");
}

}  // namespace
}  // namespace vmcache

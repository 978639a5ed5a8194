// SPDX-License-Identifier: MIT
//
// Reads do not set a file's access time where its owner may forgo that, and work where not.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "logger.hpp"
#include "storage/aligned_buffer.hpp"
#include "storage/open.hpp"
#include "support/temp_file.hpp"
#include "vmcache/options.hpp"

namespace vmcache {
namespace {

std::unique_ptr<Storage> open(const std::string& path) {
  PoolOptions options;
  options.paths = {path};
  Logger silent({});
  return open_storage(options, silent);
}

//! Of this process's only descriptor of that file.
int flags_of(const std::string& path) {
  int flags = -1;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone) != path) continue;
    EXPECT_EQ(flags, -1) << path << " is open twice";
    std::ifstream info("/proc/self/fdinfo/" + entry.path().filename().string());
    for (std::string name; info >> name;)
      if (name == "flags:") info >> std::oct >> flags;
  }
  EXPECT_NE(flags, -1) << path << " is not open";
  return flags;
}

TEST(AccessTimes, AreForgone) {
  const test::TempFile file;
  const auto storage = open(file.path());
  EXPECT_NE(flags_of(file.path()) & O_NOATIME, 0);
}

TEST(AccessTimes, OfAnotherUsersFileAreLeftToTheKernel) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const test::TempFile file;
  {
    const auto storage = open(file.path());
    ASSERT_EQ(storage->resize(kPageSize), 0);
  }
  ASSERT_EQ(::chmod(file.path().c_str(), 0666), 0);
  constexpr uid_t kNobody = 65534;
  ::setfsuid(kNobody);  // of this thread, for files, and without root's CAP_FOWNER
  std::unique_ptr<Storage> storage;
  const AlignedBuffer page(kPageSize);
  EXPECT_NO_THROW(storage = open(file.path()));
  ::setfsuid(0);
  ASSERT_NE(storage, nullptr);
  EXPECT_EQ(flags_of(file.path()) & O_NOATIME, 0);
  EXPECT_EQ(storage->read(0, page.bytes()), 0);
}

}  // namespace
}  // namespace vmcache

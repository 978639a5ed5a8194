// SPDX-License-Identifier: MIT
//
// Opening and making real files, with a system that refuses or cuts what it is asked for. Linked so
// that the library's calls come through here (--wrap).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/database.hpp"

namespace {

int fallocate_error = 0;
int flock_error = 0;
bool no_blocks = false;        // fstat says st_blocks = 0
bool folder_synced = false;    // an fsync of a folder
int calls_left = -1;           // the process ends at the call that finds 0
bool tear_last_write = false;  // only the second half of the page that is written then

void count_down() {
  if (calls_left < 0) return;
  if (calls_left-- == 0) ::_exit(7);
}

}  // namespace

extern "C" {
int __real_fallocate(int, int, off_t, off_t);
int __real_flock(int, int);
int __real_fstat(int, struct stat*);
int __real_fsync(int);
int __real_fdatasync(int);
int __real_ftruncate(int, off_t);
ssize_t __real_pwrite(int, const void*, size_t, off_t);

int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes) {
  count_down();
  if (fallocate_error == 0) return __real_fallocate(fd, mode, offset, bytes);
  errno = fallocate_error;
  return -1;
}
int __wrap_flock(int fd, int how) {
  if (flock_error == 0 || how == LOCK_UN) return __real_flock(fd, how);
  errno = flock_error;
  return -1;
}
int __wrap_fstat(int fd, struct stat* info) {
  const int result = __real_fstat(fd, info);
  if (result == 0 && no_blocks && S_ISREG(info->st_mode)) info->st_blocks = 0;
  return result;
}
int __wrap_fsync(int fd) {
  count_down();
  struct stat info {};
  if (__real_fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) folder_synced = true;
  return __real_fsync(fd);
}
int __wrap_fdatasync(int fd) {
  count_down();
  return __real_fdatasync(fd);
}
int __wrap_ftruncate(int fd, off_t bytes) {
  count_down();
  return __real_ftruncate(fd, bytes);
}
ssize_t __wrap_pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  if (calls_left == 0 && tear_last_write && bytes == vmcache::kPageSize) {
    const size_t half = bytes / 2;
    (void)!__real_pwrite(fd, static_cast<const char*>(data) + half, half,
                         offset + static_cast<off_t>(half));
  }
  count_down();
  return __real_pwrite(fd, data, bytes, offset);
}
}

namespace vmcache {
namespace {

namespace fs = std::filesystem;

//! A folder of its own, gone with the object.
class Folder {
 public:
  Folder() {
    std::string name = "vmcache-open-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    _path = fs::absolute(name) / "a folder with spaces \xff";  // a name that is not UTF-8
    fs::create_directory(_path);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(_path.parent_path(), ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] fs::path operator/(const char* name) const { return _path / name; }
  [[nodiscard]] std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(_path), fs::directory_iterator()));
  }

 private:
  fs::path _path;
};

PoolOptions pool_on(const fs::path& path) {
  PoolOptions options;
  options.path = path;
  options.pool_bytes = 16 * kPageSize;
  options.capacity_bytes = std::uint64_t{1} << 28;
  options.memory = MemoryKind::kAnonymous;
  options.storage = StorageKind::kPread;
  return options;
}

DatabaseOptions database_on(const fs::path& pages, const fs::path& log) {
  DatabaseOptions options;
  options.pool = pool_on(pages);
  options.log.path = log;
  options.log.capacity_bytes = std::uint64_t{1} << 20;
  return options;
}

Error error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return Error(Errc::kOk, "no error");
}

TEST(FileOpen, DecidesWhatIsEmptyByReading) {
  const Folder folder;
  PageId page_id = kNoPage;
  {
    BufferPool pool(pool_on(folder / "pool"));
    ExclusiveGuard page = pool.allocate();
    *page.as<int>() = 42;
    page_id = page.page_id();
  }
  no_blocks = true;
  {
    BufferPool pool(pool_on(folder / "pool"));
    EXPECT_TRUE(pool.contains(page_id)) << "an old database was taken for an empty file";
    if (pool.contains(page_id)) {
      EXPECT_EQ(*pool.fix_shared(page_id).as<int>(), 42);
    }
  }
  no_blocks = false;
}

TEST(FileOpen, SyncsTheFolderOfANewFileBeforeTheOpenReturns) {
  const Folder folder;
  folder_synced = false;
  const BufferPool pool(pool_on(folder / "pool"));
  EXPECT_TRUE(folder_synced);
}

TEST(FileOpen, FallsBackWhereBlocksCannotBeTakenAheadAndSaysSo) {
  for (const int unsupported : {EOPNOTSUPP, ENOSYS}) {
    const Folder folder;
    std::string said;
    PoolOptions options = pool_on(folder / "pool");
    options.logger = [&](LogLevel, std::string_view text) { said += std::string(text) + "\n"; };
    fallocate_error = unsupported;
    BufferPool pool(options);
    (void)pool.allocate();
    EXPECT_NE(said.find("fallocate"), std::string::npos) << said;
    fallocate_error = 0;
  }
  for (const int answer : {ENOSPC, EDQUOT, EFBIG, EIO}) {
    const Folder folder;
    fallocate_error = answer;
    const Error error = error_of([&] { BufferPool pool(pool_on(folder / "pool")); });
    fallocate_error = 0;
    EXPECT_EQ(error.os_error(), answer) << error.what();
    EXPECT_EQ(folder.files(), 0U) << "an open that failed has left a file";
  }
}

TEST(FileOpen, TellsLockErrorsApart) {
  const Folder folder;
  const auto code = [&](int error) {
    flock_error = error;
    const Errc found = error_of([&] { BufferPool pool(pool_on(folder / "pool")); }).code();
    flock_error = 0;
    return found;
  };
  EXPECT_EQ(code(EWOULDBLOCK), Errc::kInUse);
  fs::remove(folder / "pool");
  EXPECT_EQ(code(EOPNOTSUPP), Errc::kUnsupported);
  EXPECT_EQ(code(ENOLCK), Errc::kOutOfMemory);
  EXPECT_EQ(folder.files(), 0U) << "an open that failed has left a file";
}

TEST(FileOpen, RefusesAFifoWithoutWaiting) {
  const Folder folder;
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  ::alarm(60);
  const Error error = error_of([&] { BufferPool pool(pool_on(folder / "fifo")); });
  ::alarm(0);
  EXPECT_EQ(error.code(), Errc::kUnsupported);
  EXPECT_NE(std::string(error.what()).find("FIFO"), std::string::npos) << error.what();
}

TEST(FileOpen, ThatIsRefusedLeavesNoNewFileAndTouchesNone) {
  const Folder folder;
  { const Database database(database_on(folder / "pages", folder / "log")); }
  const auto pages_time = fs::last_write_time(folder / "pages");
  const auto log_time = fs::last_write_time(folder / "log");
  const auto code = [&](const char* pages, const char* log) {
    return error_of([&] { Database database(database_on(folder / pages, folder / log)); }).code();
  };
  EXPECT_EQ(code("pages", "no-log"), Errc::kMismatch);
  EXPECT_EQ(code("no-pages", "log"), Errc::kMismatch);
  EXPECT_EQ(error_of([&] { BufferPool pool(pool_on(folder / "pages")); }).code(), Errc::kMismatch)
      << "a page file that a log belongs to";
  EXPECT_EQ(folder.files(), 2U);
  EXPECT_EQ(fs::last_write_time(folder / "pages"), pages_time);
  EXPECT_EQ(fs::last_write_time(folder / "log"), log_time);
  const Database database(database_on(folder / "pages", folder / "log"));
}

//! In a child that ends at its n-th call that writes, for every n; then here.
void is_begun_again_wherever_it_is_killed(const std::function<void(const Folder&)>& create) {
  for (const bool torn : {false, true}) {
    bool cut = true;
    for (int n = 0; cut && n < 200; ++n) {
      const Folder folder;
      const pid_t child = ::fork();
      if (child == 0) {
        calls_left = n;
        tear_last_write = torn;
        try {
          create(folder);
        } catch (const std::exception&) {
          ::_exit(3);
        }
        ::_exit(0);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      ASSERT_TRUE(WIFEXITED(status));
      ASSERT_NE(WEXITSTATUS(status), 3) << "call " << n;
      cut = WEXITSTATUS(status) == 7;
      if (!cut) break;
      ASSERT_NO_THROW(create(folder)) << "cut at call " << n << (torn ? ", torn" : "");
    }
    ASSERT_FALSE(cut);
  }
}

TEST(FileOpen, ACreationThatWasKilledIsBegunAgain) {
  is_begun_again_wherever_it_is_killed(
      [](const Folder& folder) { const BufferPool pool(pool_on(folder / "pool")); });
}

TEST(FileOpen, ACreationOfStripesThatWasKilledIsBegunAgain) {
  is_begun_again_wherever_it_is_killed([](const Folder& folder) {
    PoolOptions options = pool_on({});
    options.path.clear();
    options.paths = {folder / "one", folder / "two", folder / "three"};
    const BufferPool pool(options);
  });
}

}  // namespace
}  // namespace vmcache

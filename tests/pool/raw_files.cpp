// SPDX-License-Identifier: MIT
#include "pool/raw_files.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <mutex>
#include <random>
#include <set>
#include <thread>

namespace {

//! Files, by inode, whose next fdatasync() fails.
std::mutex unsyncable_mutex;
std::set<ino_t> unsyncable;
//! Files, by inode, whose pwrite() waits until they are taken out.
std::mutex stuck_mutex;
std::set<ino_t> stuck;
std::atomic<int> stuck_now{0};
//! The same for fdatasync(); under unsyncable_mutex.
std::set<ino_t> stuck_syncs;
std::atomic<int> syncs_stuck_now{0};

ino_t inode_of(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 ? info.st_ino : 0;
}

}  // namespace

// The linker puts these in the library's way (--wrap).
extern "C" int __real_fdatasync(int fd);  // NOLINT: the linker's names
extern "C" ssize_t __real_pwrite(int fd, const void* bytes, size_t count, off_t at);  // NOLINT
extern "C" int __wrap_fdatasync(int fd) {                                             // NOLINT
  const auto is_stuck = [&] {
    const std::lock_guard lock(unsyncable_mutex);
    return stuck_syncs.contains(inode_of(fd));
  };
  ++syncs_stuck_now;
  while (is_stuck()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  --syncs_stuck_now;
  const std::lock_guard lock(unsyncable_mutex);
  if (unsyncable.erase(inode_of(fd)) > 0) {
    errno = EIO;
    return -1;
  }
  return __real_fdatasync(fd);
}
extern "C" ssize_t __wrap_pwrite(int fd, const void* bytes, size_t count, off_t at) {  // NOLINT
  const auto is_stuck = [&] {
    const std::lock_guard lock(stuck_mutex);
    return stuck.contains(inode_of(fd));
  };
  while (is_stuck()) {
    ++stuck_now;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --stuck_now;
  }
  return __real_pwrite(fd, bytes, count, at);
}

namespace vmcache::test {
namespace {

ino_t inode_of(const std::filesystem::path& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0);
  return info.st_ino;
}

}  // namespace

PoolOptions files_only(std::uint64_t pages, std::uint64_t ranges) {
  PoolOptions options;
  options.pool_bytes = pages * kPageSize;
  options.files_bytes = ranges * kRange;
  options.frame_wait = std::chrono::seconds(20);
  options.memory = default_memory;
  return options;
}

std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_all(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string pattern(std::size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

void put(BufferPool& pool, const File& file, std::uint64_t offset, const std::string& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const std::uint64_t at = offset + done;
    const std::size_t n = std::min<std::size_t>(bytes.size() - done, kPageSize - at % kPageSize);
    ExclusiveGuard guard = pool.fix_exclusive(file.page_id(at / kPageSize));
    std::memcpy(guard.data() + at % kPageSize, bytes.data() + done, n);
    done += n;
  }
}

std::string get(BufferPool& pool, const File& file, std::uint64_t offset, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    const std::uint64_t at = offset + text.size();
    const std::size_t n = std::min<std::size_t>(bytes - text.size(), kPageSize - at % kPageSize);
    const SharedGuard guard = pool.fix_shared(file.page_id(at / kPageSize));
    text.append(reinterpret_cast<const char*>(guard.data()) + at % kPageSize, n);
  }
  return text;
}

void fail_next_sync(const std::filesystem::path& path) {
  const std::lock_guard lock(unsyncable_mutex);
  unsyncable.insert(inode_of(path));
}

Stuck::Stuck(const TempFile& file) {
  const std::lock_guard lock(stuck_mutex);
  stuck.insert(inode_of(file.path()));
}

void Stuck::wait() {
  while (stuck_now == 0) std::this_thread::yield();
}

void Stuck::let_go() {
  const std::lock_guard lock(stuck_mutex);
  stuck.clear();
}

StuckSync::StuckSync(const TempFile& file) {
  const std::lock_guard lock(unsyncable_mutex);
  stuck_syncs.insert(inode_of(file.path()));
}

bool StuckSync::waits() {
  return syncs_stuck_now > 0;
}

void StuckSync::let_go() {
  const std::lock_guard lock(unsyncable_mutex);
  stuck_syncs.clear();
}

}  // namespace vmcache::test

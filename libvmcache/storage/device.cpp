// SPDX-License-Identifier: MIT
#include "storage/device.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "storage/aligned_buffer.hpp"

namespace vmcache {

void Device::fail(Errc code, int error, const std::string& what) const {
  throw Error(Status{code, error, kNoPage}, fmt::format("{} {}", what, _path));
}

namespace {

//! Repeats a call that fails with `busy` for half a second: a process that was killed a moment ago may hold on a little
//! longer, because an io_uring lets go of its files some time after it was closed. Returns 0 or the last errno.
template <typename Call>
int patiently(int busy, Call call) {
  constexpr int kTries = 50;
  constexpr timespec kPause{0, 10'000'000};
  int error = 0;
  for (int i = 0; i < kTries; ++i) {
    if (call()) return 0;
    error = errno;
    if (error != busy) break;
    ::nanosleep(&kPause, nullptr);
  }
  return error;
}

}  // namespace

void Device::lock(Access access) const {
  const int how = (access == Access::kReadOnly ? LOCK_SH : LOCK_EX) | LOCK_NB;
  const int error = patiently(EWOULDBLOCK, [&] { return ::flock(fd(), how) == 0; });
  if (error == 0) return;
  fail(error == EWOULDBLOCK ? Errc::kInUse : Errc::kIo, error,
       "another pool, here or in another process, has open");
}

void Device::claim(const std::string& block_node, Access access) {
  const int error = patiently(EBUSY, [&] {
    _claim = FileDescriptor(::open(block_node.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    return static_cast<bool>(_claim);
  });
  if (error == EBUSY)
    fail(Errc::kInUse, error,
         fmt::format("{} is mounted, or another pool or program has it to itself:", block_node));
  if (error != 0) fail(Errc::kIo, error, fmt::format("opening {} for", block_node));
  if (access == Access::kReadOnly) _claim = FileDescriptor();
}

bool Device::begins_with_zeros() {
  constexpr std::uint64_t kProbeBytes = 1 << 20;
  const AlignedBuffer buffer(std::min(kProbeBytes, size_bytes()));
  if (read(0, buffer.bytes()) != 0) return false;
  return std::ranges::all_of(buffer.bytes(), [](std::byte b) { return b == std::byte{0}; });
}

namespace {

//! A device that is not there, or not any more, must not be made as a file of that name.
bool would_be_a_device(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_symlink(path, ignored) ||
         std::filesystem::weakly_canonical(path, ignored).parent_path() == "/dev";
}

}  // namespace

std::unique_ptr<Device> open_device(const std::filesystem::path& path, const PoolOptions& options, Log& log,
                                    Access access) {
  struct stat info {};
  const bool there = ::stat(path.c_str(), &info) == 0;
  const bool character = there && S_ISCHR(info.st_mode);
  if (options.storage == StorageKind::kNvmePassthrough && !character) {
    throw Error(
        Status{Errc::kInvalidOption, there ? 0 : errno, kNoPage},
        fmt::format("storage = NVMe passthrough needs a namespace's character device (/dev/ngXnY), not {}",
                    path.string()));
  }
  if (!there && would_be_a_device(path))
    throw Error(Status{Errc::kInvalidOption, ENOENT, kNoPage},
                fmt::format("{}: no such device", path.string()));
  if (!character) return open_file_device(path, options, log, access);
  if (access == Access::kReadOnly) {
    throw Error(
        Errc::kUnsupported,
        fmt::format("{}: a character device cannot be locked against writers; name the namespace's block "
                    "device",
                    path.string()));
  }
  if (options.storage == StorageKind::kIoUring || options.storage == StorageKind::kPread) {
    throw Error(
        Errc::kUnsupported,
        fmt::format("{}: a character device is for storage = NVMe passthrough; io_uring and pread take a "
                    "file or a block device",
                    path.string()));
  }
  return open_nvme_device(path);
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include "storage/device.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <vector>

#include "storage/aligned_buffer.hpp"

namespace vmcache {

void Device::fail(Errc code, int error, const std::string& what) const {
  throw Error(Status{code, error, kNoPage}, fmt::format("{} {}", what, _path));
}

namespace {

//! Repeats a call that fails with `busy` for two seconds. A process that was killed a moment ago
//! may hold on a little longer, because an io_uring lets go of its files after it was closed:
//! on a busy machine a second. Returns 0 or the last errno.
template <typename Call>
int patiently(int busy, Call call) {
  constexpr int kTries = 200;
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
  switch (const int error = patiently(EWOULDBLOCK, [&] { return ::flock(fd(), how) == 0; })) {
    case 0:
      return;
    case EWOULDBLOCK:
      fail(Errc::kInUse, error, "another pool, here or in another process, has open");
    case EOPNOTSUPP:
    case ENOSYS:
    case EINVAL:
      fail(Errc::kUnsupported, error,
           "this file system has no locks (flock), so nothing would keep a second pool away from");
    case ENOLCK:
    case ENOMEM:
      fail(Errc::kOutOfMemory, error, "the system has no lock left for");
    default:
      fail(Errc::kIo, error, "locking");
  }
}

void Device::unlock() const noexcept {
  if (_process.here()) ::flock(fd(), LOCK_UN);
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
  const std::uint64_t bytes = std::min(kProbeBytes, size_bytes()) / kPageSize * kPageSize;
  if (bytes == 0) return false;
  const AlignedBuffer buffer(bytes);
  if (read(0, buffer.bytes()) != 0) return false;
  return std::ranges::all_of(buffer.bytes(), [](std::byte b) { return b == std::byte{0}; });
}

namespace {

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  return S_ISSOCK(mode) ? "a socket" : "something else";
}

//! A device that is not there, or not any more, must not be made as a file of that name.
bool would_be_a_device(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_symlink(path, ignored) ||
         std::filesystem::weakly_canonical(path, ignored).parent_path() == "/dev";
}

}  // namespace

std::unique_ptr<Device> open_device(const std::filesystem::path& path, const PoolOptions& options,
                                    Logger& logger, Access access) {
  // The system would take the part before it for the path.
  if (path.native().find('\0') != std::string::npos)
    throw Error(Errc::kInvalidOption, fmt::format("{}: a path has a NUL in it", path.c_str()));
  struct stat info {};
  const bool there = ::stat(path.c_str(), &info) == 0;
  const bool character = there && S_ISCHR(info.st_mode);
  if (options.storage == StorageKind::kNvmePassthrough && !character) {
    throw Error(
        Status{Errc::kInvalidOption, there ? 0 : errno, kNoPage},
        fmt::format(
            "storage = NVMe passthrough needs a namespace's character device (/dev/ngXnY), not {}",
            path.string()));
  }
  if (there && !S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode) && !character) {
    // Before it is opened: to open a FIFO waits for somebody at its other end.
    throw Error(Errc::kUnsupported,
                fmt::format("{}: is {}, neither a regular file nor a block device", path.string(),
                            kind_of(info.st_mode)));
  }
  if (!there && would_be_a_device(path))
    throw Error(Status{Errc::kInvalidOption, ENOENT, kNoPage},
                path.string() + (std::filesystem::is_symlink(path)
                                     ? ": a symbolic link whose target is missing"
                                     : ": no such device"));
  if (!character) return open_file_device(path, options, logger, access);
  if (access == Access::kReadOnly) {
    throw Error(
        Errc::kUnsupported,
        fmt::format(
            "{}: a character device cannot be locked against writers; name the namespace's block "
            "device",
            path.string()));
  }
  if (options.storage == StorageKind::kIoUring || options.storage == StorageKind::kPread) {
    throw Error(
        Errc::kUnsupported,
        fmt::format(
            "{}: a character device is for storage = NVMe passthrough; io_uring and pread take a "
            "file or a block device",
            path.string()));
  }
  return open_nvme_device(path);
}

}  // namespace vmcache

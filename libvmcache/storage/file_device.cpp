// SPDX-License-Identifier: MIT
//
// A regular file or a block device.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "log.hpp"
#include "storage/access_times.hpp"
#include "storage/block_queue.hpp"
#include "storage/device.hpp"
#include "storage/file_size_limit.hpp"

namespace vmcache {
namespace {

Device::Kind kind_of(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISBLK(info.st_mode) ? Device::Kind::kBlock
                                                                   : Device::Kind::kFile;
}

class FileDevice final : public Device {
 public:
  FileDevice(std::string path, const PoolOptions& options, Log& log, Access access)
      : Device(path, kind_of(path)), _access(access) {
    open(options, log);
    lock(access);
    if (is_block()) claim(this->path(), access);
    inspect();
  }
  ~FileDevice() override {
    // An io_uring lets go of its files some time after it was closed, so closing alone would not free the
    // lock yet.
    ::flock(fd(), LOCK_UN);
  }
  FileDevice(const FileDevice&) = delete;
  FileDevice& operator=(const FileDevice&) = delete;

  [[nodiscard]] std::uint64_t size_bytes() const override {
    if (is_block()) return _device_bytes;
    struct stat info {};
    return ::fstat(fd(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
  }

  [[nodiscard]] bool blank() override {
    if (is_block()) return begins_with_zeros();
    struct stat info {};
    return ::fstat(fd(), &info) == 0 && (info.st_size == 0 || info.st_blocks == 0);
  }

  [[nodiscard]] std::string why_not_polled() const override {
    if (!_direct) return path() + " is not open with O_DIRECT";
    const auto polls = block_queue_number(_node, "io_poll");
    if (polls && *polls != 0) return {};
    return path() + (is_block() ? " has no poll queues" : " is on no device with poll queues");
  }

  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    return whole(bytes.size(), ENODATA, [&](std::size_t done) {
      return ::pread(fd(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    });
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (!is_block() && offset + bytes.size() > file_size_limit()) return EFBIG;
    return whole(bytes.size(), EIO, [&](std::size_t done) {
      return ::pwrite(fd(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    });
  }
  //! Of a block device, too: the kernel flushes its write cache.
  [[nodiscard]] int flush() override {
    return uninterrupted([&] { return ::fdatasync(fd()); });
  }

  [[nodiscard]] int resize(std::uint64_t bytes) override {
    if (is_block()) return bytes <= _device_bytes ? 0 : ENOSPC;
    if (bytes > file_size_limit()) return EFBIG;
    const std::uint64_t now = size_bytes();
    const auto cut_or_stretch = [&] {
      return uninterrupted([&] { return ::ftruncate(fd(), static_cast<off_t>(bytes)); });
    };
    if (bytes <= now) return cut_or_stretch();
    // Blocks are taken now, so that a full disk is found here, where a page id is asked for, and not at
    // write-back.
    const int error = uninterrupted(
        [&] { return ::fallocate(fd(), 0, static_cast<off_t>(now), static_cast<off_t>(bytes - now)); });
    return error == EOPNOTSUPP ? cut_or_stretch() : error;
  }

  [[nodiscard]] int deallocate(std::span<const ByteRange> ranges) override {
    // A file keeps its blocks: they are taken for good, see resize().
    if (!is_block() || block_queue_number(_node, "discard_max_bytes").value_or(0) == 0) return EOPNOTSUPP;
    for (const ByteRange& range : ranges) {
      std::array<std::uint64_t, 2> argument{range.offset, range.bytes};
      if (::ioctl(fd(), BLKDISCARD, argument.data()) != 0) return errno;
    }
    return 0;
  }

  [[nodiscard]] std::string description() const override {
    return fmt::format("{} ({}{})", path(), is_block() ? "block device" : "file",
                       _direct ? ", O_DIRECT" : "");
  }

 private:
  [[nodiscard]] bool is_block() const noexcept { return kind() == Kind::kBlock; }

  void open(const PoolOptions& options, Log& log) {
    const bool writes = _access == Access::kReadWrite;
    const int flags = O_CLOEXEC | (writes ? O_RDWR : O_RDONLY) | (options.create && writes ? O_CREAT : 0);
    _direct = options.direct_io;
    int fd = ::open(path().c_str(), flags | (_direct ? O_DIRECT : 0), 0640);
    if (fd < 0 && _direct && errno == EINVAL) {
      log(LogLevel::kWarning,
          fmt::format("{}: this file system refuses O_DIRECT; pages are cached twice", path()));
      _direct = false;
      fd = ::open(path().c_str(), flags, 0640);
    }
    if (fd < 0) {
      const int error = errno;
      if (error == ENOENT && !writes) fail(Errc::kInvalidOption, error, "there is no file");
      if (error == ENOENT && !options.create)
        fail(Errc::kInvalidOption, error, "create = false, and there is no file");
      const bool denied = error == EACCES || error == EPERM || error == EROFS;
      fail(Errc::kIo, error,
           denied ? (writes ? "no permission to read and write" : "no permission to read") : "opening");
    }
    _fd = FileDescriptor(fd);
    forgo_access_times(fd);
  }

  void inspect() {
    struct stat info {};
    if (::fstat(fd(), &info) != 0) fail(Errc::kIo, errno, "examining");
    _node = is_block() ? info.st_rdev : info.st_dev;
    if (is_block() != S_ISBLK(info.st_mode) || (!is_block() && !S_ISREG(info.st_mode)))
      fail(Errc::kUnsupported, 0, "neither a regular file nor a block device:");
    if (!is_block()) return;
    if (::ioctl(fd(), BLKGETSIZE64, &_device_bytes) != 0) fail(Errc::kIo, errno, "asking for the size of");
    _device_bytes &= ~(kPageSize - 1);
    if (_device_bytes == 0) fail(Errc::kUnsupported, 0, "smaller than a page:");
    int block_bytes = 0;
    if (::ioctl(fd(), BLKSSZGET, &block_bytes) != 0) fail(Errc::kIo, errno, "asking for the block size of");
    if (static_cast<std::size_t>(block_bytes) > kPageSize)
      fail(Errc::kUnsupported, 0, fmt::format("blocks of {} bytes are larger than a page:", block_bytes));
    int read_only = 0;
    if (_access == Access::kReadWrite && ::ioctl(fd(), BLKROGET, &read_only) == 0 && read_only != 0)
      fail(Errc::kIo, EROFS, "no permission to write");
  }

  //! Repeats the call when a signal interrupts it: the embedder's, or a notification of io_uring's. 0 or an errno.
  template <typename Call>
  [[nodiscard]] static int uninterrupted(Call call) {
    int result = 0;
    do {
      result = call();
    } while (result < 0 && errno == EINTR);
    return result < 0 ? errno : 0;
  }

  //! Repeats a short transfer for the rest; `at_end` is the error where nothing is transferred at all.
  template <typename Transfer>
  [[nodiscard]] static int whole(std::size_t bytes, int at_end, Transfer transfer) {
    for (std::size_t done = 0; done < bytes;) {
      const ssize_t n = transfer(done);
      if (n < 0 && errno != EINTR) return errno;
      if (n == 0) return at_end;
      if (n > 0) done += static_cast<std::size_t>(n);
    }
    return 0;
  }

  const Access _access;
  bool _direct = true;
  dev_t _node = 0;
  std::uint64_t _device_bytes = 0;
};

}  // namespace

std::unique_ptr<Device> open_file_device(const std::filesystem::path& path, const PoolOptions& options,
                                         Log& log, Access access) {
  return std::make_unique<FileDevice>(path.string(), options, log, access);
}

}  // namespace vmcache

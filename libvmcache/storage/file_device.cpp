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
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "logger.hpp"
#include "storage/access_times.hpp"
#include "storage/block_queue.hpp"
#include "storage/device.hpp"
#include "storage/file_size_limit.hpp"
#include "storage/made_file.hpp"

namespace vmcache {
namespace {

Device::Kind kind_of(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISBLK(info.st_mode) ? Device::Kind::kBlock
                                                                   : Device::Kind::kFile;
}

class FileDevice final : public Device {
 public:
  FileDevice(const std::string& path, const PoolOptions& options, Logger& logger, Access access)
      : Device(path, kind_of(path)), _access(access), _logger(logger) {
    open_and_lock(options);
    inspect();
    if (is_block()) claim(this->path(), access);
    if (!is_block() && access == Access::kReadWrite && size_bytes() == 0) {
      // Now: later the path may lead elsewhere.
      _folder = open_folder_of(this->path());
      _new_entry.store(true, std::memory_order_relaxed);
    }
  }
  ~FileDevice() override {
    _made.remove();
    unlock();
  }
  FileDevice(const FileDevice&) = delete;
  FileDevice& operator=(const FileDevice&) = delete;

  [[nodiscard]] std::uint64_t size_bytes() const override {
    if (is_block()) return _device_bytes;
    struct stat info {};
    return ::fstat(fd(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
  }

  //! Decides by reading, because the number of a file's blocks says nothing about its content
  //! (FUSE, inline data).
  [[nodiscard]] bool blank() override { return size_bytes() == 0 || begins_with_zeros(); }

  [[nodiscard]] std::string why_not_polled() const override {
    if (!_direct) return path() + " is not open with O_DIRECT";
    const auto polls = block_queue_number(_node, "io_poll");
    if (polls && *polls != 0) return {};
    return path() + (is_block() ? " has no poll queues" : " is on no device with poll queues");
  }

  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    return whole(bytes.size(), ENODATA, [&](std::size_t done) {
      return ::pread(fd(), bytes.data() + done, bytes.size() - done,
                     static_cast<off_t>(offset + done));
    });
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (!is_block() && offset + bytes.size() > file_size_limit()) return EFBIG;
    return whole(bytes.size(), EIO, [&](std::size_t done) {
      return ::pwrite(fd(), bytes.data() + done, bytes.size() - done,
                      static_cast<off_t>(offset + done));
    });
  }
  //! For a block device the kernel flushes its write cache. The first flush of a file that was
  //! empty also makes its folder entry durable. Without it, a crash may leave no file for what was
  //! flushed.
  [[nodiscard]] int flush() override {
    const int error = uninterrupted([&] { return ::fdatasync(fd()); });
    return error == 0 && _new_entry.load(std::memory_order_acquire) ? sync_entry() : error;
  }
  void keep() noexcept override { _made.keep(); }

  [[nodiscard]] int resize(std::uint64_t bytes) override {
    if (is_block()) return bytes <= _device_bytes ? 0 : ENOSPC;
    if (bytes > file_size_limit()) return EFBIG;
    const std::uint64_t now = size_bytes();
    const auto cut_or_stretch = [&] {
      return uninterrupted([&] { return ::ftruncate(fd(), static_cast<off_t>(bytes)); });
    };
    if (bytes <= now) return cut_or_stretch();
    // Blocks are allocated now, so that a full disk is found here, at the allocation of a page id,
    // and not at write-back.
    const int error = uninterrupted([&] {
      return ::fallocate(fd(), 0, static_cast<off_t>(now), static_cast<off_t>(bytes - now));
    });
    // The file system has no fallocate(). Any other error (ENOSPC, EDQUOT, EFBIG, EIO ...) is a
    // failure.
    if (error != EOPNOTSUPP && error != ENOSYS) return error;
    if (!std::exchange(_stretches, true)) {
      _logger(LogLevel::kWarning, fmt::format("{}: this file system does not take blocks ahead "
                                              "(fallocate: {}); a full disk is found "
                                              "only when a page is written",
                                              path(), std::generic_category().message(error)));
    }
    return cut_or_stretch();
  }

  [[nodiscard]] int deallocate(std::span<const ByteRange> ranges) override {
    // A file keeps its blocks: they are taken for good, see resize().
    if (!is_block() || block_queue_number(_node, "discard_max_bytes").value_or(0) == 0)
      return EOPNOTSUPP;
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

  //! Repeats until the path leads to the locked file: another open that failed may have removed the
  //! file that it had created.
  void open_and_lock(const PoolOptions& options) {
    constexpr int kTries = 16;
    for (int i = 0; i < kTries; ++i) {
      open(options);
      try {
        lock(_access);
      } catch (const Error& error) {
        if (error.code() == Errc::kInUse) _made.keep();  // it is the other's already
        throw;
      }
      if (leads_to(path(), fd())) return;
      _made.keep();
    }
    fail(Errc::kInUse, 0, "somebody keeps removing");
  }

  void open(const PoolOptions& options) {
    const bool writes = _access == Access::kReadWrite;
    const int flags = O_CLOEXEC | (writes ? O_RDWR : O_RDONLY);
    _direct = options.direct_io;
    bool made = false;
    int fd = open_or_make(flags | (_direct ? O_DIRECT : 0), options.create && writes, made);
    if (fd < 0 && _direct && errno == EINVAL) {
      _logger(LogLevel::kWarning,
              fmt::format("{}: this file system refuses O_DIRECT; pages are cached twice", path()));
      _direct = false;
      const bool made_before = made;
      fd = open_or_make(flags, options.create && writes, made);
      made = made || made_before;
    }
    if (fd < 0) {
      const int error = errno;
      if (error == ENOENT && !writes) fail(Errc::kInvalidOption, error, "there is no file");
      if (error == ENOENT && !options.create)
        fail(Errc::kInvalidOption, error, "create = false, and there is no file");
      const bool denied = error == EACCES || error == EPERM || error == EROFS;
      std::error_code ignored;
      if (!std::filesystem::exists(path(), ignored))
        fail(Errc::kIo, error, denied ? "no permission to create" : "creating");
      fail(Errc::kIo, error,
           denied ? (writes ? "no permission to read and write" : "no permission to read")
                  : "opening");
    }
    _fd = FileDescriptor(fd);
    std::error_code gone;
    const std::filesystem::path made_at = std::filesystem::canonical(path(), gone);
    if (made && !gone) _made.made(made_at, fd);
    forgo_access_times(fd);
  }

  //! Says whether the file was made. A file system that refuses O_DIRECT may make the file before
  //! it says so.
  [[nodiscard]] int open_or_make(int flags, bool make, bool& made) {
    constexpr int kTries = 16;  // somebody else may make or remove it in between
    int fd = -1;
    for (int i = 0; i < kTries; ++i) {
      fd = ::open(path().c_str(), flags);
      if (fd >= 0 || errno != ENOENT || !make) return fd;
      fd = ::open(path().c_str(), flags | O_CREAT | O_EXCL, 0640);
      made = fd >= 0 || errno == EINVAL;
      if (fd >= 0 || errno != EEXIST) return fd;
    }
    return fd;
  }

  [[nodiscard]] int sync_entry() {
    const int error = sync_folder(_folder, fd());
    if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP) {
      _logger(LogLevel::kWarning,
              fmt::format("{}: this file system cannot make a new file's name durable "
                          "(fsync of its folder: {})",
                          path(), std::generic_category().message(error)));
    } else if (error != 0) {
      return error;
    }
    _new_entry.store(false, std::memory_order_release);
    return 0;
  }

  void inspect() {
    struct stat info {};
    if (::fstat(fd(), &info) != 0) fail(Errc::kIo, errno, "examining");
    _node = is_block() ? info.st_rdev : info.st_dev;
    if (is_block() != S_ISBLK(info.st_mode) || (!is_block() && !S_ISREG(info.st_mode)))
      fail(Errc::kUnsupported, 0, "neither a regular file nor a block device:");
    if (!is_block()) return;
    if (::ioctl(fd(), BLKGETSIZE64, &_device_bytes) != 0)
      fail(Errc::kIo, errno, "asking for the size of");
    _device_bytes &= ~(kPageSize - 1);
    if (_device_bytes == 0) fail(Errc::kUnsupported, 0, "smaller than a page:");
    int block_bytes = 0;
    if (::ioctl(fd(), BLKSSZGET, &block_bytes) != 0)
      fail(Errc::kIo, errno, "asking for the block size of");
    if (static_cast<std::size_t>(block_bytes) > kPageSize)
      fail(Errc::kUnsupported, 0,
           fmt::format("blocks of {} bytes are larger than a page:", block_bytes));
    int read_only = 0;
    if (_access == Access::kReadWrite && ::ioctl(fd(), BLKROGET, &read_only) == 0 && read_only != 0)
      fail(Errc::kIo, EROFS, "no permission to write");
  }

  //! Repeats the call if a signal interrupts it, be it the embedder's or io_uring's. Returns 0 or
  //! an errno.
  template <typename Call>
  [[nodiscard]] static int uninterrupted(Call call) {
    int result = 0;
    do {
      result = call();
    } while (result < 0 && errno == EINTR);
    return result < 0 ? errno : 0;
  }

  //! Repeats a short transfer for the rest. `at_end` is the error if nothing is transferred at all.
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
  const Logger _logger;
  MadeFile _made;
  std::atomic<bool> _new_entry{false};  // its name in the folder may not be durable yet
  FileDescriptor _folder;               // then
  bool _stretches = false;              // blocks cannot be taken ahead, and that was said
  bool _direct = true;
  dev_t _node = 0;
  std::uint64_t _device_bytes = 0;
};

}  // namespace

std::unique_ptr<Device> open_file_device(const std::filesystem::path& path,
                                         const PoolOptions& options, Logger& logger,
                                         Access access) {
  return std::make_unique<FileDevice>(path.string(), options, logger, access);
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// An NVMe namespace by its character device. Only the driver lies between the library and the
// device. So this file does what the block layer otherwise does: splitting, flushing, and errors.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "nvme_status.hpp"
#include "storage/aligned_buffer.hpp"
#include "storage/block_queue.hpp"
#include "storage/device.hpp"
#include "storage/nvme_command.hpp"

namespace vmcache {
namespace {

//! What a command may carry where sysfs does not say how many pieces of memory the driver takes.
constexpr std::uint64_t kCautiousSegments = 32;

class NvmeDevice final : public Device {
 public:
  explicit NvmeDevice(std::string path) : Device(std::move(path), Kind::kNvme) {
    open();
    lock(Access::kReadWrite);
    claim_block_device();
    identify();
    limit_transfers();
  }
  ~NvmeDevice() override { unlock(); }
  NvmeDevice(const NvmeDevice&) = delete;
  NvmeDevice& operator=(const NvmeDevice&) = delete;

  [[nodiscard]] const nvme::Namespace* name_space() const noexcept override { return &_namespace; }
  [[nodiscard]] std::uint64_t size_bytes() const override {
    return _namespace.bytes() & ~(kPageSize - 1);
  }
  [[nodiscard]] bool blank() override { return begins_with_zeros(); }
  [[nodiscard]] std::string why_not_polled() const override {
    const auto polls = nvme_queue_number(_node, "io_poll");
    if (!polls) return path() + ": sysfs does not say whether it has poll queues";
    return *polls != 0 ? std::string{} : path() + " has no poll queues (nvme.poll_queues)";
  }

  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    return transfer(nvme::Opcode::kRead, offset, bytes.data(), bytes.size());
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    // A command has one pointer for both directions; a write only reads through it.
    return transfer(nvme::Opcode::kWrite, offset, const_cast<std::byte*>(bytes.data()),
                    bytes.size());
  }
  [[nodiscard]] int flush() override {
    if (!_namespace.write_cache) return 0;
    // If a flush fails, the writes may be gone from the cache, and the next flush succeeds without
    // them (R14 in docs/recovery.md). So a flush is sent again only if the device did not begin it.
    return account(retried([&] { return nvme::flush(fd(), _namespace); },
                           [](int result) { return !nvme::was_not_begun(result); }));
  }
  [[nodiscard]] int resize(std::uint64_t bytes) override {
    return bytes <= size_bytes() ? 0 : ENOSPC;
  }

  [[nodiscard]] int deallocate(std::span<const ByteRange> ranges) override {
    if (!_namespace.deallocates) return EOPNOTSUPP;
    // A range counts its blocks in 32 bits.
    const std::uint64_t max_bytes = std::uint64_t{0x8000'0000} << _namespace.block_shift;
    std::vector<nvme::Range> list;
    for (const ByteRange& range : ranges) {
      for (std::uint64_t done = 0; done < range.bytes;) {
        const std::uint64_t bytes = std::min(range.bytes - done, max_bytes);
        list.push_back({0, static_cast<std::uint32_t>(bytes >> _namespace.block_shift),
                        (range.offset + done) >> _namespace.block_shift});
        done += bytes;
      }
    }
    for (std::size_t begin = 0; begin < list.size(); begin += nvme::kMaxRanges) {
      const auto count =
          static_cast<unsigned>(std::min<std::size_t>(nvme::kMaxRanges, list.size() - begin));
      if (const int error = account(
              retried([&] { return nvme::deallocate(fd(), _namespace, &list[begin], count); }));
          error != 0) {
        return error;
      }
    }
    return 0;
  }

  [[nodiscard]] std::string last_failure() const override {
    const std::uint16_t status = _last_status.load(std::memory_order_relaxed);
    if (status == 0) return {};
    return fmt::format("{}: NVMe: {} (status {:#05x})", path(), nvme::meaning_of(status), status);
  }
  [[nodiscard]] std::string description() const override {
    return fmt::format("{} (NVMe passthrough, {}-byte blocks, {} write cache)", path(),
                       1u << _namespace.block_shift,
                       _namespace.write_cache ? "volatile" : "no volatile");
  }

 private:
  void open() {
    _fd = FileDescriptor(::open(path().c_str(), O_RDWR | O_CLOEXEC));
    if (!_fd) {
      const int error = errno;
      const bool denied = error == EACCES || error == EPERM || error == EROFS;
      fail(denied ? Errc::kUnsupported : Errc::kIo, error,
           denied ? "no permission to read and write" : "opening");
    }
    struct stat info {};
    if (::fstat(fd(), &info) != 0) fail(Errc::kIo, errno, "examining");
    _node = info.st_rdev;
    const int id = ::ioctl(fd(), NVME_IOCTL_ID);
    if (id <= 0) {
      fail(Errc::kUnsupported, errno,
           "not the character device of an NVMe namespace (/dev/ngXnY; /dev/nvmeX is its "
           "controller's):");
    }
    _namespace.id = static_cast<std::uint32_t>(id);
  }

  //! The block device and the character device lead to the same blocks. If the block device's node
  //! is missing, as in a container, nothing can be claimed.
  void claim_block_device() {
    std::error_code ignored;
    const auto node =
        std::filesystem::canonical(path(), ignored).replace_filename(nvme_block_name(_node));
    struct stat info {};
    if (node.has_filename() && ::stat(node.c_str(), &info) == 0 && S_ISBLK(info.st_mode) &&
        ::access(node.c_str(), R_OK) == 0) {
      claim(node, Access::kReadWrite);
    }
  }

  void identify() {
    constexpr std::uint32_t kOfNamespace = 0;
    constexpr std::uint32_t kOfController = 1;
    const AlignedBuffer of_namespace(nvme::kIdentifyBytes);
    const AlignedBuffer of_controller(nvme::kIdentifyBytes);
    int result = retried([&] {
      return nvme::identify(fd(), _namespace.id, kOfNamespace, of_namespace.bytes().data());
    });
    if (result == 0) {
      result = retried(
          [&] { return nvme::identify(fd(), 0, kOfController, of_controller.bytes().data()); });
    }
    if (result == -EACCES || result == -EPERM) {
      fail(Errc::kUnsupported, -result,
           "no permission for NVMe commands (CAP_SYS_ADMIN is needed) to");
    }
    if (result != 0) throw Error(status_of(result), "identifying " + path());
    const std::string refusal =
        nvme::parse_identify(of_namespace.bytes(), of_controller.bytes(), _namespace);
    if (!refusal.empty()) throw Error(Errc::kUnsupported, path() + ": " + refusal);
    if (size_bytes() == 0) throw Error(Errc::kUnsupported, path() + ": smaller than a page");
  }

  //! The driver has its own limits of bytes and of pieces of memory. It does not split a command
  //! above them, but refuses it. Each page may be a piece of its own. The first piece may begin
  //! anywhere, so one piece is kept back.
  void limit_transfers() {
    const std::uint64_t segments =
        nvme_queue_number(_node, "max_segments").value_or(kCautiousSegments);
    const std::uint64_t kib =
        nvme_queue_number(_node, "max_hw_sectors_kb").value_or(_namespace.max_transfer_bytes);
    const std::uint64_t driver =
        std::min(std::max<std::uint64_t>(segments, 2) - 1, kib * 1024 / kPageSize);
    _namespace.max_transfer_bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(
        _namespace.max_transfer_bytes, std::max<std::uint64_t>(driver, 1) * kPageSize));
  }

  [[nodiscard]] int transfer(nvme::Opcode opcode, std::uint64_t offset, std::byte* data,
                             std::size_t bytes) {
    while (bytes > 0) {
      const auto part =
          static_cast<std::uint32_t>(std::min<std::size_t>(bytes, _namespace.max_transfer_bytes));
      if (const int error = account(retried(
              [&] { return nvme::transfer(fd(), _namespace, opcode, offset, data, part); }));
          error != 0) {
        return error;
      }
      offset += part;
      data += part;
      bytes -= part;
    }
    return 0;
  }

  //! Repeats a call whose failure may be temporary, unless `final` says otherwise.
  template <typename Call>
  [[nodiscard]] static int retried(
      Call call, bool (*final)(int) = [](int) { return false; }) {
    int result = call();
    for (unsigned i = 0; i < nvme::kMaxRetries && nvme::may_pass(result) && !final(result); ++i)
      result = call();
    return result;
  }

  [[nodiscard]] static Status status_of(int result) noexcept {
    if (result < 0) return {Errc::kIo, -result, kNoPage};
    const auto status = static_cast<std::uint16_t>(result & nvme::kStatusMask);
    return {Errc::kIo, nvme::errno_of(status), kNoPage, status};
  }

  //! Keeps what the device said; gives the errno, or 0.
  int account(int result) noexcept {
    if (result == 0) return 0;
    const Status status = status_of(result);
    _last_status.store(status.device_status, std::memory_order_relaxed);
    return status.os_error;
  }

  dev_t _node = 0;
  nvme::Namespace _namespace;
  std::atomic<std::uint16_t> _last_status{0};
};

}  // namespace

std::unique_ptr<Device> open_nvme_device(const std::filesystem::path& path) {
  return std::make_unique<NvmeDevice>(path.string());
}

}  // namespace vmcache

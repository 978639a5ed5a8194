// SPDX-License-Identifier: MIT
//
// One file or device below a Storage. Offsets count from its own start. Offsets and lengths are
// multiples of kPageSize.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "file_descriptor.hpp"
#include "storage/nvme_identify.hpp"
#include "vmcache/detail/own_process.hpp"
#include "vmcache/error.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache {

class Logger;

enum class Access : std::uint8_t {
  kReadWrite,
  kReadOnly,  //!< calls that write fail; it may have several readers but no writer
};

//! Thread-safe except resize(). The back ends are file_device.cpp and nvme_device.cpp.
class Device {
 public:
  enum class Kind : std::uint8_t { kFile, kBlock, kNvme };

  Device(std::string path, Kind kind) : _path(std::move(path)), _kind(kind) {}
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return _path; }
  [[nodiscard]] Kind kind() const noexcept { return _kind; }
  [[nodiscard]] int fd() const noexcept { return _fd.get(); }
  //! What commands to it need; null unless the kind is kNvme.
  [[nodiscard]] virtual const nvme::Namespace* name_space() const noexcept { return nullptr; }

  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
  //! True if nothing was ever written to it. Decides that by reading.
  [[nodiscard]] virtual bool blank() = 0;
  //! See Storage::keep().
  virtual void keep() noexcept {}
  //! Says why completions cannot be polled for. Empty if they can.
  [[nodiscard]] virtual std::string why_not_polled() const = 0;
  //! \name Blocking calls. Return 0 or an errno.
  //! @{
  [[nodiscard]] virtual int read(std::uint64_t offset, std::span<std::byte> bytes) = 0;
  [[nodiscard]] virtual int write(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  [[nodiscard]] virtual int flush() = 0;
  [[nodiscard]] virtual int resize(std::uint64_t bytes) = 0;
  [[nodiscard]] virtual int deallocate(std::span<const ByteRange> ranges) = 0;
  //! @}
  [[nodiscard]] virtual std::string last_failure() const { return {}; }
  [[nodiscard]] virtual std::string description() const = 0;

 protected:
  //! Locks the device: a writer keeps everybody else out, and a reader keeps writers out. Throws
  //! Error: kInUse (somebody else has it), kUnsupported (the file system has no locks),
  //! kOutOfMemory (the system has no lock left), kIo.
  void lock(Access access) const;
  //! Releases the lock; for destructors. Closing the file would not release it at once, because an
  //! io_uring keeps its files open for some time after it was closed. Does nothing in a child of
  //! fork(), which shares the lock.
  void unlock() const noexcept;
  //! Opens the block device exclusively, which keeps out mounts and pools that reach it by another
  //! node. A reader only makes sure that nobody has it open so. Throws Error kInUse, kIo.
  void claim(const std::string& block_node, Access access);
  //! Throws Error about this device.
  [[noreturn]] void fail(Errc code, int error, const std::string& what) const;
  //! True if the first MiB, where labels, partition tables and superblocks live, is all zeros.
  [[nodiscard]] bool begins_with_zeros();

  FileDescriptor _fd;

 private:
  const detail::OwnProcess _process;
  std::string _path;
  Kind _kind;
  FileDescriptor _claim;  // used for nothing else, so that no io_uring keeps it open
};

//! Opens `path` as what it is: a file, a block device or an NVMe character device. Throws Error:
//! kInvalidOption, kInUse, kIo, kUnsupported.
[[nodiscard]] std::unique_ptr<Device> open_device(const std::filesystem::path& path,
                                                  const PoolOptions& options, Logger& logger,
                                                  Access access = Access::kReadWrite);
//! The two back ends.
[[nodiscard]] std::unique_ptr<Device> open_file_device(const std::filesystem::path& path,
                                                       const PoolOptions& options, Logger& logger,
                                                       Access access);
[[nodiscard]] std::unique_ptr<Device> open_nvme_device(const std::filesystem::path& path);

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// One file or device below a Storage. Offsets are its own; they, and lengths, are multiples of kPageSize.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "file_descriptor.hpp"
#include "storage/nvme_identify.hpp"
#include "vmcache/error.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache {

class Log;

enum class Access : std::uint8_t {
  kReadWrite,
  kReadOnly,  //!< what writes fails; several may have it open at once, but nobody who writes
};

//! Thread-safe but for resize(). The back ends are file_device.cpp and nvme_device.cpp.
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
  //! How to write commands for it; null unless of kind kNvme.
  [[nodiscard]] virtual const nvme::Namespace* name_space() const noexcept { return nullptr; }

  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
  //! True if nothing was ever written to it.
  [[nodiscard]] virtual bool blank() = 0;
  //! Empty if completions can be polled for, else why not.
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
  //! Locks it against a second opening, or against one for writing. Throws Error kInUse, kIo.
  void lock(Access access) const;
  //! Takes the block device for itself, against mounts and pools that reach it by another node; for reading it only finds
  //! out that nobody has. Throws Error kInUse, kIo.
  void claim(const std::string& block_node, Access access);
  //! Throws Error about this device.
  [[noreturn]] void fail(Errc code, int error, const std::string& what) const;
  //! True if the first MiB, where labels, partition tables and superblocks live, is all zeros.
  [[nodiscard]] bool begins_with_zeros();

  FileDescriptor _fd;

 private:
  std::string _path;
  Kind _kind;
  FileDescriptor _claim;  // for nothing else, so that no io_uring holds it longer than we do
};

//! Opens one by what `path` is. Throws Error: kInvalidOption, kInUse, kIo, kUnsupported.
[[nodiscard]] std::unique_ptr<Device> open_device(const std::filesystem::path& path,
                                                  const PoolOptions& options, Log& log,
                                                  Access access = Access::kReadWrite);
//! The two kinds of it.
[[nodiscard]] std::unique_ptr<Device> open_file_device(const std::filesystem::path& path,
                                                       const PoolOptions& options, Log& log, Access access);
[[nodiscard]] std::unique_ptr<Device> open_nvme_device(const std::filesystem::path& path);

}  // namespace vmcache

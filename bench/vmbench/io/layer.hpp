// SPDX-License-Identifier: MIT
//
// What the rungs read from: files, md arrays, or several NVMe devices that the bench itself
// stripes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vmbench {

//! One of --devices.
struct Device {
  enum class Kind : std::uint8_t { kFile, kArray, kDisk };

  Kind kind = Kind::kFile;
  std::string path;       //!< what pread, mmap and io_uring open: the file or the block device
  std::string char_path;  //!< the NVMe character device of the same namespace; empty without one
  std::uint64_t bytes = 0;
  bool made = false;  //!< a file that this run has made

  //! The block device's name below /sys/block; empty for a file.
  [[nodiscard]] std::string sysfs_name() const;
};

//! Devices of one kind, striped: unit u of `stripe_bytes` is on device u % n, at unit u / n.
struct Layer {
  std::vector<Device> devices;
  std::uint64_t stripe_bytes = 0;
  std::uint64_t span_bytes = 0;  //!< of all devices together; what is read or written
  bool verified = false;         //!< every block holds its own number
  bool expendable = false;       //!< what is on it may be lost

  struct Place {
    unsigned device;
    std::uint64_t offset;
  };
  [[nodiscard]] Place place(std::uint64_t offset) const {
    const std::uint64_t unit = offset / stripe_bytes;
    return {static_cast<unsigned>(unit % devices.size()),
            unit / devices.size() * stripe_bytes + offset % stripe_bytes};
  }
  //! For the report: "file on ext4 on md0", "2 devices", "md0 (raid0)".
  [[nodiscard]] std::string description() const;
};

struct LayerOptions {
  std::vector<std::string> paths;
  std::uint64_t stripe_bytes = 0;
  std::uint64_t span_bytes = 0;
  std::uint64_t io_bytes = 0;
  bool write = false;
  bool content_will_be_lost = false;
};

//! The layers that --devices give, from the top: each is used by the rungs that need its kind.
struct Layers {
  std::optional<Layer> file, array, disks;

  [[nodiscard]] const Layer* top() const { return file ? &*file : array ? &*array : &*disks; }
  [[nodiscard]] const Layer* bottom() const { return disks ? &*disks : array ? &*array : &*file; }
};

//! Finds out what the paths are; makes files that do not exist. Numbers every block where that
//! destroys nothing: in files made here, in what carries the bench's numbers already, and where the
//! user has said that the content will be lost. Throws std::runtime_error with the path and the
//! reason.
[[nodiscard]] Layers open_layers(const LayerOptions& options);

//! Opens the devices. `flags` as open(2). Throws RungMissing with path and errno.
class OpenLayer {
 public:
  OpenLayer(const Layer& layer, int flags, bool char_devices = false);
  ~OpenLayer();
  OpenLayer(const OpenLayer&) = delete;
  OpenLayer& operator=(const OpenLayer&) = delete;
  [[nodiscard]] const std::vector<int>& fds() const { return _fds; }

 private:
  std::vector<int> _fds;
};

}  // namespace vmbench

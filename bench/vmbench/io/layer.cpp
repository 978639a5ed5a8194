// SPDX-License-Identifier: MIT
#include "io/layer.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "io/block_mark.hpp"
#include "io/errors.hpp"
#include "io/number_blocks.hpp"
#include "storage/access_times.hpp"

namespace vmbench {

namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw std::runtime_error(fmt::format("--devices {}: {}: {}", path, what, std::strerror(errno)));
}

Device make_file(const std::string& path, std::uint64_t bytes) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) fail(path, "create");
  // Real blocks: a hole would be answered without the device.
  const int error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  close(fd);
  if (error != 0) {
    unlink(path.c_str());
    errno = error;
    fail(path, "posix_fallocate");
  }
  return {Device::Kind::kFile, path, "", bytes, true};
}

std::uint64_t block_device_bytes(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path, "open");
  std::uint64_t bytes = 0;
  const int result = ioctl(fd, BLKGETSIZE64, &bytes);
  close(fd);
  if (result != 0) fail(path, "BLKGETSIZE64");
  return bytes;
}

//! ngXnY and nvmeXnY are two doors to one namespace.
std::string sibling(const std::string& path, const std::string& from, const std::string& to) {
  const std::filesystem::path file(path);
  const std::string name = file.filename();
  if (!name.starts_with(from)) return "";
  std::string other = file.parent_path() / (to + name.substr(from.size()));
  return access(other.c_str(), F_OK) == 0 ? other : "";
}

Device find_device(const std::string& given, std::uint64_t span_bytes) {
  struct stat info {};
  if (stat(given.c_str(), &info) != 0) {
    if (errno != ENOENT || given.starts_with("/dev/")) fail(given, "stat");
    return make_file(given, span_bytes);
  }
  const std::string path = std::filesystem::canonical(given);
  if (S_ISREG(info.st_mode))
    return {Device::Kind::kFile, path, "", static_cast<std::uint64_t>(info.st_size), false};
  if (S_ISBLK(info.st_mode)) {
    Device device{Device::Kind::kDisk, path, sibling(path, "nvme", "ng"), block_device_bytes(path),
                  false};
    if (std::filesystem::exists("/sys/block/" + device.sysfs_name() + "/md"))
      device.kind = Device::Kind::kArray;
    return device;
  }
  const std::string block = S_ISCHR(info.st_mode) ? sibling(path, "ng", "nvme") : "";
  if (block.empty())
    throw std::runtime_error(
        fmt::format("--devices {}: neither a file, nor a block device, nor an NVMe character "
                    "device (/dev/ngXnY)",
                    given));
  return {Device::Kind::kDisk, block, path, block_device_bytes(block), false};
}

//! The file system that holds `path`, and the device below it: "ext4 on md0".
std::string file_system_of(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return "?";
  const std::string number = fmt::format("{}:{}", major(info.st_dev), minor(info.st_dev));
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, word, type, source;
    fields >> id >> parent >> device;
    if (device != number) continue;
    while (fields >> word && word != "-") {
    }
    fields >> type >> source;
    return fmt::format("{} on {}", type, std::filesystem::path(source).filename().string());
  }
  return "?";
}

std::optional<Layer> make_layer(const std::vector<Device>& all, Device::Kind kind,
                                const LayerOptions& options) {
  Layer layer;
  std::copy_if(all.begin(), all.end(), std::back_inserter(layer.devices),
               [&](const Device& device) { return device.kind == kind; });
  if (layer.devices.empty()) return std::nullopt;
  layer.stripe_bytes = options.stripe_bytes;
  std::uint64_t min = options.span_bytes;
  for (const Device& device : layer.devices) min = std::min(min, device.bytes);
  min -= min % layer.stripe_bytes;
  layer.span_bytes = std::min(options.span_bytes, min * layer.devices.size());
  layer.span_bytes -= layer.span_bytes % (layer.stripe_bytes * layer.devices.size());
  if (layer.span_bytes == 0)
    throw std::runtime_error(fmt::format("--devices {}: smaller than a stripe of {} bytes",
                                         layer.devices.front().path, layer.stripe_bytes));
  prepare_content(layer, options);
  return layer;
}

}  // namespace

std::string Device::sysfs_name() const {
  return kind == Kind::kFile ? "" : std::filesystem::path(path).filename().string();
}

std::string Layer::description() const {
  const Device& first = devices.front();
  std::string text;
  if (first.kind == Device::Kind::kFile) {
    text = "file on " + file_system_of(first.path);
  } else if (first.kind == Device::Kind::kArray) {
    std::string level;
    std::ifstream("/sys/block/" + first.sysfs_name() + "/md/level") >> level;
    text = fmt::format("{} ({})", first.sysfs_name(), level);
  } else {
    std::vector<std::string> names;
    for (const Device& device : devices) names.push_back(device.sysfs_name());
    return fmt::format("{}", fmt::join(names, " + "));
  }
  return devices.size() == 1 ? text : fmt::format("{} x {}", devices.size(), text);
}

Layers open_layers(const LayerOptions& options) {
  std::vector<Device> all;
  try {
    for (const std::string& path : options.paths)
      all.push_back(find_device(path, options.span_bytes));
    Layers layers;
    layers.file = make_layer(all, Device::Kind::kFile, options);
    layers.array = make_layer(all, Device::Kind::kArray, options);
    layers.disks = make_layer(all, Device::Kind::kDisk, options);
    return layers;
  } catch (...) {
    for (const Device& device : all)
      if (device.made) unlink(device.path.c_str());
    throw;
  }
}

OpenLayer::OpenLayer(const Layer& layer, int flags, bool char_devices) {
  for (const Device& device : layer.devices) {
    const std::string& path = char_devices ? device.char_path : device.path;
    const int fd = open(path.c_str(), flags | O_CLOEXEC);
    if (fd < 0) {
      const int error = errno;
      for (const int opened : _fds) close(opened);
      throw RungMissing(fmt::format("open of {}{}: {}", path,
                                    (flags & O_DIRECT) != 0 ? " with O_DIRECT" : "",
                                    std::strerror(error)));
    }
    vmcache::forgo_access_times(fd);  // as fio does
    _fds.push_back(fd);
  }
}

OpenLayer::~OpenLayer() {
  for (const int fd : _fds) close(fd);
}

}  // namespace vmbench

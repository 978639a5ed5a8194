// SPDX-License-Identifier: MIT
#include "io/number_blocks.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "common/random.hpp"
#include "io/block_mark.hpp"

namespace vmbench {

namespace {

constexpr unsigned kSampled = 64;

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<std::byte, FreeDeleter>;

Buffer make_buffer(std::size_t bytes) {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kBlock, bytes));
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0x5a, bytes);
  return Buffer(memory);
}

//! The first, the last and some other blocks carry their numbers. From the device, not out of the
//! page cache, wherever there is direct I/O.
bool is_numbered(const Layer& layer) {
  const Buffer block = make_buffer(kBlock);
  const std::uint64_t blocks = layer.span_bytes / kBlock;
  SplitMix64 random(7);
  for (unsigned i = 0; i < kSampled; i++) {
    const std::uint64_t number = i == 0 ? 0 : i == 1 ? blocks - 1 : random.below(blocks);
    const Layer::Place place = layer.place(number * kBlock);
    const std::string& path = layer.devices[place.device].path;
    int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd < 0) fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
      throw std::runtime_error(fmt::format("--devices {}: open: {}", path, std::strerror(errno)));
    const ssize_t got = pread(fd, block.get(), kBlock, static_cast<off_t>(place.offset));
    close(fd);
    if (got != static_cast<ssize_t>(kBlock) || !block_is(block.get(), number)) return false;
  }
  return true;
}

void write_all(int fd, const std::string& path, const std::byte* data, std::size_t bytes,
               std::uint64_t offset) {
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t written =
        pwrite(fd, data + done, bytes - done, static_cast<off_t>(offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0)
      throw std::runtime_error(
          fmt::format("--devices {}: write at byte {}: {}", path, offset + done,
                      written == 0 ? "nothing written" : std::strerror(errno)));
    done += static_cast<std::size_t>(written);
  }
}

//! Writes one device's share, in long runs, and makes it durable.
void number_device(const Layer& layer, unsigned index) {
  const Device& device = layer.devices[index];
  // O_EXCL: refused for a block device that is mounted or part of an array.
  const int exclusive = device.kind == Device::Kind::kFile ? 0 : O_EXCL;
  const int fd = open(device.path.c_str(), O_RDWR | O_CLOEXEC | exclusive);
  if (fd < 0)
    throw std::runtime_error(fmt::format("--devices {}: open for writing: {}{}", device.path,
                                         std::strerror(errno),
                                         errno == EBUSY ? " (mounted, or part of an array)" : ""));
  const std::uint64_t units = layer.span_bytes / layer.stripe_bytes;
  const Buffer buffer = make_buffer(layer.stripe_bytes);
  try {
    for (std::uint64_t unit = index; unit < units; unit += layer.devices.size()) {
      const std::uint64_t start = unit * layer.stripe_bytes;
      for (std::uint64_t at = 0; at < layer.stripe_bytes; at += kBlock)
        mark_block(buffer.get() + at, (start + at) / kBlock, 0);
      write_all(fd, device.path, buffer.get(), layer.stripe_bytes, layer.place(start).offset);
    }
    if (fsync(fd) != 0)
      throw std::runtime_error(
          fmt::format("--devices {}: fsync: {}", device.path, std::strerror(errno)));
  } catch (...) {
    close(fd);
    throw;
  }
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
}

}  // namespace

void number_blocks(Layer& layer) {
  for (unsigned i = 0; i < layer.devices.size(); i++) number_device(layer, i);
  layer.verified = true;
}

void prepare_content(Layer& layer, const LayerOptions& options) {
  const bool made = std::all_of(layer.devices.begin(), layer.devices.end(),
                                [](const Device& d) { return d.made; });
  layer.expendable = made || options.content_will_be_lost;
  if (!made && is_numbered(layer)) {
    layer.verified = true;
    return;
  }
  if (!made && !options.content_will_be_lost) {
    if (options.write)
      throw std::runtime_error(
          fmt::format("--write: {} holds something that vmbench did not write; "
                      "--content-will-be-lost overwrites it",
                      layer.devices.front().path));
    return;  // read as it is
  }
  number_blocks(layer);
}

}  // namespace vmbench

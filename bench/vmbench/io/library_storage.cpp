// SPDX-License-Identifier: MIT
#include "io/library_storage.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "io/block_mark.hpp"
#include "io/errors.hpp"
#include "logger.hpp"
#include "storage/open.hpp"
#include "vmcache/error.hpp"

namespace vmbench {

namespace {

constexpr std::uint64_t kChunk = std::uint64_t{1} << 20;

//! What the library finds must be blank, or it takes the devices for somebody else's.
void wipe_beginning(const std::string& path) {
  static const std::vector<std::byte> zeros(kChunk);
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const bool done = fd >= 0 &&
                    pwrite(fd, zeros.data(), kChunk, 0) == static_cast<ssize_t>(kChunk) &&
                    fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (!done)
    throw RungMissing(fmt::format("{}: cannot be made blank: {}", path, std::strerror(error)));
}

//! Striped, the library puts a label before its own first byte: all blocks lie elsewhere than the
//! bench's.
void number_through(vmcache::Storage& storage, std::uint64_t span_bytes) {
  std::vector<std::byte> memory(kChunk + kBlock);
  std::byte* chunk =
      memory.data() + (kBlock - reinterpret_cast<std::uintptr_t>(memory.data()) % kBlock);
  for (std::uint64_t offset = 0; offset < span_bytes; offset += kChunk) {
    const std::uint64_t bytes = std::min(kChunk, span_bytes - offset);
    for (std::uint64_t at = 0; at < bytes; at += kBlock)
      mark_block(chunk + at, (offset + at) / kBlock, 0);
    if (const int error = storage.write(offset, {chunk, bytes}); error != 0)
      throw RungMissing(fmt::format("{}: write at byte {}: {}", storage.description(), offset,
                                    std::strerror(error)));
  }
  if (const int error = storage.flush(); error != 0)
    throw RungMissing(fmt::format("{}: flush: {}", storage.description(), std::strerror(error)));
}

}  // namespace

vmcache::PoolOptions library_options(const Layer& layer, const RingOptions& ring) {
  vmcache::PoolOptions options;
  for (const Device& device : layer.devices)
    options.paths.emplace_back(ring.passthrough ? device.char_path : device.path);
  if (layer.devices.size() > 1) options.stripe_bytes = layer.stripe_bytes;
  options.create = false;
  options.storage =
      ring.passthrough ? vmcache::StorageKind::kNvmePassthrough : vmcache::StorageKind::kIoUring;
  options.io_uring.polled = ring.polled ? vmcache::Switch::kOn : vmcache::Switch::kOff;
  return options;
}

std::shared_ptr<vmcache::Storage> open_library_storage(const Layer& layer,
                                                       const RingOptions& ring) {
  const bool striped = layer.devices.size() > 1;
  if (striped && !layer.expendable)
    throw RungMissing("the library labels the devices of a stripe: needs --content-will-be-lost");
  if (striped)
    for (const Device& device : layer.devices) wipe_beginning(device.path);
  vmcache::Logger log{{}};
  std::shared_ptr<vmcache::Storage> storage =
      vmcache::open_storage(library_options(layer, ring), log);
  if (storage->size_bytes() < layer.span_bytes)
    throw RungMissing(fmt::format("{}: with the labels there is no room for {} bytes",
                                  storage->description(), layer.span_bytes));
  if (striped) number_through(*storage, layer.span_bytes);
  return storage;
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
#include "storage/device_storage.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <optional>

#include "logger.hpp"
#include "storage/aligned_buffer.hpp"
#include "storage/poll_queues.hpp"
#include "storage/queues.hpp"
#include "storage/registered_memory.hpp"
#include "storage/stripe_label.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

class DeviceStorage final : public Storage {
 public:
  DeviceStorage(Devices devices, const PoolOptions& options, Logger& logger)
      : _devices(std::move(devices)), _logger(logger) {
    if (_devices.size() > 1) {
      _set.emplace(_devices, options.stripe_bytes);
      _targets.layout = _set->layout();
    } else {
      refuse_part_of_stripe(*_devices[0]);
    }
    for (const auto& device : _devices) {
      _targets.fds.push_back(device->fd());
      if (device->name_space() != nullptr) _targets.name_spaces.push_back(*device->name_space());
    }
    choose_queue(options, logger);
  }

  [[nodiscard]] std::uint64_t size_bytes() const override {
    std::vector<std::uint64_t> sizes;
    for (const auto& device : _devices) sizes.push_back(device->size_bytes());
    return _targets.layout.total(sizes);
  }
  [[nodiscard]] bool can_grow() const noexcept override {
    return _devices[0]->kind() == Device::Kind::kFile;
  }

  [[nodiscard]] bool blank() override {
    if (!_set) return _devices[0]->blank();
    if (!_set->labelled()) return true;
    // Labels without a header: the database was being made, and that ended early.
    const AlignedBuffer header(kPageSize);
    if (size_bytes() < kPageSize) return true;
    return read(0, header.bytes()) == 0 &&
           std::ranges::all_of(header.bytes(), [](std::byte b) { return b == std::byte{0}; });
  }

  void keep() noexcept override {
    for (const auto& device : _devices) device->keep();
  }

  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer) override {
    auto queue = _ring ? make_ring(depth, single_issuer) : make_pread_queue(_targets, depth);
    if (!can_grow()) return queue;
    return limit_file_size(_targets.layout, std::move(queue));
  }

  [[nodiscard]] int register_memory(std::span<std::byte> memory) override {
    if (!_ring) return EOPNOTSUPP;
    int error = 0;
    RingSettings settings = *_ring;
    settings.memory = RegisteredMemory::make(memory, error);
    if (error == 0) error = try_registered(settings, memory);
    if (error == 0) _ring = std::move(settings);
    return error;
  }
  void forget_memory() noexcept override {
    if (_ring && _ring->memory) _ring->memory->retire();
  }

  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    return transfer(offset, bytes, [](Device& device, std::uint64_t at, auto part) {
      return device.read(at, part);
    });
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (const int error = ensure_labels(); error != 0) return error;
    return transfer(offset, bytes, [](Device& device, std::uint64_t at, auto part) {
      return device.write(at, part);
    });
  }
  //! All devices are flushed even if one fails.
  [[nodiscard]] int flush() override {
    return on_all([](Device& device, unsigned) { return device.flush(); });
  }
  [[nodiscard]] int resize(std::uint64_t bytes) override {
    if (const int error = ensure_labels(); error != 0) return error;
    return on_all([&](Device& device, unsigned index) {
      return device.resize(_targets.layout.share(index, bytes));
    });
  }

  [[nodiscard]] int deallocate(std::span<const ByteRange> ranges) override {
    std::vector<std::vector<ByteRange>> parts(_devices.size());
    for (const ByteRange& range : ranges) {
      _targets.layout.for_each_piece(range.offset, range.bytes, [&](const Piece& piece) {
        auto& list = parts[piece.device];
        // Stripes that are neighbours on their device become one range.
        if (!list.empty() && list.back().offset + list.back().bytes == piece.offset) {
          list.back().bytes += piece.bytes;
        } else {
          list.push_back({piece.offset, piece.bytes});
        }
      });
    }
    return on_all([&](Device& device, unsigned index) { return device.deallocate(parts[index]); });
  }

  [[nodiscard]] std::string last_failure() const override {
    const int failed = _failed.load(std::memory_order_relaxed);
    if (failed < 0) return {};
    const Device& device = *_devices[static_cast<unsigned>(failed)];
    std::string text = device.last_failure();
    return text.empty() && _devices.size() > 1 ? device.path() : text;
  }

  [[nodiscard]] std::string description() const override {
    std::string text;
    for (const auto& device : _devices) text += (text.empty() ? "" : " + ") + device->description();
    if (_set) text += fmt::format(" in stripes of {} KiB", _targets.layout.stripe_bytes() >> 10);
    return fmt::format("{}, {}", text, _ring ? _ring->description() : "pread/pwrite");
  }

 private:
  //! Makes a ring, or, if the process may have no more of them (descriptors, memory), a queue
  //! without one. NVMe passthrough needs a ring.
  [[nodiscard]] std::unique_ptr<IoQueue> make_ring(unsigned depth, bool single_issuer) {
    try {
      return make_ring_queue(_targets, *_ring, depth, single_issuer);
    } catch (const Error& error) {
      if (!at_a_limit(error) || !_targets.name_spaces.empty()) throw;
      if (!_lacks_rings.exchange(true, std::memory_order_relaxed)) {
        _logger(
            LogLevel::kWarning,
            fmt::format(
                "{}: {}; a thread that lacks a ring uses pread and pwrite, one transfer at a time",
                _devices[0]->path(), error.what()));
      }
      return make_pread_queue(_targets, depth);
    }
  }

  void choose_queue(const PoolOptions& options, Logger& logger) {
    const std::string& name = _devices[0]->path();
    if (options.storage == StorageKind::kPread) return;
    if (const int error = probe_io_uring(); error != 0) {
      const std::string reason = Status{Errc::kUnsupported, error, kNoPage}.to_string();
      if (options.storage != StorageKind::kAuto || _devices[0]->kind() == Device::Kind::kNvme) {
        throw Error(
            Status{Errc::kUnsupported, error, kNoPage},
            "storage = io_uring or NVMe passthrough, but io_uring is refused here, for " + name);
      }
      logger(
          LogLevel::kWarning,
          fmt::format(
              "{}: io_uring is refused here ({}); using pread and pwrite, one transfer at a time",
              name, reason));
      return;
    }
    std::string why_not_polled;
    for (const auto& device : _devices) {
      if (why_not_polled.empty()) why_not_polled = device->why_not_polled();
    }
    std::shared_ptr<PollQueues> poll_queues;
    if (!_targets.name_spaces.empty() && options.io_uring.polled != Switch::kOff &&
        why_not_polled.empty())
      poll_queues = take_poll_queues(why_not_polled);
    _ring = choose_ring_settings(options.io_uring, _targets, why_not_polled, name, logger);
    if (_ring->polled) _ring->poll_queues = std::move(poll_queues);
  }

  [[nodiscard]] std::shared_ptr<PollQueues> take_poll_queues(std::string& why_not) const {
    std::vector<dev_t> nodes;
    for (const int fd : _targets.fds) {
      struct stat info {};
      if (::fstat(fd, &info) == 0) nodes.push_back(info.st_rdev);
    }
    return PollQueues::take(nodes, why_not);
  }

  //! Reads a page into the last page of `memory`. Returns the errno if the kernel refuses the read,
  //! and 0 if only the device fails or has no page yet.
  [[nodiscard]] int try_registered(const RingSettings& settings,
                                   std::span<std::byte> memory) const {
    const std::unique_ptr<IoQueue> queue = make_ring_queue(_targets, settings, 1, true);
    IoRequest request;
    request.data = request.registered = memory.last(kPageSize).data();
    request.bytes = kPageSize;
    std::array<IoRequest*, 1> requests{&request};
    queue->submit(requests);
    while (queue->reap(requests, 1, 1'000'000'000) == 0) continue;
    const bool refused =
        request.error == EINVAL || request.error == EFAULT || request.error == EOPNOTSUPP;
    return refused ? request.error : 0;
  }

  [[nodiscard]] int ensure_labels() {
    return _set && !_set->labelled() ? _set->write(_devices) : 0;
  }

  template <typename Byte, typename Use>
  [[nodiscard]] int transfer(std::uint64_t offset, std::span<Byte> bytes, Use use) {
    int error = 0;
    std::size_t done = 0;
    _targets.layout.for_each_piece(offset, bytes.size(), [&](const Piece& piece) {
      if (error == 0) {
        error = use(*_devices[piece.device], piece.offset, bytes.subspan(done, piece.bytes));
        if (error != 0) _failed.store(static_cast<int>(piece.device), std::memory_order_relaxed);
      }
      done += piece.bytes;
    });
    return error;
  }

  //! Calls all, and returns the first error.
  template <typename Use>
  [[nodiscard]] int on_all(Use use) {
    int first = 0;
    for (unsigned i = 0; i < _devices.size(); ++i) {
      const int error = use(*_devices[i], i);
      if (error == 0 || first != 0) continue;
      first = error;
      _failed.store(static_cast<int>(i), std::memory_order_relaxed);
    }
    return first;
  }

  const Devices _devices;
  Logger _logger;  // for what comes after the open
  std::atomic<bool> _lacks_rings{false};
  std::optional<StripeSet> _set;  // of several devices
  Targets _targets;
  std::optional<RingSettings> _ring;  // none: pread and pwrite
  std::atomic<int> _failed{-1};       // device of the last blocking call that failed
};

}  // namespace

std::unique_ptr<Storage> make_device_storage(Devices devices, const PoolOptions& options,
                                             Logger& logger) {
  return std::make_unique<DeviceStorage>(std::move(devices), options, logger);
}

}  // namespace vmcache

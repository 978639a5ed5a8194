// SPDX-License-Identifier: MIT
//
// Memory through the exmap kernel module: explicit calls map and unmap frames, each a batch with
// one TLB flush. Context n of the pool uses interface n of the exmap, so threads do not contend.
#include <fcntl.h>
#include <linux/exmap.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <vector>

#include "file_descriptor.hpp"
#include "memory/memory.hpp"
#include "memory/reservation.hpp"

namespace vmcache {
namespace {

constexpr const char* kDevice = "/dev/exmap";

[[noreturn]] void fail(Errc code, int error, const std::string& what) {
  throw Error(Status{code, error, kNoPage}, fmt::format("{}: {}", kDevice, what));
}

//! A shared mapping of the exmap's descriptor.
class Mapping {
 public:
  Mapping(int fd, std::uint64_t offset, std::size_t bytes, const char* what) : _bytes(bytes) {
    void* memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
    if (memory == MAP_FAILED)
      fail(Errc::kOutOfMemory, errno, fmt::format("mapping {} ({} bytes)", what, bytes));
    _memory = memory;
  }
  Mapping(Mapping&& other) noexcept
      : _memory(std::exchange(other._memory, nullptr)), _bytes(other._bytes) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (_memory) ::munmap(_memory, _bytes);
  }
  template <typename T>
  [[nodiscard]] T* as() const noexcept {
    return static_cast<T*>(_memory);
  }

 private:
  void* _memory = nullptr;
  std::size_t _bytes;
};

//! ioctl() that a signal of the embedder's does not end.
int call(int fd, unsigned long request, void* argument) noexcept {
  int result = 0;
  do {
    result = ::ioctl(fd, request, argument);
  } while (result != 0 && errno == EINTR);
  return result;
}

//! Opens the device, queries it, and sets it up. `parks` is set if shrinking does not return frames
//! to the system. Throws Error kUnsupported, kOutOfMemory.
FileDescriptor open_device(const MemoryConfig& config, bool& parks) {
  int fd = -1;
  do {
    fd = ::open(kDevice, O_RDWR | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  FileDescriptor device{fd};
  if (!device) fail(Errc::kUnsupported, errno, "opening");
  exmap_query query{};
  query.size = sizeof query;
  if (call(device.get(), EXMAP_IOCTL_QUERY, &query) != 0) {
    fail(Errc::kUnsupported, errno,
         "this exmap has no query call: not the module that belongs to this library");
  }
  parks = (query.features & EXMAP_FEATURE_PARKS) != 0;
  constexpr std::uint64_t kNeeded = EXMAP_FEATURE_RESIZE | EXMAP_FEATURE_READ_FAULT_ZERO;
  if (query.page_size != kPageSize || (query.features & kNeeded) != kNeeded) {
    fail(Errc::kUnsupported, 0,
         fmt::format("pages of {} bytes, features {:#x}; needed are {} and {:#x}", query.page_size,
                     query.features, kPageSize, kNeeded));
  }
  if (config.contexts > query.interfaces_max ||
      config.capacity_pages * kPageSize > query.area_bytes_max) {
    fail(
        Errc::kUnsupported, 0,
        fmt::format("{} interfaces and an area of {} bytes: allowed are {} and {}", config.contexts,
                    config.capacity_pages * kPageSize, query.interfaces_max, query.area_bytes_max));
  }
  exmap_ioctl_setup setup{};
  setup.fd = -1;
  setup.max_interfaces = static_cast<int>(config.contexts);
  setup.buffer_size = config.frames;
  setup.flags = EXMAP_SETUP_READ_FAULT_ZERO;
  if (call(device.get(), EXMAP_IOCTL_SETUP, &setup) != 0) {
    fail(Errc::kOutOfMemory, errno, fmt::format("setup of {} frames", config.frames));
  }
  return device;
}

class ExmapMemory final : public Memory {
 public:
  explicit ExmapMemory(const MemoryConfig& config)
      : _device(open_device(config, _parks)),
        _area(_device.get(), EXMAP_OFF_EXMAP, config.capacity_pages * kPageSize, "the page area"),
        _capacity_pages(config.capacity_pages),
        _frame_count(config.frames) {
    _base = _area.as<std::byte>();
    _interfaces.reserve(config.contexts);
    for (unsigned n = 0; n < config.contexts; ++n) {
      _interfaces.emplace_back(_device.get(), EXMAP_OFF_INTERFACE(n), kPageSize, "an interface");
    }
  }

  Status exchange(unsigned context, std::span<const Extent> victims,
                  std::span<const Extent> wanted) override {
    if (const Status status = act(context, EXMAP_OP_FREE, victims); !status.ok()) return status;
    const Status status = act(context, EXMAP_OP_ALLOC, wanted);
    // All or nothing: what was mapped before the failure goes back.
    if (!status.ok()) (void)act(context, EXMAP_OP_FREE, wanted);
    return status;
  }

  [[nodiscard]] std::span<std::byte> show_frames(std::string& why_not) override {
    exmap_query query{};
    query.size = sizeof query;
    if (call(_device.get(), EXMAP_IOCTL_QUERY, &query) != 0 ||
        (query.features & EXMAP_FEATURE_VIEW) == 0) {
      why_not = "this exmap module has no view of the frames";
      return {};
    }
    try {
      _numbers = Reservation(_capacity_pages * sizeof(std::uint32_t), "the numbers of frames");
      _view.emplace(_device.get(), EXMAP_OFF_VIEW, _frame_count * kPageSize,
                    "the view of the frames");
    } catch (const Error& error) {
      why_not = error.what();
      return {};
    }
    _frame_numbers = reinterpret_cast<std::uint32_t*>(_numbers.data());
    _frames.store(_view->as<std::byte>(), std::memory_order_relaxed);
    return {_view->as<std::byte>(), _frame_count * kPageSize};
  }
  void hide_frames() noexcept override {
    _frames.store(nullptr, std::memory_order_relaxed);
    _view.reset();
  }

  // A batch pays the flush, which is the larger part of a single page's way (docs/performance.md).
  [[nodiscard]] bool wants_pairs() const noexcept override { return false; }

  Status resize(std::uint64_t frames) override {
    exmap_resize request{};
    request.size = sizeof request;
    request.frames = frames;
    if (call(_device.get(), EXMAP_IOCTL_RESIZE, &request) == 0) return {};
    return {Errc::kOutOfMemory, errno, kNoPage};
  }

  [[nodiscard]] std::string description() const override {
    return _parks ? "exmap memory (keeps its frames when it shrinks)" : "exmap memory";
  }

 private:
  Status act(unsigned context, exmap_opcode opcode, std::span<const Extent> extents) {
    exmap_iov* entries = _interfaces[context].as<exmap_user_interface>()->iov;
    const bool report =
        opcode == EXMAP_OP_ALLOC && _frames.load(std::memory_order_relaxed) != nullptr;
    while (!extents.empty()) {
      const std::size_t n = std::min<std::size_t>(extents.size(), EXMAP_USER_INTERFACE_PAGES);
      std::uint64_t pages = 0;
      for (std::size_t i = 0; i < n; ++i) {
        entries[i].value = extents[i].page_id | extents[i].pages() << (64 - EXMAP_PAGE_LEN_BITS);
        pages += extents[i].pages();
      }
      exmap_action_params action{};
      action.interface = static_cast<std::uint16_t>(context);
      action.iov_len = static_cast<std::uint16_t>(n);
      action.opcode = static_cast<std::uint16_t>(opcode);
      action.flags = report ? EXMAP_ACTION_REPORT_FRAME : 0;
      count(1, pages);
      // Not repeated on EINTR: the entries are results by then, and only a deadly signal interrupts
      // this call.
      if (::ioctl(_device.get(), EXMAP_IOCTL_ACTION, &action) != 0) {
        const int error = errno;
        const auto failed = std::find_if(entries, entries + n,
                                         [](const exmap_iov& entry) { return entry.res < 0; });
        const PageId page_id = failed == entries + n
                                   ? kNoPage
                                   : extents[static_cast<std::size_t>(failed - entries)].page_id;
        return {Errc::kOutOfMemory, error, page_id};
      }
      if (report) note_frames(entries, extents.first(n));
      extents = extents.subspan(n);
    }
    return {};
  }

  void note_frames(const exmap_iov* entries, std::span<const Extent> extents) noexcept {
    for (std::size_t i = 0; i < extents.size(); ++i) {
      const std::int32_t frame = entries[i].res;
      _frame_numbers[extents[i].page_id] =
          frame == EXMAP_FRAME_NONE ? 0 : static_cast<std::uint32_t>(frame) + 1;
    }
  }

  bool _parks = false;  // before _device, whose opening tells it
  FileDescriptor _device;
  Mapping _area;
  std::vector<Mapping> _interfaces;
  const std::uint64_t _capacity_pages;
  const std::uint64_t _frame_count;  // at open
  Reservation _numbers;              // _frame_numbers
  std::optional<Mapping> _view;
};

}  // namespace

std::unique_ptr<Memory> open_exmap_memory(const MemoryConfig& config) {
  return std::make_unique<ExmapMemory>(config);
}

}  // namespace vmcache

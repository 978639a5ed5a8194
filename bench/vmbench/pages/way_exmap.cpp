// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/exmap.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

#include "pages/ways.hpp"

namespace vmbench {

namespace {

//! The exmap kernel module: one FREE and one ALLOC a batch, on the thread's own interface.
class ExmapWay final : public PageWay {
 public:
  explicit ExmapWay(const WayConfig& config)
      : _fd(open("/dev/exmap", O_RDWR | O_CLOEXEC)), _bytes(config.pages * kPage) {
    if (_fd < 0) throw Refused(fmt::format("/dev/exmap: {}", std::strerror(errno)));
    try {
      set_up(config);
    } catch (...) {
      unmap();
      throw;
    }
  }
  ~ExmapWay() override { unmap(); }

  void fill(unsigned thread, std::span<const PageIndex> get) override {
    for (std::size_t done = 0; done < get.size(); done += kBatchMax)
      act(thread, EXMAP_OP_ALLOC, get.subspan(done, std::min(kBatchMax, get.size() - done)));
    for (const PageIndex page : get) touch(page);
  }

  void exchange(unsigned thread, std::span<const PageIndex> give, std::span<const PageIndex> get,
                ExchangeTimes& times) override {
    // The frames that are freed are the ones that are allocated, so a batch goes in parts of an
    // interface page.
    for (std::size_t done = 0; done < give.size(); done += kBatchMax) {
      const std::size_t count = std::min(kBatchMax, give.size() - done);
      const std::uint64_t start = now_ns();
      act(thread, EXMAP_OP_FREE, give.subspan(done, count));
      const std::uint64_t between = now_ns();
      act(thread, EXMAP_OP_ALLOC, get.subspan(done, count));
      for (const PageIndex page : get.subspan(done, count)) touch(page);
      times.give_back_ns += between - start;
      times.get_ns += now_ns() - between;
    }
  }
  [[nodiscard]] std::span<std::byte> area() const override { return {_base, _bytes}; }

 private:
  static constexpr std::size_t kBatchMax = EXMAP_USER_INTERFACE_PAGES;

  void set_up(const WayConfig& config) {
    exmap_ioctl_setup setup{};
    setup.fd = -1;
    setup.max_interfaces = static_cast<int>(config.threads);
    // Each interface may keep some free frames beside those that are mapped.
    setup.buffer_size = config.resident + config.threads * std::size_t{1024};
    if (ioctl(_fd, EXMAP_IOCTL_SETUP, &setup) != 0)
      throw Refused(fmt::format("EXMAP_IOCTL_SETUP of {} frames: {}", setup.buffer_size,
                                std::strerror(errno)));
    _base = static_cast<std::byte*>(map(_bytes, EXMAP_OFF_EXMAP));
    for (unsigned i = 0; i < config.threads; i++)
      _interfaces.push_back(static_cast<exmap_user_interface*>(
          map(sizeof(exmap_user_interface), EXMAP_OFF_INTERFACE_BASE | std::uint64_t{i} << 12)));
  }

  void* map(std::size_t bytes, std::uint64_t offset) const {
    void* address =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, _fd, static_cast<off_t>(offset));
    if (address == MAP_FAILED)
      throw std::system_error(errno, std::generic_category(), "mmap of /dev/exmap");
    return address;
  }

  void unmap() {
    for (exmap_user_interface* interface : _interfaces) munmap(interface, sizeof *interface);
    if (_base) munmap(_base, _bytes);
    if (_fd >= 0) close(_fd);
  }

  void act(unsigned thread, exmap_opcode opcode, std::span<const PageIndex> pages) {
    exmap_user_interface& interface = *_interfaces[thread];
    unsigned entries = 0;
    for (std::size_t i = 0; i < pages.size();) {
      std::size_t end = i + 1;
      while (end < pages.size() && pages[end] == pages[end - 1] + 1) end++;
      exmap_iov entry{};
      entry.page = pages[i];
      entry.len = static_cast<std::uint16_t>((end - i) & 0xfff);  // at most a batch, so below 4096
      interface.iov[entries++] = entry;
      i = end;
    }
    exmap_action_params action{};
    action.interface = static_cast<std::uint16_t>(thread);
    action.iov_len = static_cast<std::uint16_t>(entries);
    action.opcode = static_cast<std::uint16_t>(opcode);
    const char* name = opcode == EXMAP_OP_FREE ? "exmap FREE" : "exmap ALLOC";
    if (ioctl(_fd, EXMAP_IOCTL_ACTION, &action) < 0)
      throw std::system_error(errno, std::generic_category(), name);
    for (unsigned i = 0; i < entries; i++)
      if (interface.iov[i].res < 0)
        throw std::system_error(-interface.iov[i].res, std::generic_category(), name);
  }

  void touch(PageIndex page) const {
    *reinterpret_cast<volatile std::uint8_t*>(_base + std::size_t{page} * kPage) = 1;
  }

  int _fd;
  std::byte* _base = nullptr;
  std::size_t _bytes;
  std::vector<exmap_user_interface*> _interfaces;
};

}  // namespace

std::unique_ptr<PageWay> make_exmap_way(const WayConfig& config) {
  return std::make_unique<ExmapWay>(config);
}

}  // namespace vmbench

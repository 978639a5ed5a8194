// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "pages/ways.hpp"

// Debian 12's headers are older than the call (Linux 6.8); these are its ABI.
#ifndef UFFDIO_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
struct uffdio_move {
  __u64 dst;
  __u64 src;
  __u64 len;
  __u64 mode;
  __s64 move;
};
#endif

namespace vmbench {

namespace {

constexpr int kAttemptsMax = 16;

int open_userfaultfd() {
  // User-mode-only is what an unprivileged process may have.
  const int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
  if (fd < 0) throw Refused(fmt::format("userfaultfd: {}", std::strerror(errno)));
  return fd;
}

//! The frame goes from the evicted page straight to the loaded one: nothing is freed, allocated or
//! zeroed.
class UffdMoveWay final : public PageWay {
 public:
  explicit UffdMoveWay(const WayConfig& config) : _area(config.pages), _fd(open_userfaultfd()) {
    try {
      enable();
    } catch (...) {
      close(_fd);
      throw;
    }
  }
  ~UffdMoveWay() override { close(_fd); }

  void fill(unsigned /*thread*/, std::span<const PageIndex> get) override {
    for (const PageIndex page : get) touch(page);
  }

  void exchange(unsigned /*thread*/, std::span<const PageIndex> give,
                std::span<const PageIndex> get, ExchangeTimes& times) override {
    for (std::size_t i = 0; i < give.size();) {
      std::size_t end = i + 1;
      while (end < give.size() && give[end] == give[end - 1] + 1 && get[end] == get[end - 1] + 1)
        end++;
      move(give[i], get[i], end - i, times);
      i = end;
    }
    for (const PageIndex page : get) touch(page);
  }
  [[nodiscard]] std::span<std::byte> area() const override { return {_area.base(), _area.bytes()}; }

 private:
  void enable() {
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = UFFD_FEATURE_MOVE;
    if (ioctl(_fd, UFFDIO_API, &api) != 0)
      throw Refused(fmt::format("UFFDIO_API with UFFD_FEATURE_MOVE: {} (Linux has it from 6.8)",
                                std::strerror(errno)));
    // Write-protect mode and no write protection set: a touch of a page without a frame stays a
    // plain zero-page fault, which missing mode would turn into a message that nobody reads.
    uffdio_register area{};
    area.range = {reinterpret_cast<std::uintptr_t>(_area.base()), _area.bytes()};
    area.mode = UFFDIO_REGISTER_MODE_WP;
    if (ioctl(_fd, UFFDIO_REGISTER, &area) != 0)
      throw Refused(fmt::format("UFFDIO_REGISTER in write-protect mode: {}", std::strerror(errno)));
  }

  void move(PageIndex from, PageIndex to, std::size_t pages, ExchangeTimes& times) {
    std::size_t moved = 0;
    for (int attempt = 0; moved < pages && attempt < kAttemptsMax; attempt++) {
      uffdio_move request{};
      request.dst = reinterpret_cast<std::uintptr_t>(_area.page(to)) + moved * kPage;
      request.src = reinterpret_cast<std::uintptr_t>(_area.page(from)) + moved * kPage;
      request.len = (pages - moved) * kPage;
      if (ioctl(_fd, UFFDIO_MOVE, &request) == 0) return;
      const int error = errno;
      if (request.move > 0) moved += static_cast<std::size_t>(request.move) / kPage;
      if (error == EEXIST) {
        // Somebody touched the target and it has the zero page, or a frame: clear it and try again.
        madvise(_area.page(to) + moved * kPage, kPage, MADV_DONTNEED);
      } else if (error != EBUSY && error != EAGAIN) {
        throw std::system_error(error, std::generic_category(), "UFFDIO_MOVE");
      }
    }
    // Pinned or contended for long: give the rest back the plain way; the caller's touch gets new
    // frames.
    madvise(_area.page(from) + moved * kPage, (pages - moved) * kPage, MADV_DONTNEED);
    times.fallbacks += pages - moved;
  }

  void touch(PageIndex page) const {
    *reinterpret_cast<volatile std::uint8_t*>(_area.page(page)) = 1;
  }

  AnonymousArea _area;
  int _fd;
};

}  // namespace

std::unique_ptr<PageWay> make_uffd_move_way(const WayConfig& config) {
  return std::make_unique<UffdMoveWay>(config);
}

}  // namespace vmbench

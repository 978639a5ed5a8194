// SPDX-License-Identifier: MIT
//
// Anonymous memory of an ordinary Linux. A page gets its frame by a page fault, when a read or a
// user writes into it. There are several ways to take frames away, and the best one depends on the
// kernel (`vmbench pages`).
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include <fcntl.h>
#include <algorithm>
#include <vector>

#include "file_descriptor.hpp"
#include "memory/memory.hpp"
#include "memory/reservation.hpp"

namespace vmcache {
namespace {

// Newer than the headers of Debian 12; Linux 6.8, include/uapi/linux/userfaultfd.h.
struct UffdioMove {
  std::uint64_t dst, src, len, mode;
  std::int64_t move;
};
constexpr unsigned long kUffdioMove = _IOWR(UFFDIO, 0x05, UffdioMove);
constexpr std::uint64_t kUffdFeatureMove = std::uint64_t{1} << 16;
constexpr std::uint64_t kUffdioMoveAllowSrcHoles = std::uint64_t{1} << 1;
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

//! A userfaultfd on `area` that can move frames, or nothing if this kernel cannot. Registered for
//! write protection, which is never used: that way missing pages stay the kernel's business, and
//! touching one never blocks.
FileDescriptor open_mover(const Reservation& area) {
  FileDescriptor uffd{
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY))};
  if (!uffd) return {};
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kUffdFeatureMove | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
  if (::ioctl(uffd.get(), UFFDIO_API, &api) != 0) return {};
  uffdio_register registration{};
  registration.range = {reinterpret_cast<std::uintptr_t>(area.data()), area.bytes()};
  registration.mode = UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(uffd.get(), UFFDIO_REGISTER, &registration) != 0) return {};
  return uffd;
}

//! A pidfd of this process if process_madvise() takes DONTNEED on it, or nothing.
FileDescriptor open_self(const Reservation& area) {
  FileDescriptor self{static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0))};
  if (!self) return {};
  const iovec page{area.data(), kPageSize};
  const auto done = ::syscall(SYS_process_madvise, self.get(), &page, 1, MADV_DONTNEED, 0);
  if (done != static_cast<long>(kPageSize)) return {};
  return self;
}

class AnonymousMemory final : public Memory {
 public:
  explicit AnonymousMemory(const MemoryConfig& config)
      : _area(config.capacity_pages * kPageSize, "the page area"), _way(config.anonymous_release) {
    _base = _area.data();
    _area.advise(MADV_NOHUGEPAGE);
    // A child must not share the frames, because the parent's direct I/O would continue in them.
    // The child finds zeros instead. So it can read through a guard from before the fork, which
    // does not validate.
    _area.wipe_on_fork();
    _area.advise(MADV_DONTDUMP);
    choose_way();
  }

  Status exchange(unsigned, std::span<const Extent> victims,
                  std::span<const Extent> wanted) override {
    if (_way != AnonymousRelease::kMove) return release(victims);
    std::size_t next = 0;
    for (; next < victims.size() && next < wanted.size(); ++next) {
      // Extents of different size do not pair up; they are rare enough to take the plain way.
      if (victims[next].order != wanted[next].order || !move(victims[next], wanted[next])) {
        if (const Status status = release(victims.subspan(next, 1)); !status.ok()) return status;
      }
    }
    return release(victims.subspan(next));
  }

  [[nodiscard]] bool unlocked() const noexcept override { return _area.unlocked(); }
  [[nodiscard]] bool wants_pairs() const noexcept override {
    return _way == AnonymousRelease::kMove;
  }
  [[nodiscard]] std::string description() const override {
    switch (_way) {
      case AnonymousRelease::kMove:
        return "anonymous memory (UFFDIO_MOVE)";
      case AnonymousRelease::kProcessMadvise:
        return "anonymous memory (process_madvise)";
      case AnonymousRelease::kMadvisePages:
        return "anonymous memory (madvise a page)";
      default:
        return "anonymous memory (madvise a run)";
    }
  }

 private:
  void choose_way() {
    const AnonymousRelease asked = _way;
    // process_madvise first: a batch costs one shootdown, where a move costs one a page
    // (docs/performance.md).
    if (asked == AnonymousRelease::kAuto || asked == AnonymousRelease::kProcessMadvise) {
      if ((_self = open_self(_area))) {
        _way = AnonymousRelease::kProcessMadvise;
        return;
      }
    }
    if (asked == AnonymousRelease::kAuto || asked == AnonymousRelease::kMove) {
      if ((_mover = open_mover(_area))) {
        _way = AnonymousRelease::kMove;
        return;
      }
    }
    if (asked == AnonymousRelease::kAuto) {
      _way = AnonymousRelease::kMadviseRuns;
    } else if (asked == AnonymousRelease::kMove || asked == AnonymousRelease::kProcessMadvise) {
      throw Error(Errc::kUnsupported,
                  std::string("anonymous_release = ") +
                      (asked == AnonymousRelease::kMove ? "move" : "process_madvise") +
                      ": this kernel refuses it; leave it to auto");
    }
  }

  [[nodiscard]] std::byte* address(const Extent& extent) const noexcept {
    return _base + extent.page_id * kPageSize;
  }

  //! False if the frame has to be given back the plain way (pinned by I/O, shared after a fork, a
  //! hole ...).
  bool move(const Extent& from, const Extent& to) {
    UffdioMove request{reinterpret_cast<std::uintptr_t>(address(to)),
                       reinterpret_cast<std::uintptr_t>(address(from)), to.bytes(),
                       kUffdioMoveAllowSrcHoles, 0};
    count(1, from.pages());
    if (::ioctl(_mover.get(), kUffdioMove, &request) == 0) return true;
    if (errno != EEXIST) return false;
    // An optimistic reader has caused the kernel's zero page to be mapped there. If it is at the
    // front, nothing was moved. Otherwise give up.
    if (request.move > 0) return false;
    if (::madvise(address(to), to.bytes(), MADV_DONTNEED) != 0) return false;
    request.move = 0;
    count(2, from.pages());
    return ::ioctl(_mover.get(), kUffdioMove, &request) == 0;
  }

  Status release(std::span<const Extent> extents) {
    if (extents.empty()) return {};
    switch (_way) {
      case AnonymousRelease::kProcessMadvise:
        return release_vectors(extents);
      case AnonymousRelease::kMadvisePages:
        return release_pages(extents);
      default:
        return release_runs(extents);
    }
  }

  Status release_vectors(std::span<const Extent> extents) {
    // Below UIO_MAXIOV (1024); past this a longer one gains nothing.
    constexpr std::size_t kMaxVector = 512;
    std::array<iovec, kMaxVector> vector;
    for (std::size_t next = 0; next < extents.size();) {
      const std::size_t n = std::min(kMaxVector, extents.size() - next);
      std::uint64_t bytes = 0;
      for (std::size_t i = 0; i < n; ++i) {
        vector[i] = {address(extents[next + i]), extents[next + i].bytes()};
        bytes += vector[i].iov_len;
      }
      count(1, bytes / kPageSize);
      const auto done =
          ::syscall(SYS_process_madvise, _self.get(), vector.data(), n, MADV_DONTNEED, 0);
      // The call was short (a signal) or refused. Use the plain way for these. To drop a page twice
      // does no harm, because this thread holds them all.
      if (done != static_cast<long>(bytes)) {
        if (const Status status = release_pages(extents.subspan(next, n)); !status.ok())
          return status;
      }
      next += n;
    }
    return {};
  }

  Status release_runs(std::span<const Extent> extents) {
    std::vector<Extent> sorted;
    try {
      sorted.assign(extents.begin(), extents.end());
    } catch (const std::bad_alloc&) {
      return release_pages(extents);
    }
    std::ranges::sort(sorted, {}, &Extent::page_id);
    for (std::size_t i = 0; i < sorted.size();) {
      const PageId first = sorted[i].page_id;
      PageId end = first;
      while (i < sorted.size() && sorted[i].page_id == end) end += sorted[i++].pages();
      if (const Status status = drop(first, end - first); !status.ok()) return status;
    }
    return {};
  }

  Status release_pages(std::span<const Extent> extents) {
    for (const Extent& extent : extents) {
      if (const Status status = drop(extent.page_id, extent.pages()); !status.ok()) return status;
    }
    return {};
  }

  Status drop(PageId first, std::uint64_t pages) {
    count(1, pages);
    bool unlocked = false;
    while (::madvise(_base + first * kPageSize, pages * kPageSize, MADV_DONTNEED) != 0) {
      if (errno == EAGAIN || errno == EINTR) continue;
      // mlockall(MCL_CURRENT) has locked the area since it was made. All of it, because each piece
      // would become a mapping of its own.
      if (errno != EINVAL || unlocked || ::munlock(_area.data(), _area.bytes()) != 0)
        return {Errc::kOutOfMemory, errno, first};
      unlocked = true;
    }
    return {};
  }

  Reservation _area;
  AnonymousRelease _way;
  FileDescriptor _mover;
  FileDescriptor _self;
};

}  // namespace

std::unique_ptr<Memory> open_anonymous_memory(const MemoryConfig& config) {
  return std::make_unique<AnonymousMemory>(config);
}

}  // namespace vmcache

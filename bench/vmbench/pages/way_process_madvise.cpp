// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "pages/self_madvise.hpp"
#include "pages/ways.hpp"

namespace vmbench {

namespace {

constexpr std::size_t kVectorMax = 512;

// glibc's wrapper is declared only with _GNU_SOURCE quirks on some releases; the call itself is
// stable ABI.
ssize_t process_madvise_call(int pidfd, const iovec* vector, std::size_t length, int advice) {
  return syscall(SYS_process_madvise, pidfd, vector, length, advice, 0u);
}

}  // namespace

SelfMadvise::SelfMadvise(const AnonymousArea& area, int advice)
    : _pidfd(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0))) {
  if (_pidfd < 0) throw Refused(fmt::format("pidfd_open: {}", std::strerror(errno)));
  const iovec probe{area.base(), kPage};
  if (process_madvise_call(_pidfd, &probe, 1, advice) != static_cast<ssize_t>(kPage)) {
    const int error = errno;
    close(_pidfd);
    throw Refused(fmt::format("process_madvise(self, {}): {} (Linux allows it from 6.13)",
                              advice == MADV_DONTNEED ? "MADV_DONTNEED" : "MADV_POPULATE_WRITE",
                              std::strerror(error)));
  }
}

SelfMadvise::~SelfMadvise() {
  close(_pidfd);
}

void SelfMadvise::advise(const AnonymousArea& area, std::span<const PageIndex> pages,
                         int advice) const {
  iovec vector[kVectorMax];
  while (!pages.empty()) {
    const std::size_t count = std::min(pages.size(), kVectorMax);
    for (std::size_t i = 0; i < count; i++) vector[i] = {area.page(pages[i]), kPage};
    const ssize_t done = process_madvise_call(_pidfd, vector, count, advice);
    if (done <= 0) throw std::system_error(errno, std::generic_category(), "process_madvise");
    // The kernel may stop early and then says how far it came; go on from there.
    pages = pages.subspan(static_cast<std::size_t>(done) / kPage);
  }
}

namespace {

class ProcessMadviseWay final : public TwoStepWay {
 public:
  explicit ProcessMadviseWay(const WayConfig& config)
      : TwoStepWay(config), _self(_area, MADV_DONTNEED) {}

 private:
  void give_back(std::span<const PageIndex> pages) override {
    _self.advise(_area, pages, MADV_DONTNEED);
  }

  SelfMadvise _self;
};

}  // namespace

std::unique_ptr<PageWay> make_process_madvise_way(const WayConfig& config) {
  return std::make_unique<ProcessMadviseWay>(config);
}

}  // namespace vmbench

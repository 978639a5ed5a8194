// SPDX-License-Identifier: MIT
// The view for the exmap tests: its mapping, ALLOC that reports frames, and what the statistics say
// of it.
#pragma once

#include <set>

#include "exmap_test.h"

namespace exmap_test {

inline char* map_view(int fd, std::size_t frames, int rights = PROT_READ | PROT_WRITE,
                      int kind = MAP_SHARED) {
  void* view =
      mmap(nullptr, frames * kPageSize, rights, kind, fd, static_cast<off_t>(EXMAP_OFF_VIEW));
  return view == MAP_FAILED ? nullptr : static_cast<char*>(view);
}

inline exmap_stats2 stats_of(int fd) {
  exmap_stats2 stats{};
  stats.size = sizeof stats;
  CHECK_RESULT(0, result_of(ioctl(fd, EXMAP_IOCTL_STATS2, &stats)));
  return stats;
}

//! 0 or the negated errno; the results stand in the entries.
inline int alloc_reporting(const Exmap& map, int interface, const Run* runs, int count) {
  for (int i = 0; i < count; i++) {
    exmap_iov iov{};
    iov.page = runs[i].page & ((1ull << 52) - 1);
    iov.len = runs[i].len & (EXMAP_PAGE_MAX_PAGES - 1);
    map.entry(interface, i).value = iov.value;
  }
  return call_action(map.fd(), static_cast<unsigned>(interface), EXMAP_OP_ALLOC,
                     static_cast<unsigned>(count), EXMAP_ACTION_REPORT_FRAME);
}

//! ALLOCs the page, which may have a frame already, and returns its frame's number or
//! EXMAP_FRAME_NONE.
inline std::uint32_t frame_of(const Exmap& map, std::uint64_t page, int interface = 0) {
  const Run run{page, 1};
  CHECK_RESULT(0, alloc_reporting(map, interface, &run, 1));
  return static_cast<std::uint32_t>(map.entry(interface, 0).res);
}

//! A view that ends with its scope.
class View {
 public:
  View(const Exmap& map, std::size_t frames)
      : _bytes(frames * kPageSize), _base(map_view(map.fd(), frames)) {
    CHECK(_base, "mmap of a view of %zu frames: %s", frames, strerror(errno));
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() { unmap(); }
  void unmap() {
    if (_base) CHECK_RESULT(0, result_of(munmap(_base, _bytes)));
    _base = nullptr;
  }
  char* frame(std::uint64_t n) const { return _base + n * kPageSize; }
  char* base() const { return _base; }
  std::size_t bytes() const { return _bytes; }

 private:
  std::size_t _bytes;
  char* _base;
};

}  // namespace exmap_test

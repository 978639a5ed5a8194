// SPDX-License-Identifier: MIT
// For the tests of frames that have left the pool: where such a frame is, and what is charged for
// it.
#pragma once

#include "view_test.h"

namespace exmap_test {

constexpr const char* kShrinkReturns = "/sys/module/exmap/parameters/shrink_returns";

//! Frames that the module holds of the system, all exmaps together.
inline long long frames_held() {
  return read_number("/sys/module/exmap/parameters/frames");
}

//! KiB charged to RLIMIT_MEMLOCK.
inline long long locked_kib() {
  return read_number("/proc/self/status", "VmLck:");
}

//! The physical number of the frame that `address` has now. Needs root.
inline std::uint64_t physical_frame(const void* address) {
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  std::uint64_t entry = 0;
  const auto place =
      static_cast<off_t>(reinterpret_cast<std::uintptr_t>(address) / kPageSize * sizeof entry);
  CHECK_RESULT(static_cast<long long>(sizeof entry),
               result_of(pread(pagemap, &entry, sizeof entry, place)));
  close(pagemap);
  CHECK(entry >> 63 != 0, "%p is not mapped", address);
  return entry & ((1ull << 55) - 1);
}

//! Whether a frame is one of an exmap's: the module keeps the map count of one mapping, while a
//! page in the hands of the page allocator has none. (It may be another's after that, so ask before
//! anything is allocated.)
inline bool is_kept(std::uint64_t frame) {
  const int counts = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC);
  std::uint64_t count = 0;
  CHECK_RESULT(
      static_cast<long long>(sizeof count),
      result_of(pread(counts, &count, sizeof count, static_cast<off_t>(frame * sizeof count))));
  close(counts);
  return count != 0;
}

//! A pipe that holds pages by reference.
class Pipe {
 public:
  Pipe() { CHECK(pipe(_ends) == 0, "pipe: %s", strerror(errno)); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close(_ends[0]);
    close(_ends[1]);
  }
  //! False: the pipe is full.
  bool hold(char* page) {
    iovec held{page, kPageSize};
    const long long result = result_of(vmsplice(_ends[1], &held, 1, SPLICE_F_NONBLOCK));
    CHECK(result == kPageBytes || result == -EAGAIN, "vmsplice: %lld", result);
    return result == kPageBytes;
  }
  //! Lets the oldest page go; it must hold `owner`.
  void let_go(std::uint64_t owner) {
    alignas(8) char seen[kPageSize];
    CHECK_RESULT(kPageBytes, result_of(read(_ends[0], seen, kPageSize)));
    CHECK(page_holds(seen, owner), "the pipe yields 0x%llx, not 0x%llx",
          ull(*reinterpret_cast<std::uint64_t*>(seen)), ull(owner));
  }

 private:
  int _ends[2] = {-1, -1};
};

}  // namespace exmap_test

// SPDX-License-Identifier: MIT
// The n-th memory allocation of a call fails, for n = 1, 2, 3 ... until the call gets through: each
// failure is an errno, the call works when tried again, and nothing is lost. Needs a kernel with
// fault injection.
#include "parked_test.h"

using namespace exmap_test;

namespace {

constexpr int kFailuresMax = 3000;

void arm_injection() {
  const char* const settings[][2] = {{"/sys/kernel/debug/failslab/ignore-gfp-wait", "N"},
                                     {"/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N"},
                                     {"/sys/kernel/debug/fail_page_alloc/min-order", "0"}};
  for (const auto& [path, value] : settings)
    if (!write_text(path, value)) SKIP("no %s: the kernel has no fault injection", path);
  for (const char* quiet :
       {"/sys/kernel/debug/failslab/verbose", "/sys/kernel/debug/fail_page_alloc/verbose"})
    write_text(quiet, "0");
  if (access("/proc/thread-self/fail-nth", W_OK) != 0) SKIP("no /proc/thread-self/fail-nth");
}

int open_injection() {
  const int injection = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
  CHECK(injection >= 0, "fail-nth: %s", strerror(errno));
  return injection;
}
void inject(int injection, int nth) {
  const std::string text = std::to_string(nth);
  CHECK(pwrite(injection, text.c_str(), text.size(), 0) == static_cast<ssize_t>(text.size()),
        "fail-nth: %s", strerror(errno));
}
//! Whether the armed failure has struck; disarms it. Where it has not, it may strike these very
//! calls' copies.
bool has_struck(int injection) {
  char text[16] = {};
  const long long got = result_of(pread(injection, text, sizeof text - 1, 0));
  CHECK(got > 0 || got == -EFAULT, "fail-nth: %s", strerror(static_cast<int>(-got)));
  const long long disarmed = result_of(pwrite(injection, "0", 1, 0));
  CHECK(disarmed == 1 || disarmed == -EFAULT, "fail-nth: %s",
        strerror(static_cast<int>(-disarmed)));
  return got > 0 && std::atoi(text) == 0;
}

//! `call` gives 0 or a negated errno and undoes nothing by itself; `undo` follows each success.
template <typename Call, typename Undo>
void fail_each(const char* name, Call call, Undo undo, bool must_strike = true) {
  const int injection = open_injection();
  int struck = 0, refused = 0;
  for (int nth = 1;; nth++) {
    CHECK(nth < kFailuresMax, "%s: still failing at allocation %d", name, nth);
    inject(injection, nth);
    const long long result = call();
    const bool hit = has_struck(injection);
    if (result >= 0) {
      undo();
    } else {
      CHECK(hit, "%s failed with %s though no allocation failed", name,
            strerror(static_cast<int>(-result)));
      CHECK(result == -ENOMEM || result == -EFAULT || result == -EAGAIN, "%s: failure %d gave %s",
            name, nth, strerror(static_cast<int>(-result)));
      refused++;
      CHECK_RESULT(0, std::min(0ll, static_cast<long long>(call())));  // and again, undisturbed
      undo();
    }
    struck += hit;
    if (!hit) break;
  }
  CHECK(struck > 0 || !must_strike, "%s: nothing was there to fail: this injects nothing", name);
  std::printf("# %s: %d allocations failed in turn, %d failures reached the caller\n", name, struck,
              refused);
  close(injection);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  arm_injection();
  const Ledger ledger;
  int fd = -1;
  fail_each(
      "open", [&] { return fd = static_cast<int>(result_of(open(kDevice, O_RDWR | O_CLOEXEC))); },
      [&] { close(fd); });

  fd = open_device();
  fail_each(
      "setup", [&] { return call_setup(fd, 100, 4); }, [&] { close(fd), fd = open_device(); });

  CHECK_RESULT(0, call_setup(fd, 64, 1));
  char* area = nullptr;
  fail_each(
      "mmap of the area",
      [&] {
        area = map_area(fd, 1 << 20);
        return area ? 0 : -errno;
      },
      [&] { munmap(area, (1ull << 20) * kPageSize); });
  exmap_user_interface* interface = nullptr;
  fail_each(
      "mmap of an interface",
      [&] {
        interface = map_interface(fd, 0);
        return interface ? 0 : -errno;
      },
      [&] { munmap(interface, kPageSize); });
  close(fd);

  const int file = memfd_create("file", MFD_CLOEXEC);
  CHECK(ftruncate(file, 1ll << 32) == 0, "ftruncate: %s", strerror(errno));
  {
    const Exmap map({.frames = 64, .area_pages = 1 << 20, .backing_fd = file});
    // Across into a new page table each time: their allocation is what can fail.
    std::uint64_t place = 1020;
    fail_each(
        "ALLOC", [&] { return map.alloc(0, place, 8); },
        [&] {
          CHECK_RESULT(0, map.free(0, place, 8));
          place += 1024;
        });
    place = 1 << 18;
    fail_each(
        "READ",
        [&] {
          return result_of(pread(map.fd(), map.page(place), 4 * kPageSize, 0)) < 0 ? -ENOMEM : 0;
        },
        [&] {
          CHECK_RESULT(0, map.free(0, place, 4));
          place += 1024;
        });
    fail_each(
        "FREE", [&] { return map.alloc(0, 5, 8) < 0 ? -ENOMEM : map.free(0, 5, 8); }, [] {}, false);
    // What is parked need not be allocated again: so once without, for each frame, and once beside
    // parked ones.
    CHECK(write_text(kShrinkReturns, "Y"), "%s: %s", kShrinkReturns, strerror(errno));
    fail_each(
        "grow", [&] { return resize(map, 700); }, [&] { CHECK_RESULT(0, resize(map, 64)); });
    CHECK(write_text(kShrinkReturns, "N"), "%s: %s", kShrinkReturns, strerror(errno));
    CHECK_RESULT(0, resize(map, 100));
    CHECK_RESULT(0, resize(map, 64));
    fail_each(
        "grow beside parked frames", [&] { return resize(map, 700); },
        [&] { CHECK_RESULT(0, resize(map, 64)); });
    int clone = -1;
    fail_each(
        "clone",
        [&] {
          clone = open(kDevice, O_RDWR | O_CLOEXEC);
          if (clone < 0) return result_of(clone);
          const long long result = result_of(ioctl(clone, EXMAP_IOCTL_CLONE, map.fd()));
          if (result < 0) close(clone);
          return result;
        },
        [&] { close(clone); });
    map.check_all_frames(0, 64);
  }
  close(file);
  ledger.check_balanced();
  return 0;
}

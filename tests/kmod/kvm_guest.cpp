// SPDX-License-Identifier: MIT
// A guest of KVM whose memory is the page area. FREE does not tell KVM, so the guest goes on
// reaching the frames. They stay with the exmap: shrinking frees none of them to the system,
// whatever the guest writes; and once the area is unmapped, the guest reaches nothing. Needs
// /dev/kvm in the guest that runs this (run.sh loads kvm_amd).
#include <linux/kvm.h>

#include "parked_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kPages = 16, kCodePage = kPages, kFrames = 64;
constexpr int kReadPort = 0x10, kWrotePort = 0x11;
// 16-bit code at kCodePage; bx walks over the pages. mov ax, [bx]; out kReadPort, ax; mov word
// [bx], 0xbeef; out kWrotePort, ax; add bx, 0x1000; jmp to the start. (bx wraps after 16 pages.)
constexpr unsigned char kCode[] = {0x8b, 0x07,       0xe7, kReadPort, 0xc7, 0x07, 0xef, 0xbe,
                                   0xe7, kWrotePort, 0x81, 0xc3,      0x00, 0x10, 0xeb, 0xf0};

//! One virtual processor in real mode, whose physical pages are the pages of the area.
class Guest {
 public:
  explicit Guest(const Exmap& map) {
    _kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (_kvm < 0) SKIP("/dev/kvm: %s", strerror(errno));
    std::memcpy(map.page(kCodePage), kCode, sizeof kCode);
    _machine = ioctl(_kvm, KVM_CREATE_VM, 0);
    CHECK(_machine >= 0, "KVM_CREATE_VM: %s", strerror(errno));
    kvm_userspace_memory_region region{};
    region.memory_size = (kPages + 1) * kPageSize;
    region.userspace_addr = reinterpret_cast<std::uintptr_t>(map.area());
    CHECK_RESULT(0, result_of(ioctl(_machine, KVM_SET_USER_MEMORY_REGION, &region)));
    _cpu = ioctl(_machine, KVM_CREATE_VCPU, 0);
    CHECK(_cpu >= 0, "KVM_CREATE_VCPU: %s", strerror(errno));
    const auto bytes = static_cast<std::size_t>(ioctl(_kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
    void* const run = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, _cpu, 0);
    CHECK(run != MAP_FAILED, "mmap of the processor: %s", strerror(errno));
    _run = static_cast<kvm_run*>(run);
    kvm_sregs segments{};
    CHECK_RESULT(0, result_of(ioctl(_cpu, KVM_GET_SREGS, &segments)));
    segments.cs.base = kCodePage * kPageSize;
    segments.cs.selector = kCodePage * kPageSize / 16;
    segments.ds.base = segments.ds.selector = 0;
    CHECK_RESULT(0, result_of(ioctl(_cpu, KVM_SET_SREGS, &segments)));
    kvm_regs registers{};
    registers.rflags = 2;
    CHECK_RESULT(0, result_of(ioctl(_cpu, KVM_SET_REGS, &registers)));
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;
  ~Guest() {
    for (const int fd : {_cpu, _machine, _kvm}) close(fd);
  }

  //! Runs to the next access of a port, which must be `port`; what it gave. -1: the guest cannot go
  //! on.
  int step(int port) {
    for (;;) {
      const long long result = result_of(ioctl(_cpu, KVM_RUN, 0));
      if (result == -EINTR || result == -EAGAIN) continue;
      if (result != 0 || _run->exit_reason != KVM_EXIT_IO) return -1;
      CHECK(_run->io.port == port, "port 0x%x", _run->io.port);
      std::uint16_t value = 0;
      std::memcpy(&value, reinterpret_cast<char*>(_run) + _run->io.data_offset, sizeof value);
      return value;
    }
  }
  //! Reads the first word of each page, and writes 0xbeef there.
  std::vector<int> touch_all() {
    std::vector<int> seen;
    for (std::uint64_t page = 0; page < kPages; page++) {
      seen.push_back(step(kReadPort));
      CHECK(step(kWrotePort) >= 0, "the guest stopped at page %llu", ull(page));
    }
    return seen;
  }

 private:
  int _kvm = -1, _machine = -1, _cpu = -1;
  kvm_run* _run = nullptr;
};

std::uint64_t count_kept(const std::vector<std::uint64_t>& frames) {
  std::uint64_t kept = 0;
  for (const std::uint64_t frame : frames) kept += is_kept(frame);
  return kept;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  if (access("/dev/kvm", R_OK | W_OK) != 0) SKIP("no /dev/kvm here");
  const Ledger ledger;
  {
    Exmap map({.frames = kFrames, .area_pages = 256});
    CHECK_RESULT(0, map.alloc(0, 0, kPages + 1));
    std::vector<std::uint64_t> frames;
    for (std::uint64_t page = 0; page < kPages; page++) {
      fill_page(map.page(page), 0x1111111111111111);
      frames.push_back(physical_frame(map.page(page)));
    }
    Guest guest(map);
    for (const int word : guest.touch_all()) CHECK(word == 0x1111, "the guest reads 0x%x", word);
    CHECK((*map.word(0) & 0xffff) == 0xbeef, "the guest does not write to the area");

    CHECK_RESULT(0, map.free(0, 0, kPages));
    CHECK_RESULT(0, resize(map, 1));
    CHECK(count_kept(frames) == kPages,
          "%llu of %llu frames that the guest maps are not the exmap's any more",
          ull(kPages - count_kept(frames)), ull(kPages));
    std::uint64_t stale = 0;
    for (const int word : guest.touch_all()) stale += word == 0xbeef;
    std::printf("# through %llu of %llu entries the guest still reaches freed pages' frames\n",
                ull(stale), ull(kPages));

    // They come back as zeros, for other pages of the process.
    CHECK_RESULT(0, resize(map, kFrames));
    CHECK_RESULT(0, map.alloc(0, 100, kFrames - 1));
    for (std::uint64_t page = 100; page < 100 + kFrames - 1; page++)
      CHECK(page_holds(map.page(page), 0), "a frame that came with the growth is not zero");
    CHECK_RESULT(0, map.free(0, 100, kFrames - 1));
    CHECK_RESULT(0, resize(map, 1));
    CHECK(count_kept(frames) == kPages, "a frame went back to the system");

    map.unmap_area();
    CHECK(guest.step(kReadPort) == -1, "the guest goes on although its memory is unmapped");
  }
  ledger.check_balanced();
  return 0;
}

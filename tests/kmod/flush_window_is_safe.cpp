// SPDX-License-Identifier: MIT
// The small area that the module makes at setup for its TLB flushes: whatever the program does to
// it, a FREE either flushes or is refused; it is never quietly without its flush.
#include "stale_reader.h"

using namespace exmap_test;

namespace {

struct Range {
  char* start;
  std::size_t bytes;
};

//! The mappings of this process that came with setup: there after it, not before.
std::vector<Range> mappings() {
  std::vector<Range> found;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t start = 0, end = 0;
    if (line.find("exmap") != std::string::npos &&
        std::sscanf(line.c_str(), "%lx-%lx", &start, &end) == 2)
      found.push_back({reinterpret_cast<char*>(start), end - start});
  }
  return found;
}

std::vector<Range> windows_of(int fd) {
  CHECK(mappings().empty(), "an exmap is mapped before setup");
  CHECK_RESULT(0, call_setup(fd, 1, 1));
  return mappings();
}

void meddle(const Range& window) {
  for (int advice = 0; advice <= 25; advice++) madvise(window.start, window.bytes, advice);
  mprotect(window.start, window.bytes, PROT_READ | PROT_WRITE);
  mprotect(window.start, kPageSize, PROT_NONE);
  mprotect(window.start, window.bytes, PROT_READ);
  mlock(window.start, window.bytes);
  munlock(window.start, window.bytes);
  std::uint64_t value = 0;
  try_read(reinterpret_cast<std::uint64_t*>(window.start), value);
  CHECK(value == 0, "the window shows 0x%llx", ull(value));
  try_write(reinterpret_cast<std::uint64_t*>(window.start + window.bytes - kPageSize), 1);
  mremap(window.start, window.bytes, window.bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr);
}

//! Nobody, not even by force or mprotect, may read, write or execute there: no mr, mw, me among its
//! flags.
void check_rights(const Range& window) {
  std::ifstream smaps("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t start = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &start, &end) == 2)
      here = start == reinterpret_cast<std::uintptr_t>(window.start);
    if (!here || line.rfind("VmFlags:", 0) != 0) continue;
    for (const char* right : {" rd", " wr", " ex", " mr", " mw", " me"})
      CHECK(line.find(right) == std::string::npos, "the window has the right%s: %s", right,
            line.c_str());
    return;
  }
  CHECK(false, "smaps does not show the window");
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  if (cpu_count() < 2) SKIP("needs two CPUs to have a TLB elsewhere");
  catch_faults();
  const Ledger ledger;
  in_child("the meddler", [&] {
    const int fd = open_device();
    const std::vector<Range> windows = windows_of(fd);
    std::printf("# setup made %zu mappings\n", windows.size());
    if (windows.empty()) SKIP("setup makes no mapping that the program could meddle with");
    for (const Range& window : windows) check_rights(window);
    char* const area = map_area(fd, 4);
    auto* const interface = map_interface(fd, 0);
    CHECK(area && interface, "mmap: %s", strerror(errno));

    // A second one, whose window is found by difference.
    const Exmap map({.frames = 1, .area_pages = 4});
    std::vector<Range> others;
    for (const Range& range : mappings()) {
      const char* const own[] = {area, map.area(), reinterpret_cast<char*>(interface),
                                 reinterpret_cast<char*>(&map.entry(0, 0))};
      if (std::find(std::begin(own), std::end(own), range.start) == std::end(own))
        others.push_back(range);
    }
    CHECK(others.size() > windows.size(), "the second exmap has no window");
    std::atomic<bool> stop{false};
    Counts counts;
    std::thread meddler([&] {
      while (!stop)
        for (const Range& range : others) meddle(range);
    });
    std::thread reader([&] {
      pin_to_cpu(1);
      while (!counts.stop) observe(map, 0, counts);
    });
    pin_to_cpu(0);
    swap_pages(map, options.scaled("swaps under a meddler", 500), counts, nullptr);
    stop = counts.stop = true;
    meddler.join();
    reader.join();
    CHECK(counts.stale == 0, "%llu stale reads while the window was meddled with",
          ull(counts.stale));

    // Taken away: refused from then on, and told.
    interface->iov[0].value = 0;
    interface->iov[0].len = 1;
    CHECK_RESULT(0, call_action(fd, 0, EXMAP_OP_ALLOC, 1));
    for (const Range& window : windows) munmap(window.start, window.bytes);
    interface->iov[0].value = 0;
    interface->iov[0].len = 1;
    CHECK_RESULT(-ESTALE, call_action(fd, 0, EXMAP_OP_FREE, 1));
    exmap_ioctl_stats stats{};
    CHECK_RESULT(0, result_of(ioctl(fd, EXMAP_IOCTL_STATS, &stats)));
    CHECK(stats.flags & EXMAP_STATE_WINDOW_LOST, "the loss is not told: flags 0x%llx",
          ull(stats.flags));
  });
  ledger.check_balanced();
  return 0;
}

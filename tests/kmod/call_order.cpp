// SPDX-License-Identifier: MIT
// Calls in every order, early, late and twice: before setup and before mmap they get an errno, in
// the right order they still work afterwards.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

enum Step : int { kSetup, kMapArea, kMapInterface, kAlloc, kFree, kRead, kStats, kSteps };

struct State {
  int fd = open_device();
  bool set_up = false;
  char* area = nullptr;
  exmap_user_interface* interface = nullptr;
};

void put_entry(const State& s) {
  if (!s.interface) return;
  s.interface->iov[0].page = 0;
  s.interface->iov[0].len = 1;
}

void take_step(State& s, Step step) {
  switch (step) {
    case kSetup:
      CHECK_RESULT(s.set_up ? -EBUSY : 0, call_setup(s.fd, 8, 1));
      s.set_up = true;
      break;
    case kMapArea: {
      char* const area = map_area(s.fd, 16);
      CHECK((area == nullptr) == (s.area != nullptr), "mmap of the area, once more: %d",
            s.area != nullptr);
      if (area) s.area = area;
      break;
    }
    case kMapInterface: {
      auto* const interface = map_interface(s.fd, 0);
      CHECK((interface != nullptr) == s.set_up, "mmap of an interface, set up %d", s.set_up);
      if (s.interface && interface) munmap(s.interface, kPageSize);
      if (interface) s.interface = interface;
      break;
    }
    case kAlloc:
    case kFree: {
      put_entry(s);
      const int result = call_action(s.fd, 0, step == kAlloc ? EXMAP_OP_ALLOC : EXMAP_OP_FREE,
                                     s.interface ? 1 : 0);
      CHECK_RESULT(s.set_up && s.area ? 0 : -ENXIO, result);
      break;
    }
    case kRead: {
      char bytes[16];
      CHECK_REFUSED(
          // No file was given at setup.
          result_of(pread(s.fd, s.area ? s.area : bytes, kPageSize, 0)));
      break;
    }
    case kStats: {
      exmap_ioctl_stats stats{};
      CHECK_RESULT(0, result_of(ioctl(s.fd, EXMAP_IOCTL_STATS, &stats)));
      CHECK(((stats.flags & EXMAP_STATE_READY) != 0) == s.set_up &&
                ((stats.flags & EXMAP_STATE_MAPPED) != 0) == (s.area != nullptr),
            "stats' flags are 0x%llx", ull(stats.flags));
      break;
    }
    case kSteps:
      break;
  }
}

void finish_properly(State& s) {
  if (!s.set_up) take_step(s, kSetup);
  if (!s.area) take_step(s, kMapArea);
  take_step(s, kMapInterface);
  take_step(s, kAlloc);
  fill_page(s.area, 1);
  CHECK(page_holds(s.area, 1), "the page does not hold what was written");
  take_step(s, kFree);
  munmap(s.area, 16 * kPageSize);
  munmap(s.interface, kPageSize);
  close(s.fd);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  std::uint64_t sequences = 0;
  for (int first = 0; first < kSteps; first++)
    for (int second = 0; second < kSteps; second++)
      for (int third = 0; third < kSteps; third++)
        for (int fourth = 0; fourth < kSteps;
             fourth += options.number("scale", 100) < 100 ? 2 : 1) {
          State state;
          for (const int step : {first, second, third, fourth})
            take_step(state, static_cast<Step>(step));
          finish_properly(state);
          sequences++;
        }
  std::printf("# %llu sequences\n", ull(sequences));
  ledger.check_balanced();
  return 0;
}

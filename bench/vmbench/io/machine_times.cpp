// SPDX-License-Identifier: MIT
#include "io/machine_times.hpp"

#include <sys/resource.h>
#include <x86intrin.h>

#include <ctime>

#include "common/clock.hpp"

namespace vmbench {

MachineTimes machine_times() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return {now_ns(), __rdtsc(),
          static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u +
              static_cast<std::uint64_t>(time.tv_nsec),
          static_cast<std::uint64_t>(usage.ru_nvcsw + usage.ru_nivcsw)};
}

}  // namespace vmbench

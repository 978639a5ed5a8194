// SPDX-License-Identifier: MIT
#include "pages/counters.hpp"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace vmbench {

std::optional<std::uint64_t> tlb_shootdowns() {
  std::ifstream interrupts("/proc/interrupts");
  for (std::string line; std::getline(interrupts, line);) {
    std::istringstream fields(line);
    std::string name;
    fields >> name;
    if (name != "TLB:") continue;
    std::uint64_t sum = 0;
    for (std::uint64_t cpu_count; fields >> cpu_count;) sum += cpu_count;
    return sum;
  }
  return std::nullopt;
}

InstructionCounter::InstructionCounter() {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_HARDWARE;
  attributes.config = PERF_COUNT_HW_INSTRUCTIONS;
  _fd =
      static_cast<int>(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

InstructionCounter::~InstructionCounter() {
  if (_fd >= 0) close(_fd);
}

std::optional<std::uint64_t> InstructionCounter::read() const {
  std::uint64_t count = 0;
  if (_fd < 0 || ::read(_fd, &count, sizeof count) != sizeof count) return std::nullopt;
  return count;
}

}  // namespace vmbench

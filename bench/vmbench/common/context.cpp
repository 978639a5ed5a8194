// SPDX-License-Identifier: MIT
#include "common/context.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ctime>
#include <fstream>

namespace vmbench {

namespace {

std::string cpu_model() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace

Json machine_context(const std::vector<std::string>& arguments) {
  utsname name{};
  uname(&name);
  return Json{
      {"kernel", fmt::format("{} {}", name.release, name.machine)},
      {"cpu", cpu_model()},
      {"cpus", sysconf(_SC_NPROCESSORS_ONLN)},
      {"memory_bytes", sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)},
      {"date", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))},
      {"command", fmt::format("{}", fmt::join(arguments, " "))},
  };
}

}  // namespace vmbench

// SPDX-License-Identifier: MIT
#include "common/memory_limit.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace vmbench {

namespace {

constexpr std::string_view kGroupPrefix = "vmbench-";

struct Controller {
  std::string mount;
  int version;
};

//! Returns 0 or an errno. A control file takes one write.
int write_control(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int error =
      write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : errno;
  close(fd);
  return error;
}

bool has_word(std::istream&& text, const std::string& word) {
  for (std::string found; text >> found;)
    if (found == word) return true;
  return false;
}

//! Mounted hierarchies that have the memory controller.
std::vector<Controller> memory_controllers() {
  std::vector<Controller> found;
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string device, mount, type, options;
    fields >> device >> mount >> type >> options;
    if (type == "cgroup2" && has_word(std::ifstream(mount + "/cgroup.controllers"), "memory"))
      found.push_back({mount, 2});
    if (type == "cgroup" && ("," + options + ",").find(",memory,") != std::string::npos)
      found.push_back({mount, 1});
  }
  return found;
}

//! Takes away groups that runs left behind which were killed.
void remove_leftovers(const std::string& mount) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(mount, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kGroupPrefix)) continue;
    const pid_t owner = std::atoi(name.c_str() + kGroupPrefix.size());
    if (owner > 0 && kill(owner, 0) != 0 && errno == ESRCH) rmdir(entry.path().c_str());
  }
}

//! Makes `path` a group with the limit. Returns what failed, or nothing.
std::optional<std::string> make_group(const Controller& controller, const std::string& path,
                                      std::uint64_t limit) {
  if (controller.version == 2) {
    // Children have a memory.max only if their parent hands the controller on; on most machines it
    // does already.
    const int error = write_control(controller.mount + "/cgroup.subtree_control", "+memory");
    if (error != 0 &&
        !has_word(std::ifstream(controller.mount + "/cgroup.subtree_control"), "memory"))
      return fmt::format("{}/cgroup.subtree_control: {}", controller.mount, std::strerror(error));
  }
  if (mkdir(path.c_str(), 0755) != 0)
    return fmt::format("mkdir {}: {}", path, std::strerror(errno));
  const std::string file =
      path + (controller.version == 2 ? "/memory.max" : "/memory.limit_in_bytes");
  if (const int error = write_control(file, std::to_string(limit)); error != 0) {
    rmdir(path.c_str());
    return fmt::format("{}: {}", file, std::strerror(error));
  }
  // Without swap the limit is one on what is kept at all. Where there is no swap, there is no such
  // file.
  if (controller.version == 2) write_control(path + "/memory.swap.max", "0");
  return std::nullopt;
}

}  // namespace

MemoryGroup::MemoryGroup(std::uint64_t limit_bytes) {
  std::string reasons;
  for (const Controller& controller : memory_controllers()) {
    remove_leftovers(controller.mount);
    const std::string path = fmt::format("{}/{}{}", controller.mount, kGroupPrefix, getpid());
    const std::optional<std::string> failure = make_group(controller, path, limit_bytes);
    if (!failure) {
      _path = path;
      _description = fmt::format("cgroup v{} {} = {}", controller.version,
                                 controller.version == 2 ? "memory.max" : "memory.limit_in_bytes",
                                 limit_bytes);
      return;
    }
    reasons += "; " + *failure;
  }
  throw std::runtime_error("no memory control group can be made" +
                           (reasons.empty() ? std::string("; none is mounted") : reasons) +
                           " (run as root with the memory controller, or see --memory-limit)");
}

MemoryGroup::~MemoryGroup() {
  // The kernel may take a moment to let go of a process that has just been reaped.
  for (int attempt = 0; attempt < 100 && rmdir(_path.c_str()) != 0 && errno == EBUSY; attempt++)
    usleep(10'000);
}

void MemoryGroup::enter() const {
  if (const int error = write_control(_path + "/cgroup.procs", std::to_string(getpid()));
      error != 0)
    throw std::runtime_error(fmt::format("{}/cgroup.procs: {}", _path, std::strerror(error)));
}

}  // namespace vmbench

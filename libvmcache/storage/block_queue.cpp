// SPDX-License-Identifier: MIT
#include "storage/block_queue.hpp"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <set>
#include <string>
#include <string_view>

namespace vmcache {
namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  std::uint64_t number = 0;
  if (!(in >> number)) return {};
  return number;
}

//! "0, 2, 3"
std::optional<std::vector<unsigned>> numbers_in(const fs::path& file) {
  std::ifstream in(file);
  if (!in) return {};
  std::vector<unsigned> numbers;
  for (unsigned number = 0; in >> number; in.ignore()) numbers.push_back(number);
  return numbers;
}

fs::path node(const char* kind, dev_t device) {
  std::error_code error;
  return fs::canonical(fmt::format("/sys/dev/{}/{}:{}", kind, major(device), minor(device)), error);
}

//! The folder of the block device that belongs to an NVMe namespace's character device; empty if
//! there is none.
fs::path nvme_disk(dev_t character_device) {
  const std::string block = nvme_block_name(character_device);
  if (block.empty()) return {};
  // Both nodes have the same parent. Before 6.2 or so, the character device lies one folder deeper.
  const fs::path folder = node("char", character_device);
  std::error_code ignored;
  for (fs::path parent = folder.parent_path(); parent.has_relative_path();
       parent = parent.parent_path()) {
    if (fs::exists(parent / block / "queue", ignored)) return parent / block;
  }
  return {};
}

}  // namespace

std::optional<std::uint64_t> block_queue_number(dev_t device, const char* name) {
  const fs::path folder = node("block", device);
  if (folder.empty()) return {};
  if (const auto number = number_in(folder / "queue" / name)) return number;
  return number_in(folder.parent_path() / "queue" / name);  // a partition lies in its disk's folder
}

std::string nvme_block_name(dev_t character_device) {
  const std::string own = node("char", character_device).filename();
  return own.starts_with("ng") ? "nvme" + own.substr(2) : std::string{};
}

std::optional<std::uint64_t> nvme_queue_number(dev_t character_device, const char* name) {
  const fs::path disk = nvme_disk(character_device);
  if (disk.empty()) return {};
  return number_in(disk / "queue" / name);
}

std::string nvme_controller_name(dev_t character_device) {
  constexpr std::string_view kPrefix = "nvme";
  for (const fs::path& part : node("char", character_device)) {
    std::string name = part;
    if (name.size() > kPrefix.size() && name.starts_with(kPrefix) &&
        name.find_first_not_of("0123456789", kPrefix.size()) == std::string::npos) {
      return name;
    }
  }
  return {};
}

//! Each kind of queue (default, read, poll) serves all CPUs, and those that are polled have the
//! highest numbers.
std::vector<unsigned> nvme_poll_queues(dev_t character_device) {
  const fs::path disk = nvme_disk(character_device);
  if (disk.empty()) return {};
  std::vector<std::vector<unsigned>> cpus_of_queue;
  for (;;) {
    auto cpus = numbers_in(disk / "mq" / std::to_string(cpus_of_queue.size()) / "cpu_list");
    if (!cpus) break;
    cpus_of_queue.push_back(std::move(*cpus));
  }
  std::set<unsigned> missing;
  for (const auto& cpus : cpus_of_queue) missing.insert(cpus.begin(), cpus.end());
  if (missing.empty()) return {};
  std::vector<unsigned> queue_of_cpu(*missing.rbegin() + 1);
  for (std::size_t queue = cpus_of_queue.size(); !missing.empty();) {
    --queue;
    for (const unsigned cpu : cpus_of_queue[queue])
      if (missing.erase(cpu) == 1) queue_of_cpu[cpu] = static_cast<unsigned>(queue);
  }
  return queue_of_cpu;
}

}  // namespace vmcache

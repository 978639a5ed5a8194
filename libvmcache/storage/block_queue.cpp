// SPDX-License-Identifier: MIT
#include "storage/block_queue.hpp"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <string>

namespace vmcache {
namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  std::uint64_t number = 0;
  if (!(in >> number)) return {};
  return number;
}

fs::path node(const char* kind, dev_t device) {
  std::error_code error;
  return fs::canonical(fmt::format("/sys/dev/{}/{}:{}", kind, major(device), minor(device)), error);
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
  // Both nodes have the same parent. Before 6.2 or so, the character device lies one folder deeper.
  const fs::path folder = node("char", character_device);
  const std::string block = nvme_block_name(character_device);
  if (block.empty()) return {};
  for (fs::path parent = folder.parent_path(); parent.has_relative_path(); parent = parent.parent_path()) {
    if (const auto number = number_in(parent / block / "queue" / name)) return number;
  }
  return {};
}

}  // namespace vmcache

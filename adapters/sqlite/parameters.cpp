// SPDX-License-Identifier: MIT
#include "parameters.hpp"

#include <charconv>
#include <stdexcept>
#include <string>
#include <string_view>

#include "api.hpp"

namespace vmcache::sqlite {
namespace {

[[noreturn]] void refuse(std::string_view key, std::string_view value, const std::string& allowed) {
  throw std::invalid_argument("URI parameter " + std::string(key) + "=" + std::string(value) +
                              ": allowed " + allowed);
}

std::uint64_t number(std::string_view key, std::string_view value, std::uint64_t max) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), n);
  const bool whole = error == std::errc() && end == value.data() + value.size();
  if (!whole || n < 1 || n > max) refuse(key, value, "are 1 to " + std::to_string(max));
  return n;
}

bool truth(std::string_view key, std::string_view value) {
  if (value == "0" || value == "1") return value == "1";
  refuse(key, value, "are 0 and 1");
}

MemoryKind memory(std::string_view key, std::string_view value) {
  if (value == "auto") return MemoryKind::kAuto;
  if (value == "anonymous") return MemoryKind::kAnonymous;
  if (value == "exmap") return MemoryKind::kExmap;
  refuse(key, value, "are auto, anonymous and exmap");
}

StorageKind storage(std::string_view key, std::string_view value) {
  if (value == "auto") return StorageKind::kAuto;
  if (value == "io_uring") return StorageKind::kIoUring;
  if (value == "pread") return StorageKind::kPread;
  refuse(key, value, "are auto, io_uring and pread");
}

}  // namespace

Parameters parameters_of(const char* name) {
  constexpr std::uint64_t kMaxGib = std::uint64_t{64} << 10;
  Parameters found;
  for (int i = 0;; ++i) {
    const char* const key_text = sqlite3_uri_key(name, i);
    if (key_text == nullptr) return found;
    const std::string_view key = key_text;
    if (!key.starts_with("pool_") && !key.starts_with("file_")) continue;
    const char* const text = sqlite3_uri_parameter(name, key_text);
    const std::string_view value = text != nullptr ? text : "";
    if (key == "pool_mib") {
      found.pool_mib = number(key, value, kMaxGib << 10);
    } else if (key == "pool_space_gib") {
      found.pool_space_gib = number(key, value, kMaxGib);
    } else if (key == "pool_memory") {
      found.pool_memory = memory(key, value);
    } else if (key == "pool_storage") {
      found.pool_storage = storage(key, value);
    } else if (key == "file_max_gib") {
      found.file_max_gib = number(key, value, kMaxGib);
    } else if (key == "file_direct_io") {
      found.file_direct_io = truth(key, value);
    } else {
      throw std::invalid_argument(
          "URI parameter " + std::string(key) +
          ": unknown; there are pool_mib, pool_space_gib, pool_memory, pool_storage, file_max_gib "
          "and file_direct_io");
    }
  }
}

}  // namespace vmcache::sqlite

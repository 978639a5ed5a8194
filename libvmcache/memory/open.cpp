// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <string>

#include "logger.hpp"
#include "memory/memory.hpp"

namespace vmcache {

std::unique_ptr<Memory> open_memory(MemoryKind kind, const MemoryConfig& config, Logger& logger) {
  if (kind == MemoryKind::kAnonymous) return open_anonymous_memory(config);
  if (kind == MemoryKind::kExmap) return open_exmap_memory(config);
  // No device is the ordinary case and needs no word; a device that cannot be used does.
  if (::access("/dev/exmap", F_OK) != 0) return open_anonymous_memory(config);
  try {
    return open_exmap_memory(config);
  } catch (const Error& error) {
    logger(LogLevel::kWarning,
           std::string("memory = auto: using anonymous memory, because ") + error.what());
    return open_anonymous_memory(config);
  }
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include "pool/storage_flush.hpp"

#include <fmt/format.h>

#include <cstring>
#include <new>

#include "vmcache/error.hpp"

namespace vmcache::detail {

void StorageFlush::flush() {
  const std::lock_guard lock(_mutex);
  refuse_if_failed("flush");
  _count.fetch_add(1, std::memory_order_relaxed);
  const int error = _flush();
  if (error == 0) return;
  try {
    _device_words = _last_failure();
  } catch (const std::bad_alloc&) {  // NOLINT: then without the device's words
  }
  _error.store(error, std::memory_order_release);
  _on_failure();
  throw Error(Status{Errc::kIo, error, kNoPage}, reason());
}

std::string StorageFlush::reason() const {
  const int failed = error();
  if (failed == 0) return {};
  return fmt::format(
      "flushing {} has failed{}{}, which is final: nothing later is durable, close and open again",
      _description(), _device_words.empty() ? "" : " ", _device_words);
}

void StorageFlush::refuse(const char* doing) const {
  throw Error(Status{Errc::kIo, error(), kNoPage},
              fmt::format("{}: refused, because {}", doing, reason()));
}

}  // namespace vmcache::detail

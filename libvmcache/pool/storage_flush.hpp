// SPDX-License-Identifier: MIT
//
// Flushes of a pool's storage, or of a file in it. A flush that fails is final (R14 in
// docs/recovery.md): the kernel or the device may have dropped what it could not write and may now
// call it clean, so a later flush that succeeds proves nothing, and a read may find an older
// version of a page.
//
// F1: a flush begins only after the one before it has ended and its failure, if any, is known.
//     Without that, one of two overlapping flushes takes the error, the other one returns 0, and
//     its caller believes what is lost.
// F2: the failure is published before the caller of the failed flush is told. Whoever begins a
//     flush, admits a fault or completes a read after that sees it and refuses.
// F3: the first failure stays. Nothing resets it but opening the database again.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

namespace vmcache::detail {

//! Thread-safe.
class StorageFlush {
 public:
  //! `on_failure` is called once, when a flush has failed and before its caller is told.
  //! `target` is what is flushed: a Storage or a Device.
  template <typename Target>
  StorageFlush(Target& target, std::function<void()> on_failure)
      : _flush([&target] { return target.flush(); }),
        _last_failure([&target] { return target.last_failure(); }),
        _description([&target] { return target.description(); }),
        _on_failure(std::move(on_failure)) {}

  //! Makes durable what was written. Throws Error kIo: the flush has failed, or an earlier one had.
  void flush();

  //! 0, or the errno of the flush that has failed.
  [[nodiscard]] int error() const noexcept { return _error.load(std::memory_order_acquire); }
  //! Throws Error kIo with the reason, "`doing`: ...", if a flush has failed.
  void refuse_if_failed(const char* doing) const {
    if (error() != 0) [[unlikely]]
      refuse(doing);
  }
  //! What has failed, in words. Empty if nothing has.
  [[nodiscard]] std::string reason() const;
  //! Flushes so far, failed ones included.
  [[nodiscard]] std::uint64_t count() const noexcept {
    return _count.load(std::memory_order_relaxed);
  }

 private:
  [[noreturn]] void refuse(const char* doing) const;

  const std::function<int()> _flush;
  const std::function<std::string()> _last_failure;
  const std::function<std::string()> _description;
  const std::function<void()> _on_failure;
  mutable std::mutex _mutex;  // F1
  std::string _device_words;  // of the failed flush; not changed after _error is set
  std::atomic<int> _error{0};
  std::atomic<std::uint64_t> _count{0};
};

}  // namespace vmcache::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "logger.hpp"
#include "storage/open.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::test {

//! Passes everything on to another storage, but for what only some can do (registered memory,
//! deallocate). Tests override what they are about.
class WrappedStorage : public Storage {
 public:
  explicit WrappedStorage(std::unique_ptr<Storage> inner) : _inner(std::move(inner)) {}
  [[nodiscard]] std::uint64_t size_bytes() const override { return _inner->size_bytes(); }
  [[nodiscard]] bool can_grow() const noexcept override { return _inner->can_grow(); }
  [[nodiscard]] bool blank() override { return _inner->blank(); }
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer) override {
    return _inner->make_queue(depth, single_issuer);
  }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    return _inner->read(offset, bytes);
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    return _inner->write(offset, bytes);
  }
  [[nodiscard]] int flush() override { return _inner->flush(); }
  [[nodiscard]] int resize(std::uint64_t bytes) override { return _inner->resize(bytes); }
  void keep() noexcept override { _inner->keep(); }
  [[nodiscard]] std::string description() const override {
    return "wrapped " + _inner->description();
  }

 protected:
  [[nodiscard]] Storage& inner() const noexcept { return *_inner; }

 private:
  const std::unique_ptr<Storage> _inner;
};

//! Makes pools opened with `options` use their file through a `Wrapper` made of it and `seen`,
//! which must outlive them.
template <typename Wrapper, typename Seen>
void wrap_storage(PoolOptions& options, Seen& seen) {
  options.make_storage = [plain = options, &seen]() -> std::unique_ptr<Storage> {
    Logger silent({});
    return std::make_unique<Wrapper>(open_storage(plain, silent), seen);
  };
}

}  // namespace vmcache::test

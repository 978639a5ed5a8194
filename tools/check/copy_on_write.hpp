// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache::check {

//! Another storage as it is, until it is written to: what is written stays in memory. So a recovery
//! can be tried without touching anything.
class CopyOnWriteStorage final : public Storage {
 public:
  //! `below` must outlive it, and is only read.
  explicit CopyOnWriteStorage(Storage& below) : _below(below), _bytes(below.size_bytes()) {}

  [[nodiscard]] std::uint64_t size_bytes() const override;
  [[nodiscard]] bool can_grow() const noexcept override { return true; }
  [[nodiscard]] bool blank() override {
    return _bytes == 0 || (_written.empty() && _below.blank());
  }
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer) override;
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override;
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override;
  [[nodiscard]] int flush() override { return 0; }
  [[nodiscard]] int resize(std::uint64_t bytes) override;
  [[nodiscard]] std::string description() const override {
    return _below.description() + ", tried in memory";
  }

 private:
  using Page = std::array<std::byte, kPageSize>;

  Storage& _below;
  mutable std::mutex _mutex;
  std::uint64_t _bytes;
  std::unordered_map<std::uint64_t, std::unique_ptr<Page>> _written;
};

//! The same storage once more, for who wants to own one.
class BorrowedStorage : public Storage {
 public:
  explicit BorrowedStorage(Storage& lender) noexcept : _lender(lender) {}

  [[nodiscard]] std::uint64_t size_bytes() const override { return _lender.size_bytes(); }
  [[nodiscard]] bool can_grow() const noexcept override { return _lender.can_grow(); }
  [[nodiscard]] bool blank() override { return _lender.blank(); }
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer) override {
    return _lender.make_queue(depth, single_issuer);
  }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    return _lender.read(offset, bytes);
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    return _lender.write(offset, bytes);
  }
  [[nodiscard]] int flush() override { return _lender.flush(); }
  [[nodiscard]] int resize(std::uint64_t bytes) override { return _lender.resize(bytes); }
  void keep() noexcept override { _lender.keep(); }
  [[nodiscard]] std::string last_failure() const override { return _lender.last_failure(); }
  [[nodiscard]] std::string description() const override { return _lender.description(); }

 private:
  Storage& _lender;
};

}  // namespace vmcache::check

// SPDX-License-Identifier: MIT
//
// For tests of files in a pool: pools for them, their bytes, and calls that fail or wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmcache::test {

inline constexpr std::uint64_t kRange = PoolOptions::kFileRangeBytes;

//! A pool without a database.
[[nodiscard]] PoolOptions files_only(std::uint64_t pages = 64, std::uint64_t ranges = 8);

[[nodiscard]] std::string read_all(const std::filesystem::path& path);
void write_all(const std::filesystem::path& path, const std::string& bytes);
//! Letters, other ones for each seed.
[[nodiscard]] std::string pattern(std::size_t bytes, unsigned seed);

//! Copies bytes into the file's pages, as an embedder does.
void put(BufferPool& pool, const File& file, std::uint64_t offset, const std::string& bytes);
[[nodiscard]] std::string get(BufferPool& pool, const File& file, std::uint64_t offset,
                              std::size_t bytes);

//! The next fdatasync() of the file fails.
void fail_next_sync(const std::filesystem::path& path);

//! While it lives, the library's pwrite() to the file waits.
class Stuck {
 public:
  explicit Stuck(const TempFile& file);
  ~Stuck() { let_go(); }
  Stuck(const Stuck&) = delete;
  Stuck& operator=(const Stuck&) = delete;
  //! Until a write waits.
  static void wait();
  static void let_go();
};

//! While it lives, the library's fdatasync() of the file waits.
class StuckSync {
 public:
  explicit StuckSync(const TempFile& file);
  ~StuckSync() { let_go(); }
  StuckSync(const StuckSync&) = delete;
  StuckSync& operator=(const StuckSync&) = delete;
  //! Whether a call waits.
  [[nodiscard]] static bool waits();
  static void let_go();
};

}  // namespace vmcache::test

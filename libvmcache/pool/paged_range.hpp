// SPDX-License-Identifier: MIT
//
// The inside of a PagedFile: a database (paged_store.hpp) in a file that was opened into a pool.
// Transfers of its pages are those of the file (raw_file.hpp). This layer keeps page 0, the list of
// free pages and the file's length, by calls of its own that no engine makes.
#pragma once

#include <memory>
#include <optional>

#include "pool/paged_store.hpp"
#include "pool/raw_file.hpp"
#include "vmcache/options.hpp"
#include "vmcache/paged_file.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::detail {

class VMCACHE_LOCAL PagedRange final : public RawFile {
 public:
  //! Throws Error: what opening a database throws, and kDatabaseFull (no range is left).
  [[nodiscard]] static std::shared_ptr<PagedRange> open(PoolCore& core,
                                                        const PagedFileOptions& options);

 private:
  //! The file to who reads and writes what is no page of the pool's.
  class Bytes final : public Storage {
   public:
    explicit Bytes(PagedRange& file) noexcept : _file(file) {}
    [[nodiscard]] std::uint64_t size_bytes() const override;
    [[nodiscard]] bool can_grow() const noexcept override { return true; }
    [[nodiscard]] bool blank() override;
    //! Engines have queues that serve all files.
    [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer) override;
    [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override;
    [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override;
    [[nodiscard]] int flush() override;
    [[nodiscard]] int resize(std::uint64_t bytes) override;
    [[nodiscard]] std::string last_failure() const override;
    [[nodiscard]] std::string description() const override;

   private:
    PagedRange& _file;
  };

  PagedRange(PoolCore& core, const PagedFileOptions& options, const PoolOptions& database);
  void begin_layer() override;
  void end_layer() override;

  const PoolOptions _options;  // as if it were a pool's own database
  Bytes _bytes{*this};
  std::optional<PagedStore> _store;
};

}  // namespace vmcache::detail

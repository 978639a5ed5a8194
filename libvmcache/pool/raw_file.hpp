// SPDX-License-Identifier: MIT
//
// The inside of a File. The invariants D1 to D3 are those of file_set.hpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "file_descriptor.hpp"
#include "memory/reservation.hpp"
#include "pool/storage_flush.hpp"
#include "storage/device.hpp"
#include "storage/file_target.hpp"
#include "vmcache/error.hpp"
#include "vmcache/file.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

class PagedStore;
class PoolCore;

//! Thread-safe, but for what File says. A PagedRange (paged_range.hpp) is one with a layer on it.
class VMCACHE_LOCAL RawFile {
 public:
  //! Opens the file and gives it a range. Throws Error: kInvalidOption, kInUse, kIo, kUnsupported,
  //! kDatabaseFull.
  [[nodiscard]] static std::shared_ptr<RawFile> open(PoolCore& core, const FileOptions& options);
  //! A file without a name. The same errors.
  [[nodiscard]] static std::shared_ptr<RawFile> open_temporary(PoolCore& core,
                                                               const TemporaryOptions& options);

  [[nodiscard]] bool is_in(const PoolCore& core) const noexcept { return &_core == &core; }
  virtual ~RawFile() = default;
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;

  //! What is known of its pages if it is paged, or null.
  [[nodiscard]] PagedStore* paged() const noexcept { return _paged; }
  //! The status as the file's user is told it: one of a paged file counts its own pages.
  [[nodiscard]] Status told(Status status) const noexcept;

  [[nodiscard]] const FileTarget& target() const noexcept { return _target; }
  [[nodiscard]] const StorageFlush& flush() const noexcept { return _flush; }
  [[nodiscard]] const std::string& path() const noexcept { return _path; }
  //! Of a page of this file.
  [[nodiscard]] std::uint64_t offset_of(PageId page_id) const noexcept {
    return (page_id - _first) * kPageSize;
  }

  [[nodiscard]] bool read_only() const noexcept { return _read_only; }
  [[nodiscard]] const PageFormat* format() const noexcept { return _format; }
  [[nodiscard]] WriteAhead* write_ahead() const noexcept { return _log; }
  //! Of the log, if it has one.
  [[nodiscard]] Lsn durable_lsn() const noexcept {
    return _log != nullptr ? _log->durable_lsn() : 0;
  }
  //! Storage has all changes of the page from before this position. The caller holds the page.
  void in_storage(PageId page_id, Lsn lsn) noexcept {
    if (_log == nullptr && !_temporary) return;
    _in_storage[page_id - _first].store(_temporary ? kThere : lsn, std::memory_order_release);
  }
  //! Whether the extent has never been written, and is zeros. The caller holds it.
  [[nodiscard]] bool is_new(Extent extent) const noexcept;
  //! Makes zeros of those of its pages that were never written. The caller holds it, and has read
  //! it to `data`.
  void clear_new(Extent extent, std::byte* data) const noexcept;

  //! \name What File does
  //! @{
  [[nodiscard]] bool is_open() const noexcept { return _open.load(std::memory_order_acquire); }
  [[nodiscard]] PageId page_id(std::uint64_t n) const;
  [[nodiscard]] std::uint64_t size_bytes() const;
  [[nodiscard]] std::uint64_t capacity_bytes() const;
  void resize(std::uint64_t bytes);
  void sync();
  void write_back_only();
  void write_back_only(std::span<const std::uint64_t> pages);
  void flush_written();
  void drop(std::uint64_t first, std::uint64_t count);
  void discard(std::uint64_t first, std::uint64_t count);
  [[nodiscard]] std::vector<DirtyPage> dirty_pages() const;
  void close();
  void remove();
  //! What the destructor of File does.
  void close_or_complain() noexcept;
  //! @}

  //! \name For tasks that wait in a write-back (worker_write_back.cpp)
  //! @{
  //! Keeps the file open: close() and remove() are kBusy.
  class Use {
   public:
    //! Throws Error kClosed.
    Use(std::shared_ptr<RawFile> file, const char* doing) : _file(std::move(file)) {
      _file->require_usable(doing);
      _file->_uses.fetch_add(1, std::memory_order_relaxed);
    }
    Use(Use&&) noexcept = default;
    Use& operator=(Use&&) = delete;
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      if (_file) _file->_uses.fetch_sub(1, std::memory_order_relaxed);
    }
    [[nodiscard]] RawFile* get() const noexcept { return _file.get(); }
    [[nodiscard]] RawFile* operator->() const noexcept { return _file.get(); }

   private:
    std::shared_ptr<RawFile> _file;
  };
  //! For calls that write back: the file's length is right, and no flush has failed. Waits if it
  //! is_too_long(). Throws Error.
  void prepare_write_back(const char* doing);
  [[nodiscard]] bool is_too_long() const noexcept {
    return _too_long.load(std::memory_order_acquire);
  }
  //! What sync() has to write back now.
  [[nodiscard]] std::vector<Extent> dirty() const;
  //! What these pages are in. Throws Error kInvalidPage.
  [[nodiscard]] std::vector<Extent> extents_of(std::span<const std::uint64_t> pages) const;
  //! @}

  //! Of a paged file: how many pages its BufferPool object may fix. Becomes 0 when the file is
  //! closed, by whomever, so that the object does not see the next file in the range (T1).
  void set_user(std::uint64_t* fixable_pages) noexcept { _user = fixable_pages; }
  //! The pool goes, and with it all that the file is of use for.
  void abandon() noexcept { _open.store(false, std::memory_order_release); }

 protected:
  RawFile(PoolCore& core, const FileOptions& options, bool temporary);
  //! Throws Error kInvalidOption if the pool has no address space for such a file.
  static void check_room(const PoolOptions& pool, std::uint64_t capacity_bytes, const char* doing);
  //! Takes a range and opens.
  void begin(const std::shared_ptr<RawFile>& self);

  //! \name What a layer does
  //! @{
  //! The file has a range, in which no page can be fixed yet. May write, and change the length.
  //! Throws Error: the file is then closed.
  virtual void begin_layer() {}
  //! All pages are in the file, none is in memory, and none can be fixed. Makes all durable. Throws
  //! Error: the file then stays open, unless a flush has failed.
  virtual void end_layer() { _flush.flush(); }
  //! Makes the file longer, or before and after the pages' time also shorter. Returns 0 or an
  //! errno. One thread at a time.
  [[nodiscard]] int set_length(std::uint64_t bytes);
  //! @}

  [[nodiscard]] Device& device() const noexcept { return *_device; }
  [[nodiscard]] StorageFlush& storage_flush() noexcept { return _flush; }
  [[nodiscard]] PoolCore& core() const noexcept { return _core; }
  [[nodiscard]] PageId first() const noexcept { return _first; }
  [[nodiscard]] std::uint64_t capacity_pages() const noexcept { return _pages; }
  void set_paged(PagedStore& store) noexcept { _paged = &store; }

 private:
  static constexpr Lsn kThere = 1;

  [[nodiscard]] bool is_there(PageId page_id) const noexcept {
    return _in_storage[page_id - _first].load(std::memory_order_acquire) == kThere;
  }
  void require_named(const char* doing) const;
  void require_writable(const char* doing) const;
  void require_usable(const char* doing) const;
  void require_pages(std::uint64_t first, std::uint64_t count, const char* doing) const;
  void write_back();
  void grow(std::uint64_t bytes);
  void shrink(std::uint64_t bytes);
  void set_size(std::uint64_t bytes) noexcept;
  void expect_size(std::uint64_t bytes) const noexcept;
  void set_end(PageId end) noexcept;
  void require_whole_pages(std::uint64_t bytes, const char* doing) const;
  void settle_size();
  void require_unused(const char* doing) const;
  [[nodiscard]] PageId end_page(std::uint64_t bytes) const noexcept {
    return _first + (bytes + kPageSize - 1) / kPageSize;
  }
  void clear_tail(std::uint64_t bytes);
  //! Lets go of the range, the lock and the descriptors. No page is in memory.
  void finish() noexcept;

  PoolCore& _core;
  PagedStore* _paged = nullptr;
  std::uint64_t* _user = nullptr;
  const bool _temporary;
  const bool _read_only;
  const std::uint64_t _capacity_bytes;
  const std::uint64_t _pages;  // of _capacity_bytes
  const std::string _path;
  std::unique_ptr<Device> _device;
  FileDescriptor _buffered;
  FileTarget _target;
  StorageFlush _flush;
  const PageFormat* const _format;
  WriteAhead* const _log;
  const Reservation _lsn_memory;
  // By page, with a log: LSNs. Of a temporary file: kThere if the page was ever written.
  std::atomic<Lsn>* const _in_storage;
  PageId _first = kNoPage;
  std::mutex _mutex;                   // one change of the size, close or removal at a time
  std::atomic<bool> _too_long{false};  // the file is longer than _target.bytes: settle_size()
  std::atomic<bool> _open{false};
  std::atomic<unsigned> _uses{0};
};

}  // namespace vmcache::detail

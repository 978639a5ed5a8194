// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "pool/engine.hpp"
#include "pool/page_buffer.hpp"
#include "pool/page_checksum.hpp"
#include "vmcache/bytes.hpp"
#include "vmcache/error.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

//! Writes pages to a storage, many at a time. Neighbouring pages go out in one write. One thread's.
class ImageWriter {
 public:
  //! Throws Error, std::bad_alloc.
  explicit ImageWriter(Storage& storage)
      : _storage(storage),
        _queue(storage.make_queue(kDepth, true)),
        _pages(std::make_unique_for_overwrite<PageBuffer[]>(kDepth * kRunPages)) {
    for (std::size_t i = 0; i < kDepth; ++i) {
      _runs[i].op = IoRequest::Op::kWrite;
      _runs[i].data = _pages[i * kRunPages].bytes.data();
      _free[i] = &_runs[i];
    }
  }
  ~ImageWriter() { drain(); }
  ImageWriter(const ImageWriter&) = delete;
  ImageWriter& operator=(const ImageWriter&) = delete;

  //! Takes the image of a page, and gives its copy that LSN and a checksum. Call it in the order of
  //! page ids, so that neighbours are written together.
  void add(PageId page_id, std::span<const std::byte, kPageSize> image, Lsn lsn) {
    const std::uint64_t offset = page_id * kPageSize;
    if (_run != nullptr &&
        (_run->offset + _run->bytes != offset || _run->bytes == kRunPages * kPageSize))
      submit();
    if (_run == nullptr) begin(offset);
    std::byte* const page = _run->data + _run->bytes;
    std::ranges::copy(image, page);
    set_lsn(page, lsn);
    set_checksum({page_id, 0}, page);
    _run->bytes += kPageSize;
  }
  //! Waits until all is written. Throws Error kIo, with the first page of the first write that
  //! failed.
  void finish() {
    if (_run != nullptr) submit();
    drain();
    if (!_first_error.ok()) throw Error(_first_error, "recovering " + _storage.description());
  }

 private:
  static constexpr unsigned kDepth = 16;
  static constexpr std::size_t kRunPages = detail::kRunPages;

  void begin(std::uint64_t offset) {
    while (_free_count == 0) reap();
    _run = _free[--_free_count];
    _run->offset = offset;
    _run->bytes = 0;
    _run->error = 0;
    _run->device_status = 0;
  }
  void submit() {
    _queue->submit({&_run, 1});
    _run = nullptr;
  }
  void drain() noexcept {
    while (_queue->in_flight() > 0) reap();
  }
  void reap() noexcept {
    constexpr std::uint64_t kPatienceNs = 1'000'000'000;  // then it asks again
    std::array<IoRequest*, kDepth> ended;
    const std::size_t n = _queue->reap(ended, 1, kPatienceNs);
    for (IoRequest* run : std::span(ended).first(n)) {
      if (run->error != 0 && _first_error.ok())
        _first_error = {Errc::kIo, run->error, run->offset / kPageSize, run->device_status};
      _free[_free_count++] = run;
    }
  }

  Storage& _storage;
  const std::unique_ptr<IoQueue> _queue;
  const std::unique_ptr<PageBuffer[]> _pages;
  std::array<IoRequest, kDepth> _runs;
  std::array<IoRequest*, kDepth> _free;
  std::size_t _free_count = kDepth;
  IoRequest* _run = nullptr;  // being filled
  Status _first_error;
};

//! Takes pages in any order and writes them in the order of page ids, a few megabytes at a time.
class ImageBatch {
 public:
  //! Throws Error, std::bad_alloc.
  explicit ImageBatch(Storage& storage)
      : _writer(storage), _bytes(std::make_unique_for_overwrite<PageBuffer[]>(kPages)) {}

  //! `image` is a page's bytes. Its copy gets that LSN and a checksum.
  void add(PageId page_id, Bytes image, Lsn lsn) {
    if (_count == kPages) write();
    std::memcpy(_bytes[_count].bytes.data(), image.data(), kPageSize);
    _pages[_count] = {page_id, lsn, _count};
    ++_count;
  }
  //! Waits until all is written. Throws Error kIo.
  void finish() {
    write();
    _writer.finish();
  }

 private:
  static constexpr std::size_t kPages = 1024;
  struct Page {
    PageId page_id = kNoPage;
    Lsn lsn = 0;
    std::size_t at = 0;
  };

  void write() {
    const std::span<Page> pages = std::span(_pages).first(_count);
    std::ranges::sort(pages, {}, &Page::page_id);
    for (const Page& page : pages) _writer.add(page.page_id, _bytes[page.at].bytes, page.lsn);
    _count = 0;
  }

  ImageWriter _writer;
  const std::unique_ptr<PageBuffer[]> _bytes;
  std::array<Page, kPages> _pages;
  std::size_t _count = 0;
};

}  // namespace vmcache

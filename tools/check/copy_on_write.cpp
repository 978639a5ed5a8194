// SPDX-License-Identifier: MIT
#include "copy_on_write.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace vmcache::check {
namespace {

//! Does each transfer when it is submitted.
class DirectQueue final : public IoQueue {
 public:
  DirectQueue(Storage& storage, unsigned depth) : _storage(storage), _depth(depth) {}
  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return static_cast<unsigned>(_finished.size());
  }
  void submit(std::span<IoRequest* const> requests) override {
    for (IoRequest* request : requests) {
      request->error = request->op == IoRequest::Op::kRead
                           ? _storage.read(request->offset, {request->data, request->bytes})
                           : _storage.write(request->offset, {request->data, request->bytes});
      _finished.push_back(request);
    }
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned, std::uint64_t) override {
    const std::size_t n = std::min(completed.size(), _finished.size());
    std::copy_n(_finished.begin(), n, completed.begin());
    _finished.erase(_finished.begin(), _finished.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
  }

 private:
  Storage& _storage;
  const unsigned _depth;
  std::vector<IoRequest*> _finished;
};

}  // namespace

std::uint64_t CopyOnWriteStorage::size_bytes() const {
  const std::lock_guard lock(_mutex);
  return _bytes;
}

std::unique_ptr<IoQueue> CopyOnWriteStorage::make_queue(unsigned depth, bool) {
  return std::make_unique<DirectQueue>(*this, depth);
}

int CopyOnWriteStorage::read(std::uint64_t offset, std::span<std::byte> bytes) {
  const std::lock_guard lock(_mutex);
  if (offset + bytes.size() > _bytes) return ENODATA;
  const std::uint64_t below = std::min(_below.size_bytes(), _bytes) / kPageSize * kPageSize;
  const std::size_t there =
      offset < below ? std::min<std::uint64_t>(bytes.size(), below - offset) : 0;
  if (there > 0) {
    if (const int error = _below.read(offset, bytes.first(there)); error != 0) return error;
  }
  std::ranges::fill(bytes.subspan(there), std::byte{0});
  for (std::size_t done = 0; done < bytes.size() && !_written.empty(); done += kPageSize) {
    const auto page = _written.find((offset + done) / kPageSize);
    if (page != _written.end()) std::memcpy(bytes.data() + done, page->second->data(), kPageSize);
  }
  return 0;
}

int CopyOnWriteStorage::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::lock_guard lock(_mutex);
  _bytes = std::max(_bytes, offset + bytes.size());
  for (std::size_t done = 0; done < bytes.size(); done += kPageSize) {
    std::unique_ptr<Page>& page = _written[(offset + done) / kPageSize];
    if (!page) page = std::make_unique<Page>();
    std::memcpy(page->data(), bytes.data() + done, kPageSize);
  }
  return 0;
}

int CopyOnWriteStorage::resize(std::uint64_t bytes) {
  const std::lock_guard lock(_mutex);
  _bytes = bytes;
  return 0;
}

}  // namespace vmcache::check

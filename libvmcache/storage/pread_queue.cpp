// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "storage/file_target.hpp"
#include "storage/queues.hpp"

namespace vmcache {
namespace {

//! Makes reads when they are submitted. Makes writes when the caller asks for completions and there
//! are none. So no read waits for the writes of victims.
class PreadQueue final : public IoQueue {
 public:
  PreadQueue(const Targets& targets, unsigned depth) : _targets(targets), _depth(depth) {
    _finished.reserve(depth);
    _writes.reserve(depth);
  }

  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] bool serves_files() const noexcept override { return true; }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return static_cast<unsigned>(_finished.size() + _writes.size());
  }

  void submit(std::span<IoRequest* const> requests) override {
    for (IoRequest* request : requests) {
      request->done_bytes = 0;
      if (request->op == IoRequest::Op::kRead) {
        perform(*request);
      } else {
        _writes.push_back(request);
      }
    }
  }

  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for, std::uint64_t) override {
    if (_finished.empty()) write(std::max(wait_for, 1U));
    const std::size_t n = std::min(completed.size(), _finished.size());
    std::copy_n(_finished.begin(), n, completed.begin());
    _finished.erase(_finished.begin(), _finished.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
  }

 private:
  //! The first `count` of those that wait.
  void write(std::size_t count) {
    count = std::min(count, _writes.size());
    for (std::size_t n = 0; n < count; ++n) perform(*_writes[n]);
    _writes.erase(_writes.begin(), _writes.begin() + static_cast<std::ptrdiff_t>(count));
  }

  void perform(IoRequest& request) {
    while (request.error == 0 && request.done_bytes < request.bytes) {
      request.file != nullptr ? transfer_of_file(request) : transfer(request);
    }
    _finished.push_back(&request);
  }

  //! The next piece, or a part of it.
  void transfer(IoRequest& request) const noexcept {
    const bool read = request.op == IoRequest::Op::kRead;
    const Piece piece = _targets.layout.piece(request.offset + request.done_bytes,
                                              request.bytes - request.done_bytes);
    std::byte* data = request.data + request.done_bytes;
    const int fd = _targets.fds[piece.device];
    const auto offset = static_cast<off_t>(piece.offset);
    const ssize_t n =
        read ? ::pread(fd, data, piece.bytes, offset) : ::pwrite(fd, data, piece.bytes, offset);
    account(request, n);
  }

  static void account(IoRequest& request, ssize_t n) noexcept {
    if (n > 0) {
      request.done_bytes += static_cast<std::uint32_t>(n);
    } else if (n == 0) {
      // Past the end; no progress.
      request.error = request.op == IoRequest::Op::kRead ? ENODATA : EIO;
    } else if (errno != EINTR && errno != EAGAIN) {
      request.error = errno;
    }
  }

  static void transfer_of_file(IoRequest& request) noexcept {
    const bool read = request.op == IoRequest::Op::kRead;
    const std::uint64_t at = request.offset + request.done_bytes;
    const std::uint64_t left = request.bytes - request.done_bytes;
    const FileRun run = file_run(*request.file, request.op, at, left);
    std::byte* data = request.data + request.done_bytes;
    if (run.bytes == 0) {
      request.done_bytes = request.bytes;
      return;
    }
    const auto offset = static_cast<off_t>(at);
    const ssize_t n =
        read ? ::pread(run.fd, data, run.bytes, offset) : ::pwrite(run.fd, data, run.bytes, offset);
    const auto got = static_cast<std::uint64_t>(std::max<ssize_t>(n, 0));
    if (n < 0 || got == run.bytes || !read) return account(request, n);
    switch (short_read(*request.file, run.end, at, got)) {
      case ShortRead::kWhole:
        std::memset(data + got, 0, left - got);
        request.done_bytes = request.bytes;
        break;
      case ShortRead::kMore:
        request.done_bytes += static_cast<std::uint32_t>(got);
        break;
      case ShortRead::kPastEnd:
        request.error = ENODATA;
    }
  }

  const Targets& _targets;
  unsigned _depth;
  std::vector<IoRequest*> _finished;
  std::vector<IoRequest*> _writes;  // submitted, not begun
};

}  // namespace

std::unique_ptr<IoQueue> make_pread_queue(const Targets& targets, unsigned depth) {
  return std::make_unique<PreadQueue>(targets, depth);
}

}  // namespace vmcache

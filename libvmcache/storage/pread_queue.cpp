// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

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
    while (request.error == 0 && request.done_bytes < request.bytes) transfer(request);
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
    if (n > 0) {
      request.done_bytes += static_cast<std::uint32_t>(n);
    } else if (n == 0) {
      request.error = read ? ENODATA : EIO;  // past the end; no progress
    } else if (errno != EINTR && errno != EAGAIN) {
      request.error = errno;
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

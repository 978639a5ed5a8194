// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cerrno>
#include <vector>

#include "storage/file_size_limit.hpp"
#include "storage/file_target.hpp"
#include "storage/queues.hpp"

namespace vmcache {
namespace {

class LimitedQueue final : public IoQueue {
 public:
  LimitedQueue(const Layout& layout, std::unique_ptr<IoQueue> queue)
      : _layout(layout), _queue(std::move(queue)) {
    _refused.reserve(_queue->depth());
    _allowed.reserve(_queue->depth());
  }
  [[nodiscard]] unsigned depth() const noexcept override { return _queue->depth(); }
  [[nodiscard]] bool polled() const noexcept override { return _queue->polled(); }
  [[nodiscard]] bool serves_files() const noexcept override { return _queue->serves_files(); }
  [[nodiscard]] bool announce(int event_fd) noexcept override { return _queue->announce(event_fd); }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return _queue->in_flight() + static_cast<unsigned>(_refused.size());
  }

  void submit(std::span<IoRequest* const> requests) override {
    _allowed.clear();
    const std::uint64_t limit = file_size_limit();
    for (IoRequest* request : requests) {
      if (request->op == IoRequest::Op::kWrite && passes(*request, limit)) {
        request->error = EFBIG;
        _refused.push_back(request);
      } else {
        _allowed.push_back(request);
      }
    }
    _queue->submit(_allowed);
  }

  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for,
                   std::uint64_t timeout_ns) override {
    std::size_t n = 0;
    while (n < completed.size() && !_refused.empty()) {
      completed[n++] = _refused.back();
      _refused.pop_back();
    }
    return n + _queue->reap(completed.subspan(n), n > 0 ? 0 : wait_for, n > 0 ? 0 : timeout_ns);
  }
  [[nodiscard]] std::uint64_t take_empty_poll_ns() noexcept override {
    return _queue->take_empty_poll_ns();
  }

 private:
  [[nodiscard]] bool passes(const IoRequest& request, std::uint64_t limit) const {
    if (request.file != nullptr) {
      const FileRun run = file_run(*request.file, request.op, request.offset, request.bytes);
      return request.offset + run.bytes > limit;
    }
    bool passes = false;
    _layout.for_each_piece(request.offset, request.bytes, [&](const Piece& piece) {
      passes = passes || piece.offset + piece.bytes > limit;
    });
    return passes;
  }

  const Layout _layout;
  std::unique_ptr<IoQueue> _queue;
  std::vector<IoRequest*> _refused;
  std::vector<IoRequest*> _allowed;
};

}  // namespace

std::unique_ptr<IoQueue> limit_file_size(const Layout& layout, std::unique_ptr<IoQueue> queue) {
  return std::make_unique<LimitedQueue>(layout, std::move(queue));
}

}  // namespace vmcache

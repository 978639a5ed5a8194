// SPDX-License-Identifier: MIT
#include "pool/io_channel.hpp"

#include <algorithm>
#include <utility>

#include "pool/pool_core.hpp"

namespace vmcache::detail {

void IoChannel::open(bool single_issuer) {
  _queue.reset();
  // One place at least for a read beside a write (E5).
  auto queue = _base.core.make_queue(std::max(_base.core.options.io_depth, 2U), single_issuer);
  _completed.resize(queue->depth());
  _prepared.reserve(queue->depth());
  _queue = std::move(queue);
  _single_issuer = single_issuer;
}

void IoChannel::submit_prepared() noexcept {
  _queue->submit(_prepared);
  _base.counters.submissions.add(1);
  _prepared.clear();
}

std::span<IoRequest* const> IoChannel::reap(unsigned wait_for, std::uint64_t timeout_ns) noexcept {
  const std::size_t n = _queue->reap(_completed, wait_for, timeout_ns);
  _base.counters.empty_poll_ns.add(_queue->take_empty_poll_ns());
  return std::span(_completed).first(n);
}

}  // namespace vmcache::detail

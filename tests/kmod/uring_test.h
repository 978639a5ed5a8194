// SPDX-License-Identifier: MIT
// io_uring for the exmap tests: a uring_cmd with an exmap's operation, and a completion that cannot
// be waited for in vain.
#pragma once

#include <liburing.h>

#include "exmap_test.h"

namespace exmap_test {

inline constexpr double kCompletionSeconds = 60;

struct Completion {
  int result;
  std::uint64_t user_data;
};

//! The next completion. A polled ring, or one with a worker at it, may come back early without one:
//! then once more.
inline Completion reap_one(io_uring& ring) {
  const double start = seconds_now();
  io_uring_cqe* completion = nullptr;
  __kernel_timespec limit{1, 0};
  while (io_uring_wait_cqe_timeout(&ring, &completion, &limit) != 0 || !completion)
    CHECK(seconds_now() - start < kCompletionSeconds, "a request does not complete");
  const Completion reaped{completion->res, completion->user_data};
  io_uring_cqe_seen(&ring, completion);
  return reaped;
}

//! Puts a uring_cmd for `operation` (EXMAP_OP_OFFSET) into the submission queue.
inline io_uring_sqe* prepare_command(io_uring& ring, int fd, std::uint32_t operation, void* address,
                                     std::size_t bytes) {
  io_uring_sqe* const request = io_uring_get_sqe(&ring);
  CHECK(request, "the submission queue is full");
  io_uring_prep_rw(IORING_OP_URING_CMD, request, fd, nullptr, 0, 0);
  request->cmd_op = operation;
  const exmap_uring_cmd command{{address, bytes}};
  std::memcpy(request->cmd, &command, sizeof command);
  return request;
}

}  // namespace exmap_test

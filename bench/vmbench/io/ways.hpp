// SPDX-License-Identifier: MIT
#pragma once

#include <memory>

#include "io/lane.hpp"

namespace vmbench {

//! An interface to storage, as one thread uses it.
class IoWay {
 public:
  IoWay() = default;
  virtual ~IoWay() = default;
  IoWay(const IoWay&) = delete;
  IoWay& operator=(const IoWay&) = delete;

  //! Transfers until lane.more() ends and all have completed. Throws RungMissing or WrongData.
  virtual void run() = 0;
};

//! What a ring is asked for beyond the plain one; see io_uring_setup(2) and io_uring_register(2).
struct RingOptions {
  bool files = false;        //!< registered files and ring
  bool buffers = false;      //!< registered buffers
  bool deferred = false;     //!< IORING_SETUP_SINGLE_ISSUER | DEFER_TASKRUN
  bool polled = false;       //!< IORING_SETUP_IOPOLL
  bool sqpoll = false;       //!< IORING_SETUP_SQPOLL
  bool passthrough = false;  //!< NVMe commands through IORING_OP_URING_CMD
};

//! Blocking pread or pwrite. `direct`: O_DIRECT.
[[nodiscard]] std::unique_ptr<IoWay> make_pread_way(IoLane& lane, bool direct);
//! Copies between the mapped file and a buffer.
[[nodiscard]] std::unique_ptr<IoWay> make_mmap_way(IoLane& lane);
//! O_DIRECT through an io_uring of the calling thread. Throws RungMissing with the option that was
//! refused.
[[nodiscard]] std::unique_ptr<IoWay> make_ring_way(IoLane& lane, const RingOptions& options);

//! vmcache's Storage and IoQueue, O_DIRECT, all that io_uring has switched on but polling, which
//! `options` tells, and passthrough, too. Throws RungMissing with the library's error.
[[nodiscard]] std::unique_ptr<IoWay> make_library_way(IoLane& lane, const RingOptions& options);
//! No transfer: the bench's own work.
[[nodiscard]] std::unique_ptr<IoWay> make_null_way(IoLane& lane);
//! Misses of a vmcache pool on exmap memory, by tasks of a Worker. Throws RungMissing with the
//! library's error.
[[nodiscard]] std::unique_ptr<IoWay> make_pool_way(IoLane& lane, const RingOptions& options);

}  // namespace vmbench

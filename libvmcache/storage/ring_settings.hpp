// SPDX-License-Identifier: MIT
//
// Which features of io_uring the rings of a storage use: those that were asked for and work here.
#pragma once

#include <memory>
#include <string>

#include "vmcache/options.hpp"

struct io_uring;

namespace vmcache {

class Logger;
class PollQueues;
class RegisteredMemory;
struct Targets;

struct RingSettings {
  bool passthrough = false;
  bool registered_files = false;
  bool registered_ring = false;  //!< only for rings that one thread uses
  bool deferred = false;         //!< only for rings that one thread uses
  //! On passthrough only for rings that one thread uses and that have claimed the queues they poll.
  bool polled = false;
  bool sq_polling = false;
  //! A ring that owns the kernel thread which submits for all others; while sq_polling.
  std::shared_ptr<io_uring> sq_owner;
  std::shared_ptr<RegisteredMemory> memory;  //!< or none
  std::shared_ptr<PollQueues> poll_queues;   //!< of passthrough, while polled

  //! The features that are on, for messages.
  [[nodiscard]] std::string description() const;
};

//! Sets up `ring` with at least `entries` entries. Returns 0 or an errno.
[[nodiscard]] int init_ring(io_uring& ring, unsigned entries, const RingSettings& settings,
                            bool single_issuer) noexcept;

//! 0 if this process may use io_uring, else the errno with which it is refused.
[[nodiscard]] int probe_io_uring() noexcept;

//! Tries the features of `options` with reads of `targets`. `why_not_polled` is empty if all
//! devices have poll queues. A feature that is kAuto and does not work is logged and left out.
//! Throws Error: kUnsupported (passthrough, or what was asked for by name), kInvalidOption.
[[nodiscard]] RingSettings choose_ring_settings(const IoUringOptions& options,
                                                const Targets& targets,
                                                const std::string& why_not_polled,
                                                const std::string& name, Logger& logger);

}  // namespace vmcache

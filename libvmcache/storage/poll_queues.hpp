// SPDX-License-Identifier: MIT
//
// Which ring polls which hardware queue of an NVMe controller.
//
// Why anybody must know: the kernel asks the driver about each NVMe command of a polled ring that is in flight. That looks
// at the command's request, sees that it lies on a poll queue, and then takes the queue out of the request again. Whoever
// polls the same queue in between completes the request and frees it, and the queue taken is a null pointer: the kernel
// oopses (nvme_ns_chr_uring_cmd_iopoll() and blk_rq_poll() of Linux 6.12 and 7.3; seen on 7.3.4). Block devices are polled
// in another way, which is safe.
//
// So nobody else polls a queue on which a polled ring has commands:
//   P1  One storage, of this process or another, polls a controller: it holds an flock on the controller's node.
//   P2  Of its rings, one polls a hardware queue: it holds the queue's claim.
//   P3  A polled ring's commands reach no queue but those it claimed. The kernel chooses by the CPU that submits: so a ring
//       claims the queue of the CPU to which its thread is pinned, and pins the kernel's workers for the ring to it, too;
//       or all queues.
// What could break them: a thread that is pinned to another CPU after its ring was made (the embedder's to avoid,
// IoUringOptions::polled); a program that takes no such lock.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "file_descriptor.hpp"

namespace vmcache {

//! Of all controllers of a storage. Thread-safe.
class PollQueues : public std::enable_shared_from_this<PollQueues> {
 public:
  //! The poll queue of each CPU; empty where the kernel does not tell.
  using QueueOfCpu = std::vector<unsigned>;

  //! A ring's own queues, until it is destroyed.
  class Claim {
   public:
    Claim(std::shared_ptr<PollQueues> owner, std::vector<unsigned> queues, std::optional<unsigned> cpu)
        : _owner(std::move(owner)), _queues(std::move(queues)), _cpu(cpu) {}
    ~Claim() {
      if (_owner) _owner->release(_queues);
    }
    Claim(Claim&&) = default;
    Claim& operator=(Claim&&) = delete;

    //! All that submits for the ring must run there; empty: anywhere.
    [[nodiscard]] std::optional<unsigned> cpu() const noexcept { return _cpu; }

   private:
    std::shared_ptr<PollQueues> _owner;
    std::vector<unsigned> _queues;
    std::optional<unsigned> _cpu;
  };

  //! Takes the controllers of `namespaces` (character devices) for itself. Null if that cannot be, and `why_not` says why.
  [[nodiscard]] static std::shared_ptr<PollQueues> take(std::span<const dev_t> namespaces,
                                                        std::string& why_not);
  //! An element a controller; for take() and tests.
  explicit PollQueues(std::vector<QueueOfCpu> controllers, std::vector<FileDescriptor> locks = {});

  //! For a ring whose submissions come from `cpu` alone, or (empty) from any. Empty if another has one of its queues.
  [[nodiscard]] std::optional<Claim> claim(std::optional<unsigned> cpu);

 private:
  [[nodiscard]] std::optional<std::vector<unsigned>> queues_of(unsigned cpu) const;
  void release(const std::vector<unsigned>& queues) noexcept;

  const std::vector<QueueOfCpu>
      _controllers;  // queues of the second one have numbers above those of the first
  const std::vector<FileDescriptor> _locks;
  std::mutex _mutex;
  std::vector<bool> _claimed;  // by number
};

//! The CPU to which this thread is pinned, if it is one.
[[nodiscard]] std::optional<unsigned> cpu_of_pinned_thread() noexcept;

}  // namespace vmcache

// SPDX-License-Identifier: MIT
//
// Which ring polls which hardware queue of an NVMe controller.
//
// Two rings must not poll the same queue, because Linux can then oops. For each NVMe command that a
// polled ring has in flight, the kernel asks the driver. The driver looks at the command's request,
// sees that it is on a poll queue, and then reads the queue from the request a second time. If
// somebody else polls the same queue in between, the request is completed and freed, and the second
// read gives a null pointer (nvme_ns_chr_uring_cmd_iopoll() and blk_rq_poll() of Linux 6.12 and
// 7.3; seen on 7.3.4). Block devices are polled in another way, which is safe.
//
// These rules keep everybody else from polling a queue on which a ring has commands:
//   P1  Only one storage, of all processes, polls a controller. It holds an flock on the
//       controller's node.
//   P2  At most one of its rings polls any one hardware queue. That ring holds the queue's claim.
//   P3  A polled ring's commands reach only the queues it has claimed. The kernel chooses the queue
//       by the CPU that submits. So a ring claims the queue of the CPU to which its thread is
//       pinned, and pins the kernel's workers for the ring to that CPU, too. A ring whose thread is
//       not pinned claims all queues.
// Two things could break them: a thread that is pinned to another CPU after its ring was made (the
// embedder must avoid that, see IoUringOptions::polled), and a program that takes no such lock.
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

//! The poll queues of all controllers of a storage. Thread-safe.
class PollQueues : public std::enable_shared_from_this<PollQueues> {
 public:
  //! The poll queue of each CPU; empty where the kernel does not tell.
  using QueueOfCpu = std::vector<unsigned>;

  //! A ring's own queues, until it is destroyed.
  class Claim {
   public:
    Claim(std::shared_ptr<PollQueues> owner, std::vector<unsigned> queues,
          std::optional<unsigned> cpu)
        : _owner(std::move(owner)), _queues(std::move(queues)), _cpu(cpu) {}
    ~Claim() {
      if (_owner) _owner->release(_queues);
    }
    Claim(Claim&&) = default;
    Claim& operator=(Claim&&) = delete;

    //! The CPU on which everything that submits for the ring must run. Empty: any CPU.
    [[nodiscard]] std::optional<unsigned> cpu() const noexcept { return _cpu; }

   private:
    std::shared_ptr<PollQueues> _owner;
    std::vector<unsigned> _queues;
    std::optional<unsigned> _cpu;
  };

  //! Locks the controllers of `namespaces` (character devices). Returns null and sets `why_not` if
  //! that fails.
  [[nodiscard]] static std::shared_ptr<PollQueues> take(std::span<const dev_t> namespaces,
                                                        std::string& why_not);
  //! For take() and tests. `controllers` has one element for each controller.
  explicit PollQueues(std::vector<QueueOfCpu> controllers, std::vector<FileDescriptor> locks = {});

  //! Claims the queues for a ring whose submissions all come from `cpu`, or, if that is empty, from
  //! any CPU. Empty if another ring has one of them.
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

//! The CPU to which this thread is pinned; empty if it may run on several.
[[nodiscard]] std::optional<unsigned> cpu_of_pinned_thread() noexcept;

}  // namespace vmcache

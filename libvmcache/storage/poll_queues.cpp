// SPDX-License-Identifier: MIT
#include "storage/poll_queues.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "storage/block_queue.hpp"

namespace vmcache {
namespace {

//! Numbers the queues of all controllers through.
std::vector<PollQueues::QueueOfCpu> numbered_through(
    std::vector<PollQueues::QueueOfCpu> controllers) {
  unsigned next = 0;
  for (PollQueues::QueueOfCpu& queue_of_cpu : controllers) {
    unsigned max = 0;
    for (unsigned& queue : queue_of_cpu) {
      max = std::max(max, queue);
      queue += next;
    }
    next += max + 1;
  }
  return controllers;
}

std::size_t queues_in(const std::vector<PollQueues::QueueOfCpu>& controllers) {
  std::size_t count = 0;
  for (const PollQueues::QueueOfCpu& queue_of_cpu : controllers)
    for (const unsigned queue : queue_of_cpu) count = std::max<std::size_t>(count, queue + 1);
  return std::max<std::size_t>(count, 1);  // where none is known, all are one
}

}  // namespace

std::shared_ptr<PollQueues> PollQueues::take(std::span<const dev_t> namespaces,
                                             std::string& why_not) {
  std::set<std::string> names;
  std::vector<QueueOfCpu> controllers;
  std::vector<FileDescriptor> locks;
  for (const dev_t node : namespaces) {
    const std::string name = nvme_controller_name(node);
    if (name.empty()) {
      why_not = nvme_block_name(node) + " has no controller of its own (multipath)";
      return {};
    }
    if (!names.insert(name).second) continue;  // another namespace of the same one
    const std::string path = "/dev/" + name;
    FileDescriptor lock(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!lock) {
      why_not = fmt::format("{} cannot be opened, to be locked: {}", path, std::strerror(errno));
      return {};
    }
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      why_not = errno == EWOULDBLOCK
                    ? fmt::format("another pool, here or in another process, polls {}", path)
                    : fmt::format("locking {}: {}", path, std::strerror(errno));
      return {};
    }
    locks.push_back(std::move(lock));
    controllers.push_back(nvme_poll_queues(node));
  }
  return std::make_shared<PollQueues>(std::move(controllers), std::move(locks));
}

PollQueues::PollQueues(std::vector<QueueOfCpu> controllers, std::vector<FileDescriptor> locks)
    : _controllers(numbered_through(std::move(controllers))),
      _locks(std::move(locks)),
      _claimed(queues_in(_controllers)) {}

std::optional<std::vector<unsigned>> PollQueues::queues_of(unsigned cpu) const {
  std::vector<unsigned> queues;
  for (const QueueOfCpu& queue_of_cpu : _controllers) {
    if (cpu >= queue_of_cpu.size()) return {};
    queues.push_back(queue_of_cpu[cpu]);
  }
  return queues;
}

std::optional<PollQueues::Claim> PollQueues::claim(std::optional<unsigned> cpu) {
  std::optional<std::vector<unsigned>> queues;
  if (cpu) queues = queues_of(*cpu);
  if (!queues) {
    cpu.reset();
    queues.emplace();
    for (unsigned queue = 0; queue < _claimed.size(); ++queue) queues->push_back(queue);
  }
  const std::lock_guard lock(_mutex);
  if (std::ranges::any_of(*queues, [&](unsigned queue) { return _claimed[queue]; })) return {};
  for (const unsigned queue : *queues) _claimed[queue] = true;
  return Claim(shared_from_this(), std::move(*queues), cpu);
}

void PollQueues::release(const std::vector<unsigned>& queues) noexcept {
  const std::lock_guard lock(_mutex);
  for (const unsigned queue : queues) _claimed[queue] = false;
}

std::optional<unsigned> cpu_of_pinned_thread() noexcept {
  cpu_set_t cpus;
  if (::sched_getaffinity(0, sizeof cpus, &cpus) != 0 || CPU_COUNT(&cpus) != 1) return {};
  unsigned cpu = 0;
  while (!CPU_ISSET(cpu, &cpus)) ++cpu;
  return cpu;
}

}  // namespace vmcache

// SPDX-License-Identifier: MIT
#include "pool/worker_signal.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>

#include "pool/engine.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

[[noreturn]] void refuse(const char* what) {
  throw Error(Status{Errc::kOutOfMemory, errno, kNoPage}, what);
}

}  // namespace

WorkerSignal::WorkerSignal()
    : _event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      _timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      _epoll(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!_event || !_timer || !_epoll) refuse("Worker::fd: making its three descriptors");
  watch(_event.get());
  watch(_timer.get());
}

void WorkerSignal::watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(_epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    refuse("Worker::fd: adding a descriptor to epoll");
}

void WorkerSignal::clear() noexcept {
  std::uint64_t count = 0;
  (void)!::read(_event.get(), &count, sizeof count);  // it may be 0: then it fails
}

void WorkerSignal::set(std::uint64_t ns) noexcept {
  if (ns == 0) {  // now, and not when a timer's interrupt comes
    constexpr std::uint64_t kOne = 1;
    (void)!::write(_event.get(), &kOne, sizeof kOne);  // fails when it is readable as it is
    return;
  }
  const bool wanted = ns != Engine::kNoTurn;
  if (!wanted && !_set) return;
  // Setting it, or unsetting it, also forgets that it has gone off.
  const std::uint64_t in = wanted ? ns : 0;
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(in / kNsPerSecond);
  when.it_value.tv_nsec = static_cast<long>(in % kNsPerSecond);
  (void)::timerfd_settime(_timer.get(), 0, &when, nullptr);  // fails for a wrong argument only
  _set = wanted;
}

}  // namespace vmcache::detail

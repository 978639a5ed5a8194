// SPDX-License-Identifier: MIT
// Signals that do not kill fail no call: under a storm of SIGUSR1 (handler with SA_RESTART), and
// with io_uring's task work pending, which the kernel takes for a signal as well, nothing returns
// EINTR.
#include <poll.h>
#include <sys/eventfd.h>

#include "uring_test.h"

using namespace exmap_test;

namespace {

std::atomic<std::uint64_t> signals_taken{0};
void on_signal(int) {
  signals_taken.fetch_add(1, std::memory_order_relaxed);
}

void every_call(std::uint64_t i) {
  const int fd = open_device();
  CHECK_RESULT(0, call_setup(fd, 600, 2));
  char* const area = map_area(fd, 1 << 16);
  auto* const interface = map_interface(fd, 0);
  CHECK(area && interface, "mmap: %s", strerror(errno));
  const auto act = [&](unsigned opcode) {
    exmap_iov run{};
    run.page = i % 100 * 512;
    run.len = 550;
    interface->iov[0].value = run.value;
    CHECK_RESULT(0, call_action(fd, 0, opcode, 1));
  };
  act(EXMAP_OP_ALLOC);
  act(EXMAP_OP_FREE);
  exmap_resize resize{sizeof resize, 0, 900};
  CHECK_RESULT(0, result_of(ioctl(fd, EXMAP_IOCTL_RESIZE, &resize)));
  const int clone = open_device();
  CHECK_RESULT(0, result_of(ioctl(clone, EXMAP_IOCTL_CLONE, fd)));
  close(clone);
  munmap(area, (1ull << 16) * kPageSize);
  munmap(interface, kPageSize);
  close(fd);
}

void under_signals(std::uint64_t rounds) {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  const pid_t process = getpid();
  const pid_t thread = gettid();
  std::atomic<bool> stop{false};
  std::thread storm([&] {
    while (!stop) {
      tgkill(process, thread, SIGUSR1);
      usleep(200);
    }
  });
  for (std::uint64_t i = 0; i < rounds; i++) every_call(i);
  stop = true;
  storm.join();
  std::printf("# %llu signals were handled\n", ull(signals_taken));
  CHECK(signals_taken > rounds / 2, "hardly a signal came");
}

//! Polls that fire all the time leave task work with this thread; it is taken when a call of the
//! thread ends or waits.
void under_task_work(std::uint64_t rounds) {
  io_uring ring{};
  CHECK(io_uring_queue_init(64, &ring, 0) == 0, "io_uring_queue_init");
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const auto arm = [&] {
    io_uring_prep_poll_add(io_uring_get_sqe(&ring), event, POLLIN);
    CHECK(io_uring_submit(&ring) == 1, "io_uring_submit");
  };
  std::atomic<bool> stop{false};
  std::thread poker([&] {
    const std::uint64_t one = 1;
    while (!stop) {
      CHECK(write(event, &one, sizeof one) == sizeof one || errno == EAGAIN, "eventfd: %s",
            strerror(errno));
      usleep(100);
    }
  });
  std::uint64_t fired = 0;
  for (std::uint64_t i = 0; i < rounds; i++) {
    std::uint64_t count = 0;
    (void)!read(event, &count, sizeof count);
    for (int k = 0; k < 32; k++) arm();
    every_call(i);
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring, &completion) == 0) {
      io_uring_cqe_seen(&ring, completion);
      fired++;
    }
  }
  stop = true;
  poker.join();
  std::printf("# %llu polls fired\n", ull(fired));
  CHECK(fired > rounds, "hardly a poll fired");
  io_uring_queue_exit(&ring);
  close(event);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  const std::uint64_t rounds =
      options.scaled("rounds of every call, under signals and under task work", 200);
  under_signals(rounds);
  under_task_work(rounds);
  ledger.check_balanced();
  return 0;
}

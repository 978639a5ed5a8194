// SPDX-License-Identifier: MIT
// A shared futex (without FUTEX_PRIVATE_FLAG) in a page of one exmap is nobody else's: not another
// process's, not another page's. One and the same frame, seen through the area and the view, is one
// futex.
#include <linux/futex.h>
#include <sys/syscall.h>

#include "view_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kPages = 256;

long futex(volatile void* address, int operation, unsigned value,
           const timespec* timeout = nullptr) {
  return syscall(SYS_futex, address, operation, value, timeout, nullptr, 0);
}

void fill(const Exmap& map) {
  CHECK_RESULT(0, map.alloc(0, 0, kPages));
  for (std::uint64_t page = 0; page < kPages; page++) *map.word(page) = 0;
}

//! Waits on page 0 until the word is 1, and tells of every wake that came before.
void wait_on_page_0(const Exmap& map, int ready) {
  const timespec timeout{20, 0};
  CHECK_RESULT(1, result_of(write(ready, "r", 1)));
  while (*map.word(0) == 0) {
    const long result = futex(map.page(0), FUTEX_WAIT, 0, &timeout);
    CHECK(result == 0 || errno == EAGAIN || errno == EINTR, "nobody woke the waiter: %s",
          strerror(errno));
    CHECK(result != 0 || *map.word(0) == 1, "a stranger woke the waiter");
  }
}

void strangers_wake_nobody() {
  int ready[2], go[2];
  CHECK(pipe(ready) == 0 && pipe(go) == 0, "pipe: %s", strerror(errno));
  const pid_t waiter = spawn([&] {
    const Exmap map({.frames = kPages, .area_pages = 1024});
    fill(map);
    std::thread waiting([&] { wait_on_page_0(map, ready[1]); });
    char byte = 0;
    CHECK_RESULT(1, result_of(read(go[0], &byte, 1)));
    for (std::uint64_t page = 1; page < kPages; page++)
      CHECK(futex(map.page(page), FUTEX_WAKE, 100) == 0, "page %llu woke who waits on page 0",
            ull(page));
    *map.word(0) = 1;
    (void)futex(map.page(0), FUTEX_WAKE, 1);
    waiting.join();
  });
  char byte = 0;
  CHECK_RESULT(1, result_of(read(ready[0], &byte, 1)));
  usleep(200000);  // most likely it sleeps by now; if not, a wake finds nobody
  {
    const Exmap map({.frames = kPages, .area_pages = 1024});
    fill(map);
    for (std::uint64_t page = 0; page < kPages; page++)
      CHECK(futex(map.page(page), FUTEX_WAKE, 100) == 0, "page %llu woke another process's waiter",
            ull(page));
  }
  CHECK_RESULT(1, result_of(write(go[1], "g", 1)));
  const int status = wait_for(waiter);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the waiter ended with status 0x%x", status);
  for (const int fd : {ready[0], ready[1], go[0], go[1]}) close(fd);
}

void area_and_view_are_one() {
  const Exmap map({.frames = 8, .area_pages = 64});
  const View view(map, 8);
  const std::uint32_t frame = frame_of(map, 5);
  *map.word(5) = 0;
  std::atomic<bool> woken{false};
  std::thread waiting([&] {
    const timespec timeout{20, 0};
    while (*map.word(5) == 0) {
      const long result = futex(map.page(5), FUTEX_WAIT, 0, &timeout);
      CHECK(result == 0 || errno == EAGAIN || errno == EINTR, "the view's wake did not arrive: %s",
            strerror(errno));
    }
    woken = true;
  });
  usleep(200000);
  *reinterpret_cast<volatile std::uint64_t*>(view.frame(frame)) = 1;
  while (!woken) {  // until it has arrived: the waiter may not have slept yet
    (void)futex(view.frame(frame), FUTEX_WAKE, 1);
    usleep(1000);
  }
  waiting.join();
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  strangers_wake_nobody();
  area_and_view_are_one();
  ledger.check_balanced();
  return 0;
}

// SPDX-License-Identifier: MIT
// Random calls of every kind from several threads at the same exmaps: the kernel stays whole (the
// runner reads its log), errors are errnos, and at the end nothing is lost. A thread's calls follow
// from --seed and its number alone; `--only K` runs thread K without the others. After --seconds it
// ends, with fewer calls: threads that contend for an emulated kernel's locks on a busy machine can
// take ten times as long.
// usage: fuzz_calls [--calls N] [--seconds S] [--seed S] [--threads T] [--only K]
#include "exmap_test.h"

#include <malloc.h>
#include <sys/uio.h>

#include <memory>

#include "uring_test.h"

using namespace exmap_test;

namespace {

constexpr std::size_t kSlots = 6, kArenaPages = 16384, kAreaPagesMax = 8192, kInterfacePlaces = 8,
                      kViewPlace = kAreaPagesMax + kInterfacePlaces;

//! One fd and a stretch of address space that only random mappings of it live in.
struct Slot {
  std::atomic<int> fd{-1};
  char* arena = nullptr;
};
Slot slots[kSlots];
int plain_file = -1, pipe_end = -1;

struct Fuzzer {
  Random random;
  io_uring ring{};

  explicit Fuzzer(std::uint64_t seed) : random(seed) {
    CHECK(io_uring_queue_init(4, &ring, 0) == 0, "io_uring_queue_init");
  }
  ~Fuzzer() { io_uring_queue_exit(&ring); }

  std::uint64_t pick(std::initializer_list<std::uint64_t> values) {
    return values.begin()[random.below(values.size())];
  }
  std::uint64_t odd_number() {
    switch (random.below(6)) {
      case 0:
        return random.next();
      case 1:
        return std::uint64_t{1} << random.below(64);
      case 2:
        return (std::uint64_t{1} << random.below(64)) - 1;
      case 3:
        return ~random.below(4096);
      default:
        return random.below(600);
    }
  }
  std::uint64_t mostly(std::uint64_t usual_below) {
    return random.below(16) ? random.below(usual_below) : odd_number();
  }
  Slot& slot() { return slots[random.below(kSlots)]; }
  char* address(const Slot& where) {
    switch (random.below(40)) {
      case 0:
        return nullptr;
      case 1:
        return reinterpret_cast<char*>(odd_number());
      case 2:
        return reinterpret_cast<char*>(0xffff888000000000u + random.below(1u << 30));
      default:
        return where.arena + random.below(random.below(2) ? 64 : kArenaPages) * kPageSize;
    }
  }
  int any_fd(const Slot& usual) {
    switch (random.below(24)) {
      case 0:
        return -1;
      case 1:
        return plain_file;
      case 2:
        return pipe_end;
      case 3:
        return static_cast<int>(odd_number() | 0x8000);  // never one of our own others
      default:
        return usual.fd;
    }
  }

  // -- the calls; each gives the raw result
  // ------------------------------------------------------------------------
  long reopen(Slot& s) {
    const int fresh = random.below(8) ? open(kDevice, O_RDWR | O_CLOEXEC) : -1;
    const int old = s.fd.exchange(fresh);
    if (old >= 0) close(old);
    mmap(s.arena, kArenaPages * kPageSize, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (fresh >= 0 &&
        random.below(8)) {  // most of the time a working exmap, or there would be little to break
      call_setup(fresh, pick({1, 7, 64, 513}), 1 + static_cast<int>(random.below(6)), plain_file);
      map_fixed(s.arena, kAreaPagesMax / 8 * kPageSize, PROT_READ | PROT_WRITE, fresh,
                EXMAP_OFF_EXMAP);
      for (std::uint64_t i = 0; i < kInterfacePlaces; i++) map_one_interface(s, i);
      map_view(s);
    }
    return fresh;
  }
  //! A refused MAP_FIXED leaves a hole, which is filled at once: the next one would tear down what
  //! fell into it.
  long map_fixed(char* place, std::size_t length, int rights, int fd, std::uint64_t offset) {
    const bool refused = mmap(place, length, rights, MAP_SHARED | MAP_FIXED, fd,
                              static_cast<off_t>(offset)) == MAP_FAILED;
    if (!refused) return 0;
    const int error = errno;
    mmap(place, length, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
    errno = error;
    return -1;
  }
  long map_one_interface(Slot& s, std::uint64_t n) {
    char* const place = s.arena + (kAreaPagesMax + n % kInterfacePlaces) * kPageSize;
    return map_fixed(place, kPageSize, PROT_READ | PROT_WRITE, s.fd, EXMAP_OFF_INTERFACE(n));
  }
  long map_some_interface(Slot& s) { return map_one_interface(s, mostly(kInterfacePlaces)); }
  long map_view(Slot& s) {
    const std::size_t frames = random.below(16) ? pick({1, 7, 64}) : 1 + random.below(513);
    return map_fixed(s.arena + kViewPlace * kPageSize, frames * kPageSize,
                     random.below(16) ? PROT_READ | PROT_WRITE : static_cast<int>(random.below(8)),
                     s.fd, EXMAP_OFF_VIEW);
  }
  //! madvise on, and touches of, what may be the view.
  long use_view(Slot& s) {
    char* const page = s.arena + (kViewPlace + random.below(64)) * kPageSize;
    std::uint64_t value = 0;
    if (random.below(16) == 0)
      return madvise(page, kPageSize * (1 + random.below(3)), MADV_DONTNEED);
    if (random.below(8) == 0) {
      const iovec buffer{page, kPageSize};
      const int result = io_uring_register_buffers(&ring, &buffer, 1);
      if (result == 0 && random.below(2)) io_uring_unregister_buffers(&ring);
      return result;
    }
    if (random.below(8) == 0) return io_uring_unregister_buffers(&ring);
    auto* const word = reinterpret_cast<std::uint64_t*>(page);
    return random.below(2) ? -try_read(word, value) : -try_write(word, random.next());
  }
  long setup(Slot& s) {
    return ioctl_checked(
        any_fd(s), EXMAP_IOCTL_SETUP,
        exmap_ioctl_setup{static_cast<int>(random.below(4) ? -1 : any_fd(s)),
                          static_cast<int>(mostly(8)),
                          pick({0, 1, 2, 64, 511, 513, 1ull << 40, 1ull << 52, 1ull << 63, ~0ull}),
                          random.below(4) ? 0 : odd_number()});
  }
  void scribble(Slot& s) {
    const std::uint64_t place = kAreaPagesMax + random.below(kInterfacePlaces);
    const std::uint64_t count = random.below(8) ? 1 + random.below(8) : 512;
    for (std::uint64_t i = 0; i < count; i++) {
      exmap_iov iov{};
      iov.page = mostly(kAreaPagesMax / 8) & ((1ull << 52) - 1);
      iov.len = mostly(9) & 4095;
      if (try_write(reinterpret_cast<std::uint64_t*>(s.arena + place * kPageSize) + i, iov.value) !=
          0)
        return;
    }
  }
  long action(Slot& s) {
    scribble(s);
    exmap_action_params params{};
    params.interface = static_cast<std::uint16_t>(mostly(6));
    params.iov_len = static_cast<std::uint16_t>(
        random.below(32) ? random.below(9) : pick({0, 512, 513, 1024, 65535}));
    params.opcode = static_cast<std::uint16_t>(random.below(32) ? 1 + random.below(2) : mostly(6));
    params.flags = random.below(32) ? random.below(2) * EXMAP_ACTION_REPORT_FRAME : odd_number();
    return ioctl_checked(any_fd(s), EXMAP_IOCTL_ACTION, params);
  }
  long transfer(Slot& s) {
    iovec parts[4];
    const int count = 1 + static_cast<int>(random.below(4));
    for (int i = 0; i < count; i++) {
      // Inside the arena: the plain file would be read into whatever comes after it.
      char* const start = address(s);
      const bool inside = start >= s.arena && start < s.arena + kArenaPages * kPageSize;
      const std::size_t room =
          inside ? static_cast<std::size_t>(s.arena + kArenaPages * kPageSize - start) : 0;
      const std::size_t bytes = random.below(8) ? kPageSize * (1 + random.below(3)) : odd_number();
      parts[i] = {start, std::min(bytes, room)};
    }
    const auto offset = static_cast<off_t>(random.below(16) ? random.below(6) | random.below(4) << 8
                                                            : odd_number());
    return random.below(3) ? preadv(any_fd(s), parts, count, offset)
                           : pwritev(any_fd(s), parts, count, offset);
  }
  long uring(Slot& s) {
    const std::uint64_t operation =
        random.below(16) ? random.below(6) | random.below(4) << 8 : odd_number();
    prepare_command(ring, any_fd(s), static_cast<std::uint32_t>(operation), address(s),
                    random.below(8) ? kPageSize * (1 + random.below(3)) : odd_number());
    CHECK(io_uring_submit(&ring) == 1, "io_uring_submit");
    const int result = reap_one(ring).result;
    errno = result < 0 ? -result : 0;
    return result < 0 ? -1 : result;
  }
  long clone(Slot& s) { return ioctl(any_fd(s), EXMAP_IOCTL_CLONE, any_fd(slot())); }
  long sized_call(Slot& s) {
    std::uint64_t argument[64] = {};
    auto* const head = reinterpret_cast<std::uint32_t*>(argument);
    head[0] = static_cast<std::uint32_t>(
        random.below(4) ? pick({sizeof(exmap_query), sizeof(exmap_resize), sizeof(exmap_stats2)})
                        : odd_number());
    head[1] = random.below(8) ? 0 : static_cast<std::uint32_t>(odd_number());
    if (random.below(8) == 0) argument[random.below(64)] = odd_number();
    // Anything between a few frames and more than there are would only test how fast the machine
    // zeroes memory.
    argument[1] = random.below(8) ? random.below(600) : std::uint64_t{1} << (40 + random.below(24));
    const std::uint64_t request =
        pick({EXMAP_IOCTL_QUERY, EXMAP_IOCTL_RESIZE, EXMAP_IOCTL_STATS2, EXMAP_IOCTL_STATS});
    return ioctl(any_fd(s), request, random.below(32) ? static_cast<void*>(argument) : address(s));
  }
  long any_ioctl(Slot& s) {
    std::uint64_t argument[64];
    for (auto& word : argument) word = random.below(2) ? 0 : random.next() | 1ull << 63;
    const auto request = _IOC(random.below(4), random.below(8) ? 'k' : random.below(256),
                              random.below(256), random.below(1u << 14));
    return ioctl(any_fd(s), request, random.below(32) ? static_cast<void*>(argument) : address(s));
  }
  long memory_call(Slot& s) {
    char* const start = s.arena + random.below(kArenaPages) * kPageSize * random.below(2);
    const std::size_t length =
        std::min<std::size_t>((1 + random.below(random.below(2) ? 16 : kAreaPagesMax)) * kPageSize,
                              static_cast<std::size_t>(s.arena + kArenaPages * kPageSize - start));
    switch (random.below(8)) {
      case 0:
        return mprotect(start, length, static_cast<int>(random.below(8)));
      case 1:
      case 2: {
        static constexpr int kAdvices[] = {0,  1,  2,  3,  4,  4,  4,  9,  10, 11,
                                           14, 15, 16, 17, 20, 21, 22, 23, 25};
        return madvise(start, length, kAdvices[random.below(std::size(kAdvices))]);
      }
      case 3:
        return mlock(start, length) + munlock(start, length);
      // DONTUNMAP and no FIXED: neither leaves a hole that another thread's stack could fall into.
      case 4: {
        void* const moved =
            mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr);
        if (moved != MAP_FAILED) munmap(moved, length);
        return moved == MAP_FAILED ? -1 : 0;
      }
      case 5:  // an unmap that never leaves the hole to somebody else
        if (random.below(128)) return 0;
        return mmap(start, length, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED
                   ? -1
                   : 0;
      case 6:
        if (random.below(16))
          return map_fixed(s.arena, kAreaPagesMax / 8 * kPageSize, PROT_READ | PROT_WRITE, s.fd, 0);
        return map_fixed(start, length, static_cast<int>(random.below(4)), any_fd(s),
                         random.below(4) ? 0 : odd_number() << 12);
      default:
        return msync(start, length, MS_SYNC);
    }
  }
  long touch(Slot& s) {
    std::uint64_t value = 0;
    auto* const word =
        reinterpret_cast<std::uint64_t*>(s.arena + random.below(kAreaPagesMax / 8) * kPageSize);
    return random.below(2) ? -try_read(word, value) : -try_write(word, random.next());
  }
  long fork_once(Slot& s) {
    const pid_t child = fork();
    if (child == 0) {
      exmap_action_params params{0, 1, EXMAP_OP_ALLOC, 0};
      ioctl(s.fd, EXMAP_IOCTL_ACTION, &params);
      _exit(0);
    }
    if (child > 0) waitpid(child, nullptr, 0);
    return child > 0 ? 0 : -1;
  }
  template <typename Argument>
  long ioctl_checked(int fd, unsigned long request, Argument argument) {
    return ioctl(fd, request, random.below(64) ? static_cast<void*>(&argument) : address(slots[0]));
  }

  void one_call();
};

constexpr std::uint64_t kTickets = 10000;
constexpr std::uint64_t kNoLimitSeconds = 1'000'000'000;

struct Kind {
  const char* name;
  std::uint64_t weight;  //!< of kTickets
  long (Fuzzer::*call)(Slot&);
  std::atomic<std::uint64_t> calls{0}, succeeded{0}, time_us{0};
};
Kind kinds[] = {
    {"fork", 1, &Fuzzer::fork_once},
    {"open", 8, &Fuzzer::reopen},
    {"setup", 40, &Fuzzer::setup},
    {"clone", 30, &Fuzzer::clone},
    {"mmap", 80, &Fuzzer::map_some_interface},
    {"view", 40, &Fuzzer::map_view},
    {"viewed", 200, &Fuzzer::use_view},
    {"mm", 150, &Fuzzer::memory_call},
    {"ioctl", 200, &Fuzzer::any_ioctl},
    {"sized", 500, &Fuzzer::sized_call},
    {"transfer", 1000, &Fuzzer::transfer},
    {"uring", 700, &Fuzzer::uring},
    {"touch", 300, &Fuzzer::touch},
    {"action", 6751, &Fuzzer::action},
};

void Fuzzer::one_call() {
  std::uint64_t ticket = random.below(kTickets);
  Kind* kind = kinds;
  while (ticket >= kind->weight) ticket -= kind++->weight;
  errno = 0;
  const double start = seconds_now();
  const long result = (this->*kind->call)(slot());
  CHECK(errno >= 0 && errno < 512, "a kernel-internal errno, %d, came out", errno);
  kind->time_us.fetch_add(static_cast<std::uint64_t>((seconds_now() - start) * 1e6),
                          std::memory_order_relaxed);
  kind->calls.fetch_add(1, std::memory_order_relaxed);
  if (result >= 0) kind->succeeded.fetch_add(1, std::memory_order_relaxed);
}

//! What was called, how often it worked, and where the time went.
void report() {
  std::uint64_t calls = 0, succeeded = 0;
  for (const Kind& kind : kinds) {
    std::printf("# %-8s %8llu calls, %8llu succeeded, %6llu us each\n", kind.name, ull(kind.calls),
                ull(kind.succeeded), ull(kind.time_us / std::max<std::uint64_t>(1, kind.calls)));
    calls += kind.calls;
    succeeded += kind.succeeded;
  }
  std::printf("# %llu calls, %llu of them succeeded\n", ull(calls), ull(succeeded));
  CHECK(succeeded * 20 > calls, "hardly any call succeeded: this fuzzes the refusals only");
}

void run_thread(Fuzzer& fuzzer, std::uint64_t calls, double end, const std::atomic<bool>& go) {
  while (!go) sched_yield();
  for (std::uint64_t i = 0; i < calls && seconds_now() < end; i++) fuzzer.one_call();
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t calls = options.text("calls", "").empty()
                                  ? options.scaled("random calls", 100000)
                                  : options.number("calls", 0);
  const std::uint64_t seconds = options.number("seconds", kNoLimitSeconds);
  const std::uint64_t seed = options.number("seed", static_cast<std::uint64_t>(time(nullptr)));
  const std::uint64_t threads = options.number("threads", 4);
  const std::uint64_t only = options.number("only", ~0ull);
  std::printf("# replay: --calls %llu --seed %llu --threads %llu\n", ull(calls), ull(seed),
              ull(threads));
  std::fflush(stdout);
  const Ledger ledger;
  in_child("the fuzzed process", [&] {
    catch_faults();
    plain_file = memfd_create("plain", MFD_CLOEXEC);
    CHECK(ftruncate(plain_file, 1 << 20) == 0, "ftruncate: %s", strerror(errno));
    int ends[2];
    CHECK(pipe(ends) == 0, "pipe: %s", strerror(errno));
    pipe_end = ends[0];
    Fuzzer first(seed);
    for (auto& s : slots) {
      void* const arena = mmap(nullptr, kArenaPages * kPageSize, PROT_NONE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      CHECK(arena != MAP_FAILED, "mmap: %s", strerror(errno));
      s.arena = static_cast<char*>(arena);
      first.reopen(s);
    }
    // Every ring, stack and heap is there before the first call: none can fall into a hole of an
    // arena, and no ring's fd can have the number of an exmap closed just now.
    mallopt(M_ARENA_MAX, 1);
    std::atomic<bool> go{false};
    std::vector<std::unique_ptr<Fuzzer>> fuzzers;
    for (std::uint64_t t = 0; t < threads; t++)
      if (only == ~0ull || only == t) fuzzers.push_back(std::make_unique<Fuzzer>(seed * 1000 + t));
    std::vector<std::thread> running;
    const double end = seconds_now() + static_cast<double>(seconds);
    for (auto& fuzzer : fuzzers)
      running.emplace_back(run_thread, std::ref(*fuzzer), calls / threads, end, std::cref(go));
    go = true;
    for (auto& thread : running) thread.join();
    report();
  });
  ledger.check_balanced(32768);
  return 0;
}

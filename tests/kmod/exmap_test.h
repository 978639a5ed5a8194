// SPDX-License-Identifier: MIT
// What every exmap test shares: checks with an exit code (0 pass, 1 fail, 4 skip), options, one
// open exmap, children, a SIGSEGV-safe read, page contents by owner, and the ledger that tells lost
// frames.
#pragma once

#include <fcntl.h>
#include <linux/exmap.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

namespace exmap_test {

inline constexpr std::size_t kPageSize = 4096;
inline constexpr long long kPageBytes = kPageSize;  //!< what a call that moved one page returns
inline constexpr std::size_t kWordsPerPage = kPageSize / sizeof(std::uint64_t);
inline constexpr int kFail = 1;
inline constexpr int kSkip = 4;
inline constexpr const char* kDevice = "/dev/exmap";

//! For printf's %llu and %llx.
constexpr unsigned long long ull(std::uint64_t value) {
  return value;
}

//! Ends the whole process at once, from any thread or child: a failed promise leaves nothing to
//! clean up for.
[[noreturn, gnu::format(printf, 3, 4)]] inline void finish(int status, const char* where,
                                                           const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  std::fprintf(stdout, "%s: %s: %s\n", status == kSkip ? "SKIP" : "FAIL", where, text);
  std::fflush(stdout);
  _exit(status);
}

#define EXMAP_STRING_(x) #x
#define EXMAP_STRING(x) EXMAP_STRING_(x)
#define EXMAP_WHERE __FILE_NAME__ ":" EXMAP_STRING(__LINE__)
//! CHECK(condition, format, ...): the promise in words is the format.
#define CHECK(condition, ...) \
  ((condition)                \
       ? void(0)              \
       : ::exmap_test::finish(::exmap_test::kFail, EXMAP_WHERE " (" #condition ")", __VA_ARGS__))
//! CHECK_RESULT(expected, call): `call` gives 0 or more, or a negated errno; it must give exactly
//! that.
#define CHECK_RESULT(expected, ...)                                                    \
  do {                                                                                 \
    const long long result_ = (__VA_ARGS__);                                           \
    CHECK(result_ == (expected), "%s gave %lld (%s), not %lld", #__VA_ARGS__, result_, \
          result_ < 0 ? strerror(static_cast<int>(-result_)) : "success",              \
          static_cast<long long>(expected));                                           \
  } while (0)
//! The call must be refused, with whatever errno the ABI leaves open.
#define CHECK_REFUSED(...)                                                           \
  do {                                                                               \
    const long long result_ = (__VA_ARGS__);                                         \
    CHECK(result_ < 0, "%s gave %lld and was to be refused", #__VA_ARGS__, result_); \
  } while (0)
#define SKIP(...) ::exmap_test::finish(::exmap_test::kSkip, EXMAP_WHERE, __VA_ARGS__)

//! A system call's result as the kernel has it: the value, or the negated errno.
template <typename Value>
long long result_of(Value value) {
  return value < 0 ? -static_cast<long long>(errno) : static_cast<long long>(value);
}

//! --name VALUE options. Unknown ones are an error, so a mistyped run never passes as the default
//! one.
class Options {
 public:
  Options(int argc, char** argv) {
    for (int i = 1; i < argc; i += 2) {
      if (std::strncmp(argv[i], "--", 2) != 0 || i + 1 == argc) {
        std::fprintf(stderr, "%s: usage: [--scale PERCENT] [--NAME VALUE]..., not '%s'\n", argv[0],
                     argv[i]);
        std::exit(2);
      }
      _given.emplace_back(argv[i] + 2, argv[i + 1]);
    }
    _scale = number("scale", 100);
  }
  std::string text(const char* name, const char* otherwise) const {
    for (const auto& [key, value] : _given)
      if (key == name) return value;
    return otherwise;
  }
  std::uint64_t number(const char* name, std::uint64_t otherwise) const {
    const std::string given = text(name, "");
    if (given.empty()) return otherwise;
    char* end = nullptr;
    const std::uint64_t value = std::strtoull(given.c_str(), &end, 0);
    if (*end != '\0') {
      std::fprintf(stderr, "--%s: '%s' is not a number\n", name, given.c_str());
      std::exit(2);
    }
    return value;
  }
  //! `count` repetitions at scale 100; at least 1. Prints what it came to.
  std::uint64_t scaled(const char* what, std::uint64_t count) const {
    const std::uint64_t scaled_count = std::max<std::uint64_t>(1, count * _scale / 100);
    std::printf("# %llu %s\n", ull(scaled_count), what);
    return scaled_count;
  }

 private:
  std::vector<std::pair<std::string, std::string>> _given;
  std::uint64_t _scale = 100;
};

//! xorshift64*: replayable from its seed on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : _state(seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du) {}
  std::uint64_t next() {
    _state ^= _state >> 12;
    _state ^= _state << 25;
    _state ^= _state >> 27;
    return _state * 0x2545f4914f6cdd1du;
  }
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }

 private:
  std::uint64_t _state;
};

inline int open_device() {
  const int fd = open(kDevice, O_RDWR | O_CLOEXEC);
  CHECK(fd >= 0, "open %s: %s", kDevice, strerror(errno));
  return fd;
}

//! The calls of the ABI on a bare fd; each gives 0 or more, or the negated errno.
inline int call_setup(int fd, const exmap_ioctl_setup& setup) {
  exmap_ioctl_setup copy = setup;
  return static_cast<int>(result_of(ioctl(fd, EXMAP_IOCTL_SETUP, &copy)));
}
inline int call_setup(int fd, std::size_t frames, int interfaces, int backing_fd = -1,
                      std::uint64_t flags = 0) {
  exmap_ioctl_setup setup{};
  setup.fd = backing_fd;
  setup.max_interfaces = interfaces;
  setup.buffer_size = frames;
  setup.flags = flags;
  return call_setup(fd, setup);
}
inline int call_action(int fd, unsigned interface, unsigned opcode, unsigned entries,
                       std::uint64_t flags = 0) {
  exmap_action_params action{};
  action.interface = static_cast<std::uint16_t>(interface);
  action.iov_len = static_cast<std::uint16_t>(entries);
  action.opcode = static_cast<std::uint16_t>(opcode);
  action.flags = flags;
  return static_cast<int>(result_of(ioctl(fd, EXMAP_IOCTL_ACTION, &action)));
}
inline char* map_area(int fd, std::size_t pages) {
  void* area =
      mmap(nullptr, pages * kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, EXMAP_OFF_EXMAP);
  return area == MAP_FAILED ? nullptr : static_cast<char*>(area);
}
inline exmap_user_interface* map_interface(int fd, unsigned interface) {
  void* page = mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                    static_cast<off_t>(EXMAP_OFF_INTERFACE(static_cast<std::uint64_t>(interface))));
  return page == MAP_FAILED ? nullptr : static_cast<exmap_user_interface*>(page);
}

struct Run {
  std::uint64_t page;
  std::uint64_t len = 1;
};

struct Shape {
  std::size_t frames = 256;
  int interfaces = 1;
  std::size_t area_pages = 0;  //!< 0: four times the frames
  int backing_fd = -1;
  std::uint64_t flags = 0;
};

//! One open exmap, set up and mapped. Not copied; ends with close. An interface belongs to one
//! thread.
class Exmap {
 public:
  explicit Exmap(const Shape& shape = {})
      : _fd(open_device()), _area_pages(shape.area_pages ? shape.area_pages : shape.frames * 4) {
    CHECK_RESULT(0, call_setup(_fd, shape.frames, shape.interfaces, shape.backing_fd, shape.flags));
    _area = map_area(_fd, _area_pages);
    CHECK(_area, "mmap of %zu pages: %s", _area_pages, strerror(errno));
    for (int i = 0; i < shape.interfaces; i++) {
      _interfaces.push_back(map_interface(_fd, static_cast<unsigned>(i)));
      CHECK(_interfaces.back(), "mmap of interface %d: %s", i, strerror(errno));
    }
  }
  Exmap(const Exmap&) = delete;
  Exmap& operator=(const Exmap&) = delete;
  ~Exmap() {
    for (auto* page : _interfaces) munmap(page, kPageSize);
    if (_area) munmap(_area, _area_pages * kPageSize);
    if (_fd >= 0) close(_fd);
  }

  int fd() const { return _fd; }
  //! As the statistics tell them: what setup took, and the state.
  std::uint64_t flags() const {
    exmap_ioctl_stats stats{};
    CHECK_RESULT(0, result_of(ioctl(_fd, EXMAP_IOCTL_STATS, &stats)));
    return stats.flags;
  }
  std::size_t area_pages() const { return _area_pages; }
  char* area() const { return _area; }
  char* page(std::uint64_t n) const { return _area + n * kPageSize; }
  volatile std::uint64_t* word(std::uint64_t n) const {
    return reinterpret_cast<std::uint64_t*>(page(n));
  }
  exmap_iov& entry(int interface, int i) const {
    return _interfaces[static_cast<std::size_t>(interface)]->iov[i];
  }

  //! 0, or the negated errno; the results stand in entry(interface, 0..entries-1).
  int action(int interface, unsigned opcode, unsigned entries) const {
    return call_action(_fd, static_cast<unsigned>(interface), opcode, entries);
  }
  int batch(int interface, unsigned opcode, const Run* runs, std::size_t count) const {
    for (std::size_t i = 0; i < count; i++) {
      exmap_iov iov{};
      iov.page = runs[i].page & ((1ull << 52) - 1);
      iov.len = runs[i].len & (EXMAP_PAGE_MAX_PAGES - 1);
      entry(interface, static_cast<int>(i)).value = iov.value;
    }
    return action(interface, opcode, static_cast<unsigned>(count));
  }
  int alloc(int interface, std::uint64_t page, std::uint64_t len = 1) const {
    const Run run{page, len};
    return batch(interface, EXMAP_OP_ALLOC, &run, 1);
  }
  int free(int interface, std::uint64_t page, std::uint64_t len = 1) const {
    const Run run{page, len};
    return batch(interface, EXMAP_OP_FREE, &run, 1);
  }
  //! Every frame of the pool can be mapped at pages 0.. (nothing mapped there before): none was
  //! lost, none stranded.
  void check_all_frames(int interface, std::uint64_t frames) const {
    for (std::uint64_t page = 0; page < frames; page++)
      CHECK(alloc(interface, page) == 0, "only %llu of %llu frames are there to map", ull(page),
            ull(frames));
    CHECK(alloc(interface, frames) < 0, "more than the %llu frames of the pool", ull(frames));
    CHECK(allocated() == frames, "stats say %llu, mapped are %llu", ull(allocated()), ull(frames));
    for (std::uint64_t page = 0; page < frames; page++) CHECK_RESULT(0, free(interface, page));
    CHECK(allocated() == 0, "stats say %llu after everything was freed", ull(allocated()));
  }
  //! Pages that hold a frame now, as the module counts them.
  std::uint64_t allocated() const {
    exmap_ioctl_stats stats{};
    CHECK_RESULT(0, result_of(ioctl(_fd, EXMAP_IOCTL_STATS, &stats)));
    return stats.alloc_count;
  }
  //! Gives the area up, as munmap; the destructor then leaves it alone.
  void unmap_area() {
    CHECK_RESULT(0, result_of(munmap(_area, _area_pages * kPageSize)));
    _area = nullptr;
  }
  //! Unmaps the area, and maps it again, somewhere.
  void remap_area() {
    unmap_area();
    _area = map_area(_fd, _area_pages);
    CHECK(_area, "mmap of %zu pages: %s", _area_pages, strerror(errno));
  }
  void forget_fd() { _fd = -1; }

 private:
  int _fd;
  std::size_t _area_pages;
  char* _area = nullptr;
  std::vector<exmap_user_interface*> _interfaces;
};

//! 0 or the negated errno; `now` gets how many frames the pool has then.
inline long long resize(const Exmap& map, std::uint64_t frames, std::uint64_t* now = nullptr) {
  exmap_resize call{};
  call.size = sizeof call;
  call.frames = frames;
  const long long result = result_of(ioctl(map.fd(), EXMAP_IOCTL_RESIZE, &call));
  if (now) *now = call.frames;
  return result;
}

//! Content that names its owner in every word of the page, so that one foreign word tells whose it
//! was.
inline void fill_page(char* page, std::uint64_t owner) {
  auto* words = reinterpret_cast<volatile std::uint64_t*>(page);
  for (std::size_t i = 0; i < kWordsPerPage; i++) words[i] = owner;
}
inline bool page_holds(const char* page, std::uint64_t owner) {
  const auto* words = reinterpret_cast<const volatile std::uint64_t*>(page);
  for (std::size_t i = 0; i < kWordsPerPage; i++)
    if (words[i] != owner) return false;
  return true;
}

//! Page n of the file holds n + 1 in every word.
inline void write_pages(int file, std::uint64_t pages) {
  alignas(kPageSize) static char page[kPageSize];
  for (std::uint64_t n = 0; n < pages; n++) {
    fill_page(page, n + 1);
    CHECK_RESULT(kPageBytes,
                 result_of(pwrite(file, page, kPageSize, static_cast<off_t>(n * kPageSize))));
  }
}
inline int memory_file(std::uint64_t pages) {
  const int file = memfd_create("pages", MFD_CLOEXEC);
  CHECK(file >= 0, "memfd_create: %s", strerror(errno));
  write_pages(file, pages);
  return file;
}

//! Reads that may meet an unmapped page. One handler for the process, one jump buffer a thread.
inline thread_local sigjmp_buf fault_jump;
inline thread_local volatile sig_atomic_t fault_armed = 0;
inline void on_fault(int number, siginfo_t* info, void* context) {
  if (fault_armed) siglongjmp(fault_jump, number);
  const auto* const state = static_cast<const ucontext_t*>(context);
  std::printf("# signal %d outside a checked access: address %p, instruction 0x%llx\n", number,
              info->si_addr, ull(static_cast<std::uint64_t>(state->uc_mcontext.gregs[REG_RIP])));
  std::fflush(stdout);
  signal(number, SIG_DFL);
}
inline void catch_faults() {
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_NODEFER | SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
}
//! 0 and the word, or the signal that the access raised. Needs catch_faults().
inline int try_read(const volatile std::uint64_t* address, std::uint64_t& value) {
  fault_armed = 1;
  const int raised = sigsetjmp(fault_jump, 0);
  if (raised == 0) value = *address;
  fault_armed = 0;
  return raised;
}
inline int try_write(volatile std::uint64_t* address, std::uint64_t value) {
  fault_armed = 1;
  const int raised = sigsetjmp(fault_jump, 0);
  if (raised == 0) *address = value;
  fault_armed = 0;
  return raised;
}

inline void pin_to_cpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  CHECK(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity to CPU %d: %s", cpu,
        strerror(errno));
}
inline int cpu_count() {
  return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
}

//! Runs `body` in a child and gives its wait status; a child that returns exits 0.
template <typename Body>
pid_t spawn(Body body) {
  std::fflush(stdout);
  const pid_t child = fork();
  CHECK(child >= 0, "fork: %s", strerror(errno));
  if (child == 0) {
    body();
    std::fflush(stdout);
    _exit(0);
  }
  return child;
}
inline int wait_for(pid_t child) {
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child, "waitpid: %s", strerror(errno));
  return status;
}
template <typename Body>
void in_child(const char* what, Body body) {
  const int status = wait_for(spawn(body));
  if (WIFEXITED(status) && WEXITSTATUS(status) == kSkip) SKIP("%s", what);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: the child ended with status 0x%x", what,
        status);
}

inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
template <typename Condition>
bool becomes_true(Condition condition, double seconds_max) {
  const double start = seconds_now();
  while (!condition()) {
    if (seconds_now() - start > seconds_max) return false;
    usleep(10000);
  }
  return true;
}

//! A number from a /proc or /sys file; -1 where it is not there. `key` empty: the file's first
//! word.
inline long long read_number(const char* path, const std::string& key = "") {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    if (key.empty()) return std::strtoll(word.c_str(), nullptr, 0);
    if (word == key && file >> word) return std::strtoll(word.c_str(), nullptr, 0);
  }
  return -1;
}
inline bool write_text(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY);
  if (fd < 0) return false;
  const auto length = static_cast<ssize_t>(std::strlen(text));
  const bool written = write(fd, text, static_cast<std::size_t>(length)) == length;
  close(fd);
  return written;
}

//! Free pages that wait in the CPUs' own lists, which MemFree does not count.
inline long long free_per_cpu_kib() {
  std::ifstream file("/proc/zoneinfo");
  long long pages = 0;
  for (std::string word; file >> word;)
    if (word == "count:" && file >> word) pages += std::strtoll(word.c_str(), nullptr, 10);
  return pages * static_cast<long long>(kPageSize / 1024);
}

//! What the system held before a test, to be held against what it holds after: frames the module
//! has from the page allocator (exact), references on the module (exact), free memory (a whole pool
//! shows, one page drowns in noise).
class Ledger {
 public:
  Ledger() {
    read(_frames, _references, _free_kib);
    CHECK(_frames >= 0 && _references >= 0, "the module's counters are not readable");
  }
  //! Every exmap opened since is closed by now; give the last deferred puts a moment.
  void check_balanced(long long free_kib_slack = 4096) const {
    long long frames = 0, references = 0, free_kib = 0;
    const bool balanced = becomes_true(
        [&] {
          read(frames, references, free_kib);
          return frames == _frames && references == _references &&
                 (is_debug_kernel() || free_kib + free_kib_slack >= _free_kib);
        },
        10);
    std::printf("# frames %lld -> %lld, module references %lld -> %lld, free KiB %lld -> %lld\n",
                _frames, frames, _references, references, _free_kib, free_kib);
    CHECK(balanced, "something was lost");
  }

 private:
  static bool is_debug_kernel() { return access("/sys/kernel/debug/kmemleak", F_OK) == 0; }
  static void read(long long& frames, long long& references, long long& free_kib) {
    frames = read_number("/sys/module/exmap/parameters/frames");
    references = read_number("/sys/module/exmap/refcnt");
    write_text("/proc/sys/vm/drop_caches", "3");
    free_kib = free_per_cpu_kib() + read_number("/proc/meminfo", "MemFree:") +
               read_number("/proc/meminfo", "Cached:") + read_number("/proc/meminfo", "Buffers:") +
               read_number("/proc/meminfo", "SReclaimable:");
  }
  long long _frames = 0, _references = 0, _free_kib = 0;
};

}  // namespace exmap_test

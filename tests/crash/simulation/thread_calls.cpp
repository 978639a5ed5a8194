// SPDX-License-Identifier: MIT
//
// The C library's calls that let a thread wait, start or see time or chance. The linker finds these
// first, for the C++ library too. In a thread of a schedule they are the schedule's; elsewhere they
// do what they always do.
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>

#include "crash/simulation/scheduler.hpp"

namespace {

using vmcache::test::Scheduler;
using vmcache::test::SimulatedThread;

constexpr std::int64_t kMutexWeight = 4;
constexpr std::uint64_t kSecond = 1'000'000'000;

//! The next definition of that name.
template <typename Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

std::uint64_t ns_of(const timespec& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * kSecond +
         static_cast<std::uint64_t>(time.tv_nsec);
}

bool simulated() noexcept {
  return Scheduler::self() != nullptr;
}

// A mutex is its first word here. Outside of a schedule there is one thread, so nobody waits.
int& word_of(pthread_mutex_t* mutex) noexcept {
  return mutex->__data.__lock;
}

void lock(pthread_mutex_t* mutex) {
  if (!simulated()) {
    if (word_of(mutex) != 0) std::abort();
  } else {
    while (word_of(mutex) != 0) (void)Scheduler::get().block(mutex);
  }
  word_of(mutex) = 1;
}

void unlock(pthread_mutex_t* mutex) {
  word_of(mutex) = 0;
  if (simulated()) Scheduler::get().wake(mutex, ~0u);
}

int wait_until(pthread_cond_t* condition, pthread_mutex_t* mutex, std::uint64_t deadline_ns) {
  if (!simulated()) std::abort();
  unlock(mutex);
  const bool woken = Scheduler::get().block(condition, deadline_ns);
  lock(mutex);
  return woken ? 0 : ETIMEDOUT;
}

long futex(const std::uint32_t* word, int operation, std::uint32_t value, const timespec* timeout) {
  switch (operation & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: {
      Scheduler::mark(kMutexWeight);
      if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != value) {
        errno = EAGAIN;
        return -1;
      }
      std::uint64_t deadline = SimulatedThread::kNever;
      if (timeout != nullptr) {
        const bool absolute = (operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
        deadline = ns_of(*timeout) + (absolute ? 0 : Scheduler::get().now_ns());
      }
      if (Scheduler::get().block(word, deadline)) return 0;
      errno = ETIMEDOUT;
      return -1;
    }
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
      Scheduler::mark(kMutexWeight);
      return Scheduler::get().wake(word, value);
    default:
      std::abort();
  }
}

}  // namespace

extern "C" {

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  Scheduler::mark(kMutexWeight);
  lock(mutex);
  return 0;
}

int pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept {
  Scheduler::mark(kMutexWeight);
  if (word_of(mutex) != 0) return EBUSY;
  word_of(mutex) = 1;
  return 0;
}

int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept {
  unlock(mutex);
  Scheduler::mark(kMutexWeight);
  return 0;
}

int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
  return wait_until(condition, mutex, SimulatedThread::kNever);
}

int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                           const timespec* until) {
  return wait_until(condition, mutex, ns_of(*until));
}

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t,
                           const timespec* until) {
  return wait_until(condition, mutex, ns_of(*until));
}

int pthread_cond_signal(pthread_cond_t* condition) noexcept {
  if (simulated()) Scheduler::get().wake(condition, 1);
  Scheduler::mark(kMutexWeight);
  return 0;
}

int pthread_cond_broadcast(pthread_cond_t* condition) noexcept {
  if (simulated()) Scheduler::get().wake(condition, ~0u);
  Scheduler::mark(kMutexWeight);
  return 0;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  if (!simulated()) return real<Create>("pthread_create")(thread, attributes, start, argument);
  SimulatedThread* made = nullptr;
  const int error = Scheduler::get().create(made, start, argument);
  if (error == 0) *thread = made->number;
  return error;
}

int pthread_join(pthread_t thread, void** result) {
  using Join = int (*)(pthread_t, void**);
  if (!simulated()) return real<Join>("pthread_join")(thread, result);
  void* const returned =
      Scheduler::get().join(Scheduler::get().thread(static_cast<unsigned>(thread)));
  if (result != nullptr) *result = returned;
  return 0;
}

pthread_t pthread_self() noexcept {
  if (const SimulatedThread* self = Scheduler::self()) return self->number;
  static const auto call = real<pthread_t (*)()>("pthread_self");
  return call();
}

int sched_yield() noexcept {
  if (simulated()) Scheduler::get().hand_over();
  return 0;
}

int nanosleep(const timespec* duration, timespec* rest) {
  if (simulated()) {
    Scheduler& scheduler = Scheduler::get();
    scheduler.sleep_until(scheduler.now_ns() + ns_of(*duration));
    return 0;
  }
  static const auto call = real<int (*)(const timespec*, timespec*)>("nanosleep");
  return call(duration, rest);
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  if (simulated()) {
    const std::uint64_t now = Scheduler::get().now_ns();
    time->tv_sec = static_cast<time_t>(now / kSecond);
    time->tv_nsec = static_cast<long>(now % kSecond);
    return 0;
  }
  static const auto call = real<int (*)(clockid_t, timespec*)>("clock_gettime");
  return call(clock, time);
}

ssize_t getrandom(void* to, size_t bytes, unsigned flags) {
  if (!simulated()) {
    static const auto call = real<ssize_t (*)(void*, size_t, unsigned)>("getrandom");
    return call(to, bytes, flags);
  }
  for (size_t at = 0; at < bytes; at += sizeof(std::uint64_t)) {
    const std::uint64_t random = Scheduler::get().random();
    std::memcpy(static_cast<char*>(to) + at, &random,
                bytes - at < sizeof random ? bytes - at : sizeof random);
  }
  return static_cast<ssize_t>(bytes);
}

int getentropy(void* to, size_t bytes) {
  return getrandom(to, bytes, 0) == static_cast<ssize_t>(bytes) ? 0 : -1;
}

long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_futex && simulated()) {
    return futex(reinterpret_cast<const std::uint32_t*>(arguments[0]),
                 static_cast<int>(arguments[1]), static_cast<std::uint32_t>(arguments[2]),
                 reinterpret_cast<const timespec*>(arguments[3]));
  }
  static const auto call = real<long (*)(long, ...)>("syscall");
  return call(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
              arguments[5]);
}

}  // extern "C"

// Asked the processor.
std::random_device::result_type std::random_device::_M_getval() {
  result_type random = 0;
  (void)::getrandom(&random, sizeof random, 0);
  return random;
}

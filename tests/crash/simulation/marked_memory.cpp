// SPDX-License-Identifier: MIT
//
// What -fsanitize=thread makes of memory accesses, without the sanitizer: an atomic operation is a
// marked point of the schedule, then done; any other access is not looked at.
#include <atomic>
#include <cstdint>

#include "crash/simulation/scheduler.hpp"

// NOLINTBEGIN: names and types are the compiler's
namespace {
void mark() noexcept {
  vmcache::test::Scheduler::mark(1);
}
//! Also between an operation that others can see and what comes next, which need not be atomic.
template <typename Result>
Result after(Result result) noexcept {
  mark();
  return result;
}
}  // namespace

#define NOTHING(name) \
  void name(void*) {}
#define NOTHING_OF(size)                \
  NOTHING(__tsan_read##size)            \
  NOTHING(__tsan_write##size)           \
  NOTHING(__tsan_unaligned_read##size)  \
  NOTHING(__tsan_unaligned_write##size) \
  NOTHING(__tsan_volatile_read##size)   \
  NOTHING(__tsan_volatile_write##size)

#define FETCH(bits, type, name)                                                 \
  type __tsan_atomic##bits##_fetch_##name(volatile type* at, type value, int) { \
    mark();                                                                     \
    return after(__atomic_fetch_##name(at, value, __ATOMIC_SEQ_CST));           \
  }
#define ATOMIC(bits, type)                                                                         \
  type __tsan_atomic##bits##_load(const volatile type* at, int) {                                  \
    mark();                                                                                        \
    return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                                  \
  }                                                                                                \
  void __tsan_atomic##bits##_store(volatile type* at, type value, int) {                           \
    mark();                                                                                        \
    __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                                 \
    mark();                                                                                        \
  }                                                                                                \
  type __tsan_atomic##bits##_exchange(volatile type* at, type value, int) {                        \
    mark();                                                                                        \
    return after(__atomic_exchange_n(at, value, __ATOMIC_SEQ_CST));                                \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile type* at, type* expected, type value, \
                                                    int, int) {                                    \
    mark();                                                                                        \
    return after(__atomic_compare_exchange_n(at, expected, value, false, __ATOMIC_SEQ_CST,         \
                                             __ATOMIC_SEQ_CST));                                   \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile type* at, type* expected, type value,   \
                                                  int, int) {                                      \
    mark();                                                                                        \
    return after(__atomic_compare_exchange_n(at, expected, value, false, __ATOMIC_SEQ_CST,         \
                                             __ATOMIC_SEQ_CST));                                   \
  }                                                                                                \
  type __tsan_atomic##bits##_compare_exchange_val(volatile type* at, type expected, type value,    \
                                                  int, int) {                                      \
    mark();                                                                                        \
    __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);  \
    return after(expected);                                                                        \
  }                                                                                                \
  FETCH(bits, type, add)                                                                           \
  FETCH(bits, type, sub)                                                                           \
  FETCH(bits, type, and)                                                                           \
  FETCH(bits, type, or)                                                                            \
  FETCH(bits, type, xor)                                                                           \
  FETCH(bits, type, nand)

extern "C" {
NOTHING(__tsan_func_entry)
NOTHING_OF(1)
NOTHING_OF(2)
NOTHING_OF(4)
NOTHING_OF(8)
NOTHING_OF(16)
NOTHING(__tsan_vptr_read)
void __tsan_init() {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_read_range(void*, unsigned long) {}
void __tsan_write_range(void*, unsigned long) {}
ATOMIC(8, unsigned char)
ATOMIC(16, unsigned short)
ATOMIC(32, unsigned int)
ATOMIC(64, unsigned long)
void __tsan_atomic_thread_fence(int) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
void __tsan_atomic_signal_fence(int) {}
}
// NOLINTEND

// SPDX-License-Identifier: MIT
//
// Hints to the processor that C++ has no word for. None of them changes what a program means.
#pragma once

#include <cstdint>

#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

//! Says that this is a loop that waits for another thread.
inline void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

//! Says that this thread will write to the line at `address`. The line then comes from another core
//! once, instead of first for reading and then for writing. Any address will do; one that is not
//! mapped has no effect.
inline void prefetch_for_write(std::uintptr_t address) noexcept {
#if defined(__x86_64__) || defined(__i386__)
  // For the oldest processors the compiler makes __builtin_prefetch(p, 1) a prefetch for reading.
  // They ignore this instruction.
  __asm__ volatile("prefetchw %0" : : "m"(*reinterpret_cast<const char*>(address)));
#else
  __builtin_prefetch(reinterpret_cast<const void*>(address), 1);
#endif
}
inline void prefetch_for_write(const void* address) noexcept {
  prefetch_for_write(reinterpret_cast<std::uintptr_t>(address));
}

}  // namespace vmcache

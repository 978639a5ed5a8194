// SPDX-License-Identifier: MIT
//
// What C++ has no word for: hints to the processor. None of them changes what a program means.
#pragma once

#include <cstdint>

namespace vmcache {

//! That this is a loop that waits for another one.
inline void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

//! That the line at `address` will be written by this thread: it comes over from another core once, to stay, and not first
//! to be read and then to be written. Any address will do; what is not mapped is left alone.
inline void prefetch_for_write(std::uintptr_t address) noexcept {
#if defined(__x86_64__) || defined(__i386__)
  // For the oldest processors the compiler makes __builtin_prefetch(p, 1) a prefetch for reading. This one they ignore.
  __asm__ volatile("prefetchw %0" : : "m"(*reinterpret_cast<const char*>(address)));
#else
  __builtin_prefetch(reinterpret_cast<const void*>(address), 1);
#endif
}
inline void prefetch_for_write(const void* address) noexcept {
  prefetch_for_write(reinterpret_cast<std::uintptr_t>(address));
}

}  // namespace vmcache

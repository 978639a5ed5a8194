// SPDX-License-Identifier: MIT
#include "memory/reservation.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "file_descriptor.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

[[nodiscard]] bool commits_strictly() noexcept {
  const FileDescriptor setting{::open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC)};
  char mode = 0;
  return setting && ::read(setting.get(), &mode, 1) == 1 && mode == '2';
}

//! What may have been in the way.
std::string limits(int error) {
  std::string text;
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    text += fmt::format("; RLIMIT_AS (ulimit -v) allows {} bytes in all", limit.rlim_cur);
  if (commits_strictly())
    text += "; vm.overcommit_memory is 2, where reserved space counts as memory";
  // Only memory that mlockall(MCL_FUTURE) locks is refused so.
  if (error == EAGAIN && ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0)
    text += fmt::format(
        "; the process has called mlockall(MCL_FUTURE), and RLIMIT_MEMLOCK allows {} bytes",
        limit.rlim_cur);
  return text;
}

[[noreturn]] void fail(std::size_t bytes, const char* purpose, int error) {
  throw Error(
      Status{Errc::kOutOfMemory, error, kNoPage},
      fmt::format(
          "reserving {} bytes of address space for {}; a smaller capacity_bytes needs less{}",
          bytes, purpose, limits(error)));
}

}  // namespace

Reservation::Reservation(std::size_t bytes, const char* purpose) : _bytes(bytes) {
  void* memory =
      ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail(bytes, purpose, errno);
  // Of memory that has just been mapped, this is refused only where it is locked.
  if (::madvise(memory, kPageSize, MADV_DONTNEED) != 0 && errno == EINVAL)
    _unlocked = ::munlock(memory, bytes) == 0;
  if (::mprotect(memory, bytes, PROT_READ | PROT_WRITE) != 0) {
    const int error = errno;
    ::munmap(memory, bytes);
    fail(bytes, purpose, error);
  }
  _memory = static_cast<std::byte*>(memory);
}

Reservation::~Reservation() {
  if (_memory != nullptr) ::munmap(_memory, _bytes);
}

void Reservation::advise(std::size_t offset, std::size_t bytes, int advice) const noexcept {
  if (bytes > 0) (void)::madvise(_memory + offset, bytes, advice);
}

void Reservation::wipe_on_fork() const noexcept {
  // Refused before Linux 4.14: then a child that goes there ends, which is better than what it
  // could spoil.
  if (::madvise(_memory, _bytes, MADV_WIPEONFORK) != 0) advise(MADV_DONTFORK);
}

}  // namespace vmcache

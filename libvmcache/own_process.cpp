// SPDX-License-Identifier: MIT
#include "vmcache/detail/own_process.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <string>

#include "vmcache/error.hpp"

namespace vmcache::detail {
namespace {

using Token = std::atomic<std::uint64_t>;

//! Never given back: objects with static storage duration ask at the very end of the process.
Token* map_page() {
  void* page =
      ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    throw Error(Status{Errc::kOutOfMemory, errno, kNoPage},
                "mapping the page that tells a process from its children");
  }
  // Without it (before Linux 4.14) the page is not there in a child at all: a crash instead of an
  // error.
  if (::madvise(page, kPageSize, MADV_WIPEONFORK) != 0)
    (void)::madvise(page, kPageSize, MADV_DONTFORK);
  return ::new (page) Token(0);
}

Token& page_of_process() {
  static Token* const page = map_page();
  return *page;
}

//! The last token that was taken, here or by a parent before it forked. Copied by fork().
constinit Token last_token{0};

}  // namespace

OwnProcess::OwnProcess() : _page(&page_of_process()) {
  Token& page = page_of_process();
  _token = page.load(std::memory_order_relaxed);
  if (_token != 0) return;
  const std::uint64_t own = last_token.fetch_add(1, std::memory_order_relaxed) + 1;
  // Another thread may have been faster; then its token is the process's.
  if (page.compare_exchange_strong(_token, own, std::memory_order_relaxed)) _token = own;
}

void OwnProcess::refuse(const char* what) {
  throw Error(Errc::kWrongProcess,
              std::string(what) + " was opened by another process, of which this one is a fork");
}

void keep_for_good(void* object) noexcept {
  struct Kept {
    void* object;
    Kept* next;
  };
  static constinit std::atomic<Kept*> kept{nullptr};
  if (object == nullptr) return;
  auto* entry = ::new (std::nothrow) Kept{object, kept.load(std::memory_order_relaxed)};
  if (entry == nullptr) return;
  while (!kept.compare_exchange_weak(entry->next, entry, std::memory_order_release,
                                     std::memory_order_relaxed)) {
  }
}

}  // namespace vmcache::detail

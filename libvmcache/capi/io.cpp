// SPDX-License-Identifier: MIT
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "capi/failure.hpp"
#include "capi/file_handle.hpp"
#include "capi/new_slot.hpp"
#include "capi/pool_handle.hpp"
#include "vmcache.h"
#include "vmcache/worker.hpp"

using namespace vmcache::capi;
using vmcache::File;
using vmcache::Task;
using vmcache::Worker;

struct vmcache_io {
  explicit vmcache_io(vmcache_pool& pool) : use(pool.uses()), handle(pool), worker(pool.pool()) {}

  Use use;
  vmcache_pool& handle;
  const std::thread::id thread = std::this_thread::get_id();
  //! Has room for what is under way, so that a completion cannot be lost.
  std::vector<struct vmcache_completion> done;
  std::size_t under_way = 0;
  Worker worker;  // goes first
};

namespace {

static_assert(sizeof(struct vmcache_fix_request) == 24);
static_assert(sizeof(struct vmcache_completion) == 56);

void fail_completion(struct vmcache_completion& completion) noexcept {
  completion.code = fail_with_exception("vmcache_io");
  struct vmcache_failure failure {};
  failure.size = sizeof failure;
  (void)vmcache_last_failure(&failure);
  completion.os_error = failure.os_error;
}

Task<> fix(vmcache_io& io, struct vmcache_fix_request request) {
  struct vmcache_completion completion {};
  completion.user = request.user;
  completion.page_id = request.page_id;
  try {
    NewSlot slot;
    if (request.mode == VMCACHE_SHARED) {
      slot.fill(io.handle, co_await io.worker.fix_shared(request.page_id, request.order),
                &completion.page);
    } else {
      slot.fill(io.handle, co_await io.worker.fix_exclusive(request.page_id, request.order),
                &completion.page);
    }
  } catch (...) {
    fail_completion(completion);
  }
  io.done.push_back(completion);
  --io.under_way;
}

//! A call without a page.
Task<> finish(vmcache_io& io, Task<> call, std::uint64_t page_id, void* user) {
  struct vmcache_completion completion {};
  completion.user = user;
  completion.page_id = page_id;
  try {
    co_await call;
  } catch (...) {
    fail_completion(completion);
  }
  io.done.push_back(completion);
  --io.under_way;
}

int check(const char* call, const vmcache_io* io) noexcept {
  if (io == nullptr) return fail_null(call, "io");
  if (!io->handle.process().here())
    return fail(VMCACHE_WRONG_PROCESS, "%s: the handle belongs to the parent process", call);
  if (io->thread != std::this_thread::get_id())
    return fail(VMCACHE_WRONG_THREAD, "%s: the handle was opened by another thread", call);
  return VMCACHE_OK;
}

int check_output(const char* call, const vmcache_io* io,
                 const struct vmcache_completion* completions, std::size_t capacity,
                 std::size_t* count) noexcept {
  if (count == nullptr) return fail_null(call, "count");
  *count = 0;
  if (const int code = check(call, io)) return code;
  if (completions == nullptr) return fail_null(call, "completions");
  if (capacity == 0)
    return fail(VMCACHE_INVALID_OPTION, "%s: capacity is 0: allowed is 1 or more", call);
  return VMCACHE_OK;
}

void make_room(vmcache_io& io, std::size_t count) {
  const std::size_t wanted = io.done.size() + io.under_way + count;
  if (io.done.capacity() < wanted) io.done.reserve(2 * wanted);
}

//! `make_call` makes the Worker's task for it.
template <typename MakeCall>
int begin(const char* name, vmcache_io* io, std::uint64_t page_id, void* user, MakeCall make_call) {
  return guarded(name, [&] {
    make_room(*io, 1);
    io->worker.spawn(finish(*io, make_call(io->worker), page_id, user));
    ++io->under_way;
  });
}

template <typename MakeCall>
int begin_on_file(const char* name, vmcache_io* io, vmcache_file* file, void* user,
                  MakeCall make_call) {
  if (const int code = check(name, io)) return code;
  if (file == nullptr) return fail_null(name, "file");
  if (&pool_of(*file) != &io->handle)
    return fail(VMCACHE_INVALID_OPTION, "%s: file is in another pool than io", name);
  return begin(name, io, 0, user,
               [&](Worker& worker) { return make_call(worker, file_of(*file)); });
}

std::size_t hand_out(vmcache_io& io, struct vmcache_completion* completions,
                     std::size_t capacity) noexcept {
  const std::size_t count = std::min(capacity, io.done.size());
  std::copy_n(io.done.begin(), count, completions);
  io.done.erase(io.done.begin(), io.done.begin() + static_cast<std::ptrdiff_t>(count));
  return count;
}

}  // namespace

int vmcache_io_open(struct vmcache_pool* pool, struct vmcache_io** io) {
  constexpr const char* kCall = "vmcache_io_open";
  if (io == nullptr) return fail_null(kCall, "io");
  *io = nullptr;
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] { *io = new vmcache_io(*pool); });
}

int vmcache_io_submit(struct vmcache_io* io, const struct vmcache_fix_request* requests,
                      size_t count) {
  constexpr const char* kCall = "vmcache_io_submit";
  if (const int code = check(kCall, io)) return code;
  if (requests == nullptr && count != 0) return fail_null(kCall, "requests");
  for (std::size_t n = 0; n < count; ++n) {
    const int mode = static_cast<int>(requests[n].mode);
    if (const int code = check_mode(kCall, mode)) return code;
    if (const int code = io->handle.refuse_change(kCall, requests[n].page_id, mode)) return code;
  }
  return guarded(kCall, [&] {
    make_room(*io, count);
    for (std::size_t n = 0; n < count; ++n) {
      try {
        io->worker.spawn(fix(*io, requests[n]));
        ++io->under_way;
      } catch (...) {
        // Earlier ones of the set are under way, so this is no failure of the call.
        struct vmcache_completion completion {};
        completion.user = requests[n].user;
        completion.page_id = requests[n].page_id;
        fail_completion(completion);
        io->done.push_back(completion);
      }
    }
  });
}

int vmcache_io_sync(struct vmcache_io* io, struct vmcache_file* file, void* user) {
  return begin_on_file("vmcache_io_sync", io, file, user,
                       [](Worker& worker, File& of) { return worker.sync(of); });
}

int vmcache_io_flush(struct vmcache_io* io, struct vmcache_file* file, void* user) {
  return begin_on_file("vmcache_io_flush", io, file, user,
                       [](Worker& worker, File& of) { return worker.flush(of); });
}

int vmcache_io_write_back(struct vmcache_io* io, struct vmcache_file* file, const uint64_t* pages,
                          size_t count, void* user) {
  constexpr const char* kCall = "vmcache_io_write_back";
  if (pages == nullptr && count != 0) return fail_null(kCall, "pages");
  return begin_on_file(kCall, io, file, user, [&](Worker& worker, File& of) {
    return pages == nullptr ? worker.write_back(of)
                            : worker.write_back(of, std::span(pages, count));
  });
}

int vmcache_io_checkpoint(struct vmcache_io* io, void* user) {
  constexpr const char* kCall = "vmcache_io_checkpoint";
  if (const int code = check(kCall, io)) return code;
  return begin(kCall, io, 0, user, [](Worker& worker) { return worker.checkpoint(); });
}

int vmcache_io_free_extent(struct vmcache_io* io, uint64_t page_id, unsigned order, void* user) {
  constexpr const char* kCall = "vmcache_io_free_extent";
  if (const int code = check(kCall, io)) return code;
  if (const int code = io->handle.refuse_database(kCall)) return code;
  return begin(kCall, io, page_id, user, [page_id, order](Worker& worker) {
    return worker.free(vmcache::Extent{page_id, order});
  });
}

int vmcache_io_poll(struct vmcache_io* io, struct vmcache_completion* completions, size_t capacity,
                    size_t* count) {
  constexpr const char* kCall = "vmcache_io_poll";
  if (const int code = check_output(kCall, io, completions, capacity, count)) return code;
  return guarded(kCall, [&] {
    if (io->under_way > 0) (void)io->worker.poll();
    *count = hand_out(*io, completions, capacity);
  });
}

int vmcache_io_wait(struct vmcache_io* io, struct vmcache_completion* completions, size_t capacity,
                    int timeout_ms, size_t* count) {
  using Clock = std::chrono::steady_clock;
  constexpr const char* kCall = "vmcache_io_wait";
  if (const int code = check_output(kCall, io, completions, capacity, count)) return code;
  if (timeout_ms < -1)
    return fail(VMCACHE_INVALID_OPTION, "%s: timeout_ms is %d: allowed are -1 and more", kCall,
                timeout_ms);
  return guarded(kCall, [&] {
    const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
    struct pollfd waits {
      io->worker.fd(), POLLIN, 0
    };
    for (;;) {
      if (io->under_way > 0) (void)io->worker.poll();
      *count = hand_out(*io, completions, capacity);
      if (*count > 0 || io->under_way == 0) return;
      int left = -1;
      if (timeout_ms >= 0) {
        const auto ms =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
        if (ms <= 0) return;
        left = static_cast<int>(ms);
      }
      (void)::poll(&waits, 1, left);  // a signal only makes the next round earlier
    }
  });
}

int vmcache_io_fd(struct vmcache_io* io, int* fd) {
  constexpr const char* kCall = "vmcache_io_fd";
  if (const int code = check(kCall, io)) return code;
  if (fd == nullptr) return fail_null(kCall, "fd");
  return guarded(kCall, [&] { *fd = io->worker.fd(); });
}

int vmcache_io_pending(struct vmcache_io* io, size_t* count) {
  constexpr const char* kCall = "vmcache_io_pending";
  if (const int code = check(kCall, io)) return code;
  if (count == nullptr) return fail_null(kCall, "count");
  *count = io->under_way + io->done.size();
  return VMCACHE_OK;
}

int vmcache_io_destroy(struct vmcache_io* io) {
  constexpr const char* kCall = "vmcache_io_destroy";
  if (io == nullptr) return VMCACHE_OK;
  const int code = check(kCall, io);
  if (code != VMCACHE_OK) return code;  // in a child the tasks are the parent's: all of it stays
  if (io->under_way > 0)
    return fail(VMCACHE_BUSY, "%s: %zu calls are under way", kCall, io->under_way);
  for (struct vmcache_completion& completion : io->done) {
    if (completion.page.data != nullptr) (void)vmcache_unfix_unchanged(&completion.page);
  }
  delete io;
  return VMCACHE_OK;
}

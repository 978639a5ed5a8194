/* SPDX-License-Identifier: MIT */
/* Many calls at once: submission and completion. Include <vmcache.h>. */
#ifndef VMCACHE_C_IO_H
#define VMCACHE_C_IO_H

#include "vmcache/c/file.h"
#include "vmcache/c/page.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One thread's set of calls that are under way: fixes, write-backs and others. While one of them
 * waits for I/O or a latch, the others go on, and misses are read together. The thread that opened
 * it makes all calls: others get VMCACHE_WRONG_THREAD. Destroy it before that thread ends; else its
 * place among the pool's `workers` is lost, and the pool stays busy. */
struct vmcache_io;

/* Takes one of the pool's `workers` places; waits if none is free. VMCACHE_BUSY if this thread has
 * one already, and none is free. */
VMCACHE_API int vmcache_io_open(struct vmcache_pool *pool, struct vmcache_io **io);

struct vmcache_fix_request {
  uint64_t page_id;
  uint32_t order;
  uint32_t mode; /* VMCACHE_SHARED or VMCACHE_EXCLUSIVE */
  void *user;    /* comes back in the completion */
};

struct vmcache_completion {
  void *user;
  uint64_t page_id;
  int32_t code; /* 0, or the enum vmcache_error that the blocking call would have returned */
  int32_t os_error; /* errno, or 0 */
  struct vmcache_page page; /* the caller's, to be unfixed; holds nothing if code is not 0 */
};

/* Starts `count` fixes. Never waits. Each of them comes back as one completion, in any order. A
 * wrong mode, or a lack of memory for the set, is an error and starts none. */
VMCACHE_API int vmcache_io_submit(struct vmcache_io *io, const struct vmcache_fix_request *requests,
                                  size_t count);

/* Start other calls. Never wait. Each comes back as one completion, with `user`, the code that the
 * blocking call would have returned, and no page. The file must be in the same pool
 * (VMCACHE_INVALID_OPTION), and cannot be closed meanwhile (VMCACHE_BUSY).
 * vmcache_file_sync(), _flush() and _write_back(), whose `pages` are copied: */
VMCACHE_API int vmcache_io_sync(struct vmcache_io *io, struct vmcache_file *file, void *user);
VMCACHE_API int vmcache_io_flush(struct vmcache_io *io, struct vmcache_file *file, void *user);
VMCACHE_API int vmcache_io_write_back(struct vmcache_io *io, struct vmcache_file *file,
                                      const uint64_t *pages, size_t count, void *user);
/* vmcache_pool_checkpoint(). */
VMCACHE_API int vmcache_io_checkpoint(struct vmcache_io *io, void *user);
/* vmcache_free_extent(), but waits for latches and faults in the way, for frame_wait_ms at most.
 * `page_id` comes back in the completion. */
VMCACHE_API int vmcache_io_free_extent(struct vmcache_io *io, uint64_t page_id, unsigned order,
                                       void *user);

/* Does what there is to do without waiting, and hands out up to `capacity` completions, whose
 * number it stores in `count`. If that is `capacity`, call it again. */
VMCACHE_API int vmcache_io_poll(struct vmcache_io *io, struct vmcache_completion *completions,
                                size_t capacity, size_t *count);
/* The same, but waits until there is a completion, nothing is under way, or timeout_ms has passed
 * (-1: as long as it takes). `count` is then 0 in the last two cases. */
VMCACHE_API int vmcache_io_wait(struct vmcache_io *io, struct vmcache_completion *completions,
                                size_t capacity, int timeout_ms, size_t *count);

/* Stores a descriptor for the caller's loop: poll(2), epoll and select find it readable when
 * vmcache_io_poll() may have something to do. It may be readable too often. It is closed with the
 * handle; do not read from it. VMCACHE_OUT_OF_MEMORY if no descriptor is left. */
VMCACHE_API int vmcache_io_fd(struct vmcache_io *io, int *fd);

/* Calls that were started and not handed out yet. Does not wait. */
VMCACHE_API int vmcache_io_pending(struct vmcache_io *io, size_t *count);

/* Frees the handle. VMCACHE_BUSY while calls are under way. Pages that have come and were not
 * handed out are unfixed. */
VMCACHE_API int vmcache_io_destroy(struct vmcache_io *io);

#ifdef __cplusplus
}
#endif
#endif

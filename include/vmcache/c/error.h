/* SPDX-License-Identifier: MIT */
/* What calls of the C API return, and what is known of a failure. Include <vmcache.h>. */
#ifndef VMCACHE_C_ERROR_H
#define VMCACHE_C_ERROR_H

#include <stddef.h>
#include <stdint.h>

/* Before each function: it is part of the shared library's interface. */
#define VMCACHE_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* Values keep their meaning for as long as the soname stays. New ones may come. */
enum vmcache_error {
  VMCACHE_OK = 0,
  /* an option or argument is outside its range */
  VMCACHE_INVALID_OPTION = 1,
  /* the file is no database of this library, or of a version or geometry that it does not read */
  VMCACHE_NOT_A_DATABASE = 2,
  /* the database was not closed cleanly, and the options do not allow opening it */
  VMCACHE_UNCLEAN_SHUTDOWN = 3,
  /* another pool, here or in another process, has the file open, or its device is mounted */
  VMCACHE_IN_USE = 4,
  /* a read, write or flush failed; a page that was to be written stays dirty */
  VMCACHE_IO = 5,
  /* no frame could be freed within frame_wait_ms, or too many pages are pinned */
  VMCACHE_POOL_EXHAUSTED = 6,
  /* the capacity is reached, or the device is full */
  VMCACHE_DATABASE_FULL = 7,
  /* the system refused memory */
  VMCACHE_OUT_OF_MEMORY = 8,
  /* kernel, device or file system do not offer what was asked for */
  VMCACHE_UNSUPPORTED = 9,
  /* no such page, or an order that is not the extent's, or it is free already */
  VMCACHE_INVALID_PAGE = 10,
  /* a key, value or transaction is longer than allowed */
  VMCACHE_TOO_LARGE = 11,
  /* stored bytes contradict themselves */
  VMCACHE_CORRUPT = 12,
  /* latches, pins, handles or another thread are in the way; try again later */
  VMCACHE_BUSY = 13,
  /* a page's bytes are not those that were written */
  VMCACHE_CHECKSUM = 14,
  /* a page's bytes were written for another page id */
  VMCACHE_WRONG_PAGE = 15,
  /* a page is not as it was last written */
  VMCACHE_LOST_WRITE = 16,
  /* a page is newer than the log */
  VMCACHE_BEYOND_LOG = 17,
  /* page file and log do not belong together */
  VMCACHE_MISMATCH = 18,
  /* another transaction holds a lock on the key: roll back and try again */
  VMCACHE_CONFLICT = 19,
  /* the handle was closed */
  VMCACHE_CLOSED = 20,
  /* the handle belongs to the process that this one was forked from */
  VMCACHE_WRONG_PROCESS = 21,
  /* the object belongs to another thread */
  VMCACHE_WRONG_THREAD = 22,
  /* the file or database was opened to be read only; nothing was changed */
  VMCACHE_READ_ONLY = 23,
  /* what was awaited has not come in time */
  VMCACHE_TIMED_OUT = 24,
  /* somebody ended the wait */
  VMCACHE_CANCELLED = 25,

  /* From here on: answers rather than failures. They, too, set the message. */

  /* the key does not exist, or a scan is at its end */
  VMCACHE_NOT_FOUND = 64,
  /* the key exists already */
  VMCACHE_EXISTS = 65,
  /* what was read belongs to no single version of the page: read it again */
  VMCACHE_CHANGED = 66,
  /* the page is not in memory (vmcache_try_fix()) */
  VMCACHE_MISS = 67,

  /* an error of the library that has no code of its own; the message says what */
  VMCACHE_INTERNAL = 127
};

/* Why the last call of this thread that did not return 0 failed: one line of text, at most 511
 * bytes. It is the thread's own. It stays valid until the thread's next call that does not return
 * 0, or the thread's end. "" if there was none. Never null. */
VMCACHE_API const char *vmcache_last_message(void);

/* The same as values. */
struct vmcache_failure {
  size_t size;            /* sizeof(struct vmcache_failure); the caller sets it */
  int code;               /* enum vmcache_error; 0 if no call has failed */
  int os_error;           /* errno, or 0 */
  uint64_t page_id;       /* the page concerned, or 0 */
  uint64_t device_status; /* NVMe status (code type << 8 | code), or 0 */
  uint64_t expected;      /* what the page should have said: see Status in vmcache/error.hpp */
  uint64_t found;         /* what it said */
};
VMCACHE_API int vmcache_last_failure(struct vmcache_failure *failure);

/* The code's name, "VMCACHE_IO" for example; "unknown" for other values. Never fails. */
VMCACHE_API const char *vmcache_error_name(int code);

/* The library's version, "0.2.0". Never fails. */
VMCACHE_API const char *vmcache_version(void);

#ifdef __cplusplus
}
#endif
#endif

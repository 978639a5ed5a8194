/* SPDX-License-Identifier: MIT */
/* Many pages one after the other: scans, and runs of extents. Include <vmcache.h>. */
#ifndef VMCACHE_C_SCAN_H
#define VMCACHE_C_SCAN_H

#include "vmcache/c/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A pass through single pages of a file or of the database, in the order of their ids. It brings
 * the next pages in together, and uses few frames again and again, so that what others use stays in
 * memory. One thread at a time may use it. */
struct vmcache_scan;

/* `read_ahead`: pages that are brought in together, 1 .. 256; 0: 64. No more than an eighth of the
 * pool is used. VMCACHE_INVALID_OPTION. */
VMCACHE_API int vmcache_scan_open(struct vmcache_pool *pool, uint64_t first, uint64_t pages,
                                  unsigned read_ahead, struct vmcache_scan **scan);
/* Lets go of the page before, latches the next one shared, and stores where it is. `page_id` may be
 * null. The bytes may be read until the scan's next call. VMCACHE_NOT_FOUND at the end; what
 * vmcache_fix() returns for the page, and the next call then goes on behind it. */
VMCACHE_API int vmcache_scan_next(struct vmcache_scan *scan, const void **data, uint64_t *page_id);
/* Lets go of the page, and frees the handle. */
VMCACHE_API int vmcache_scan_destroy(struct vmcache_scan *scan);

/* A run: neighbouring pages of one file that are used as one object of any length, up to half of
 * the pool, with one range of addresses. The pages are cut into the fewest extents that there can
 * be, by their place and number alone. The pool remembers these: before the pages are used in
 * another way, drop or discard them (vmcache_file_drop()). */
struct vmcache_run;

/* Brings the run into memory and latches all of it, VMCACHE_SHARED or VMCACHE_EXCLUSIVE. `data` is
 * its first byte. Waits for latches and I/O. Runs that overlap wait for each other in no circle.
 * The handle belongs to no thread: it may be unfixed by any, and is not when its thread ends.
 * VMCACHE_INVALID_OPTION (no page, too many, the mode), _INVALID_PAGE (not all of one open file, or
 * the pages were fixed in another way before); else as vmcache_fix(). */
VMCACHE_API int vmcache_run_fix(struct vmcache_pool *pool, uint64_t first, uint64_t pages, int mode,
                                struct vmcache_run **run, void **data);
/* Gives the latches back and frees the handle. If it was fixed exclusively all of it counts as
 * changed. Does not wait. A null handle is no error. */
VMCACHE_API int vmcache_run_unfix(struct vmcache_run *run);
/* The same where no byte was changed. */
VMCACHE_API int vmcache_run_unfix_unchanged(struct vmcache_run *run);
/* Brings all of it into memory together, and waits for it. It may be evicted again. Errors as
 * vmcache_run_fix(). */
VMCACHE_API int vmcache_run_prefetch(struct vmcache_pool *pool, uint64_t first, uint64_t pages);
/* Writes back what was changed before the call, as vmcache_file_write_back() does. VMCACHE_BUSY if
 * it stays fixed exclusively. */
VMCACHE_API int vmcache_run_write_back(struct vmcache_pool *pool, uint64_t first, uint64_t pages);

#ifdef __cplusplus
}
#endif
#endif

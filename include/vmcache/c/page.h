/* SPDX-License-Identifier: MIT */
/* Pages: fix, read optimistically, pin, allocate, free. Include <vmcache.h>. */
#ifndef VMCACHE_C_PAGE_H
#define VMCACHE_C_PAGE_H

#include "vmcache/c/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An extent has 2^order pages, is fixed, read, written and evicted as one, and has a page id that
 * is a multiple of 2^order. `order` is 0 .. VMCACHE_MAX_ORDER everywhere, 0 for a single page, and
 * must be as the extent was allocated, else VMCACHE_INVALID_PAGE. */
struct vmcache_extent {
  uint64_t page_id;
  uint32_t order;
  uint32_t reserved; /* 0 */
};

enum vmcache_mode {
  VMCACHE_SHARED = 1,   /* nobody changes the page meanwhile; up to 252 holders; read only */
  VMCACHE_EXCLUSIVE = 2 /* nobody else has the page; it may be changed */
};

/* A page that is fixed: latched, and in memory until vmcache_unfix(). It belongs to the thread that
 * fixed it: another one gets VMCACHE_WRONG_THREAD. Move it as you like; of its copies one can be
 * unfixed, and the others are then recognised as stale (VMCACHE_INVALID_OPTION). What a thread
 * still holds when it ends is unfixed then, and the pool's log callback is told. */
struct vmcache_page {
  void *data;         /* 4096 << order bytes; null if no page is held */
  uint64_t page_id;
  uint64_t opaque[2]; /* the library's; all zeros if no page is held */
};

/* Fixes an extent. Waits for latches and I/O. VMCACHE_INVALID_PAGE, _IO, _POOL_EXHAUSTED, and what
 * a check of the page finds. A thread that wants a page which it has latched itself in a mode that
 * excludes this one waits for ever; vmcache_try_fix() does not. */
VMCACHE_API int vmcache_fix(struct vmcache_pool *pool, uint64_t page_id, unsigned order, int mode,
                            struct vmcache_page *page);

/* The same for a page that is in memory and free of latches. Never waits. VMCACHE_BUSY,
 * VMCACHE_MISS (not in memory, or no such page), VMCACHE_CLOSED. */
VMCACHE_API int vmcache_try_fix(struct vmcache_pool *pool, uint64_t page_id, unsigned order,
                                int mode, struct vmcache_page *page);

/* Gives the latch back and clears `page`. A page that was fixed exclusively counts as changed: it
 * is dirty, and of a new version. VMCACHE_INVALID_OPTION if `page` holds none, or is a copy of one
 * that was unfixed; VMCACHE_WRONG_THREAD. Does not wait. */
VMCACHE_API int vmcache_unfix(struct vmcache_page *page);

/* The same for a page of which no byte was changed; then it need not be written back. */
VMCACHE_API int vmcache_unfix_unchanged(struct vmcache_page *page);

/* A page that is read without a latch and may change meanwhile. What lies at `data` may be any
 * bytes, and is always readable: copy what you want of it, check every length and offset against a
 * bound, call vmcache_read_validate(), and only then use the copy. Copy the struct as you like; it
 * needs no end. It must not be used after the pool was destroyed. */
struct vmcache_read {
  const void *data;
  uint64_t page_id;
  uint64_t opaque[2];
};

/* Begins. Waits only if the page is not in memory or is latched exclusively. Errors as
 * vmcache_fix(). */
VMCACHE_API int vmcache_read_begin(struct vmcache_pool *pool, uint64_t page_id, unsigned order,
                                   struct vmcache_read *read);
/* 0 if everything read since the begin belongs to one version of the page, else VMCACHE_CHANGED.
 * May be called again. Does not wait. */
VMCACHE_API int vmcache_read_validate(const struct vmcache_read *read);
/* Fixes the version that was seen. VMCACHE_CHANGED if it has changed, is gone, or is latched by
 * others; begin again then. Does not wait. */
VMCACHE_API int vmcache_read_upgrade(const struct vmcache_read *read, int mode,
                                     struct vmcache_page *page);

/* A page that stays where it is and in memory, without a latch. Its holder may read, and must know
 * by other means that nobody changes the page meanwhile. Such a page cannot be freed, and its file
 * not be closed: VMCACHE_BUSY. Any thread may unpin it. */
struct vmcache_pin {
  const void *data;
  uint64_t page_id;
  uint64_t opaque[2]; /* the library's; all zeros if no page is held */
};

/* Errors as vmcache_fix() with VMCACHE_SHARED; _POOL_EXHAUSTED if half of the pool is pinned. */
VMCACHE_API int vmcache_pin_page(struct vmcache_pool *pool, uint64_t page_id,
                                 struct vmcache_pin *pin);
/* The same for an extent. */
VMCACHE_API int vmcache_pin_extent(struct vmcache_pool *pool, uint64_t page_id, unsigned order,
                                   struct vmcache_pin *pin);
/* Ends the pin and clears `pin`. VMCACHE_INVALID_OPTION if it holds none, or is a copy of one that
 * was unpinned. Does not wait. */
VMCACHE_API int vmcache_unpin(struct vmcache_pin *pin);

/* Makes an extent, zeroed and fixed exclusively. Waits for a frame. VMCACHE_INVALID_PAGE (order),
 * _DATABASE_FULL, _POOL_EXHAUSTED, _BUSY. */
VMCACHE_API int vmcache_allocate(struct vmcache_pool *pool, unsigned order,
                                 struct vmcache_page *page);

enum vmcache_placement {
  VMCACHE_ANYWHERE = 0, /* page ids that were freed are used again */
  VMCACHE_IN_A_ROW = 1  /* ids that follow one another, behind all that were ever handed out */
};
/* Makes `count` single pages at once, 1 .. half of the pool, zeroed and fixed exclusively, in the
 * order of their ids if they are in a row. All of them or none. VMCACHE_INVALID_OPTION (count,
 * placement), else as vmcache_allocate(). */
VMCACHE_API int vmcache_allocate_pages(struct vmcache_pool *pool, size_t count, int placement,
                                       struct vmcache_page *pages);
/* Gives the extent's page ids back and clears `page`, which must be fixed exclusively. Its bytes
 * are lost. VMCACHE_INVALID_PAGE (free already, or a page of a file), _BUSY (pinned),
 * _INVALID_OPTION (as vmcache_unfix(), or not exclusive), _WRONG_THREAD. The page stays fixed
 * then. */
VMCACHE_API int vmcache_free(struct vmcache_page *page);
/* The same for an extent that nothing leads to any more, in memory or not. VMCACHE_BUSY if a latch,
 * a fault or a pin is in the way; VMCACHE_INVALID_PAGE. */
VMCACHE_API int vmcache_free_extent(struct vmcache_pool *pool, uint64_t page_id, unsigned order);

/* Takes the extent of the database that begins there out of memory. Changes are written back first.
 * Nothing happens if it is not in memory. VMCACHE_INVALID_PAGE (none of the database, or inside an
 * extent), _BUSY (pinned, stays fixed, or its log does not become durable), _IO: it then stays in
 * memory. Pages of files: vmcache_file_drop(). */
VMCACHE_API int vmcache_drop(struct vmcache_pool *pool, uint64_t page_id);

/* Brings `count` extents into memory with as few submissions as possible, and waits for all. They
 * may be evicted again. The first failure is returned after all have ended. */
VMCACHE_API int vmcache_prefetch(struct vmcache_pool *pool, const struct vmcache_extent *extents,
                                 size_t count);

#ifdef __cplusplus
}
#endif
#endif

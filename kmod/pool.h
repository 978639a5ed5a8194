/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exmap: the frames of a pool.
 *
 * A frame of the pool is owned by exactly one of
 *   - the free list of one interface (exmap_interface.free_list),
 *   - the common free list (exmap_pool.free_list),
 *   - one present entry of the page area,
 *   - the hands of one operation (exmap_interface.hand, or a local array).
 * A frame leaves an entry under the page-table lock, and reaches a free list
 * only after the TLBs of the whole mm have been flushed.
 *
 * A frame that leaves the pool stays with the exmap, as parked or replaced,
 * while the area lives: see "Who else may map a frame" in frames.c.
 *
 * References. Each frame of the pool has one reference for the pool, and the
 * share of one mapping: a reference, a map count and an NR_FILE_MAPPED count.
 * It keeps that share whether it is mapped or not, so refcount is 2 and
 * mapcount 1. The operations therefore do not touch struct page to map a frame,
 * and only read its reference count to unmap it.
 * When core mm clears an entry (madvise, munmap, exit) it drops the mapping's
 * share, as for any vm_insert_page() page. The frame is then a zapped frame,
 * with refcount 1 and mapcount 0. exmap_pool_reclaim() finds it and gives it
 * the share again. The view (view.c) adds a second mapping's share to the
 * frames that it shows.
 * A frame that is freed with a higher count is pinned by somebody (direct I/O,
 * vmsplice, a registered buffer). It stays with its user until it is unpinned,
 * see exmap_frame_replace().
 * Every frame of the exmap has the module's own inode as mapping and its frame
 * number as index, so that a shared futex in it belongs to no other page.
 */
#ifndef EXMAP_POOL_H
#define EXMAP_POOL_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>

#include <uapi/linux/exmap.h>

#include "array.h"

struct exmap;
struct exmap_interface;

/* Frames that move between an interface and the common free list at once. */
#define EXMAP_MAGAZINE		512
/* Frames that an interface keeps; its list has room for EXMAP_HAND_MAX more. */
#define EXMAP_FREE_HIGH	1024
/* Maximum number of pages that FREE unmaps before it flushes. */
#define EXMAP_HAND_MAX		1024
#define EXMAP_FREE_MAX		(EXMAP_FREE_HIGH + EXMAP_HAND_MAX)
/* Frames that a starving interface takes from another one at once. */
#define EXMAP_STEAL_MAX		64
/* Frames looked at, in a walk over all of them, before it reschedules. */
#define EXMAP_WALK_BUDGET	1024

/* References of a frame of the pool, see above. */
#define EXMAP_FRAME_REFS	2
/* References of one that the view shows. */
#define EXMAP_VIEW_REFS		3

/**
 * enum exmap_list - the lists of frames; each frame is on exactly one
 * @EXMAP_LIVE: of the pool: on a free list, in an entry or in hand
 * @EXMAP_ZAPPED: of the pool: core mm has cleared its entry, but somebody still
 *                uses it
 * @EXMAP_TAKEN: in the hands of a resize
 * @EXMAP_PARKED: left the pool by shrinking, or came back from REPLACED when
 *                the pool was complete; only a stale translation can still use
 *                it
 * @EXMAP_REPLACED: was freed while pinned; another frame took its place
 * @EXMAP_LISTS: how many lists there are
 */
enum exmap_list {
	EXMAP_LIVE,
	EXMAP_ZAPPED,
	EXMAP_TAKEN,
	EXMAP_PARKED,
	EXMAP_REPLACED,
	EXMAP_LISTS
};

/**
 * struct exmap_pool - the frames of one exmap
 * @lock: protects @free_list
 * @free_list: the common free list; has room for all frames
 * @moves: transfers between free lists so far; if it has changed, a starving
 *         operation must look again
 * @frames_lock: protects what follows, unless said otherwise. Held during walks
 *               over all frames, which reschedule
 * @list: all frames, linked by page->lru
 * @listed: how many are on each list
 * @nr_frames: frames of the pool; read by exmap_pool_frames()
 * @target: number of frames that the pool should have; changed only while
 *          exmap.resize_lock is held, too
 * @charged: frames charged to RLIMIT_MEMLOCK; protected by exmap.resize_lock
 * @zaps: events in which core mm may have cleared entries
 * @zaps_seen: value of @zaps at the last look; frames zapped before that are
 *             recovered or on EXMAP_ZAPPED
 * @zapped: frames recovered so far
 * @unpinned: frames that came back from EXMAP_REPLACED so far
 * @in_view: frames of the pool that have a number in the view
 * @left_in_view: frames that left the exmap while the view still shows them;
 *                charged until the view is gone
 */
struct exmap_pool {
	spinlock_t lock; /* the common free list */
	struct exmap_array free_list;
	atomic_long_t moves;

	struct mutex frames_lock; /* the lists of frames */
	struct list_head list[EXMAP_LISTS];
	unsigned long listed[EXMAP_LISTS];
	unsigned long nr_frames;
	unsigned long target;
	unsigned long charged;
	atomic_long_t zaps;
	long zaps_seen;
	unsigned long zapped;
	unsigned long unpinned;
	unsigned long in_view;
	unsigned long left_in_view;
};

/* A frame's number in the view plus one; 0 if it has none. See view.c. */
static inline unsigned long exmap_frame_tag(struct page *page)
{
	return READ_ONCE(page->private);
}

/* For EXMAP_ACTION_REPORT_FRAME. EXMAP_FRAME_NONE: it has no number. */
static inline u32 exmap_frame_number(unsigned long pfn)
{
	return (exmap_frame_tag(pfn_to_page(pfn)) - 1) & EXMAP_FRAME_NONE;
}

/*
 * Whether somebody other than the pool, the page area and the view uses a frame
 * that is mapped or in hand. Long-term pins of a view's frame do not count,
 * because the view exists to allow them: such a frame may get its next page
 * while it is pinned. They add GUP_PIN_COUNTING_BIAS each.
 */
static inline bool exmap_frame_is_pinned(unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);
	int refs = page_ref_count(page);

	if (likely(refs == EXMAP_FRAME_REFS))
		return false;
	return !exmap_frame_tag(page) ||
	       refs % GUP_PIN_COUNTING_BIAS != EXMAP_VIEW_REFS;
}

/* frames.c */
void exmap_pool_init(struct exmap_pool *pool);
unsigned long exmap_pool_frames(struct exmap_pool *pool);
void exmap_pool_look(struct exmap *ctx);
void exmap_pool_release(struct exmap *ctx);
void exmap_pool_destroy(struct exmap *ctx);

/* resize.c */
int exmap_pool_grow(struct exmap *ctx, unsigned long nr);
int exmap_pool_shrink(struct exmap *ctx, unsigned long nr);
void exmap_pool_settle(struct exmap *ctx);

/* reclaim.c */
unsigned long exmap_pool_reclaim(struct exmap *ctx);
unsigned long exmap_frame_replace(struct exmap *ctx, unsigned long pfn);
bool exmap_pool_fill_up(struct exmap *ctx);

/* free_list.c */
bool exmap_free_list_try_refill(struct exmap *ctx, struct exmap_interface *iface);
int exmap_free_list_refill(struct exmap *ctx, struct exmap_interface *iface);
void exmap_free_list_put(struct exmap *ctx, struct exmap_interface *iface,
			 const unsigned long *pfns, unsigned int nr);
void exmap_common_put(struct exmap *ctx, const unsigned long *pfns,
		      unsigned int nr);
unsigned int exmap_free_list_take_any(struct exmap *ctx, unsigned long *pfns,
				      unsigned int nr);

#endif /* EXMAP_POOL_H */

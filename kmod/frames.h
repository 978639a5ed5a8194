/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exmap: the lists of frames, for the files that move frames between them:
 * frames.c, resize.c and reclaim.c. The caller of everything here holds
 * frames_lock, unless a comment says otherwise.
 */
#ifndef EXMAP_FRAMES_H
#define EXMAP_FRAMES_H

#include <linux/sched.h>

#include "exmap.h"

/* Pages that are allocated, or moved between lists, at once. */
#define EXMAP_CHUNK	32

#define EXMAP_FRAME_GFP	(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN | \
			 __GFP_RETRY_MAYFAIL)

/* Called for each step of a long walk: reschedules now and then. */
static inline void walk_breathe(unsigned long *steps)
{
	if (!(++*steps % EXMAP_WALK_BUDGET))
		cond_resched();
}

static inline void frame_link(struct exmap_pool *pool, struct page *page,
			      enum exmap_list to)
{
	list_add_tail(&page->lru, &pool->list[to]);
	WRITE_ONCE(pool->listed[to], pool->listed[to] + 1);
}

static inline void frame_unlink(struct exmap_pool *pool, struct page *page,
				enum exmap_list from)
{
	list_del(&page->lru);
	WRITE_ONCE(pool->listed[from], pool->listed[from] - 1);
}

static inline void frame_move(struct exmap_pool *pool, struct page *page,
			      enum exmap_list from, enum exmap_list to)
{
	frame_unlink(pool, page, from);
	frame_link(pool, page, to);
}

static inline struct page *frame_first(struct exmap_pool *pool,
				       enum exmap_list from)
{
	return list_first_entry_or_null(&pool->list[from], struct page, lru);
}

/* Counts a frame that joins the pool (1) or leaves it (-1). */
static inline void pool_count(struct exmap_pool *pool, struct page *page,
			      long n)
{
	WRITE_ONCE(pool->nr_frames, pool->nr_frames + n);
	if (exmap_frame_tag(page))
		WRITE_ONCE(pool->in_view, pool->in_view + n);
}

void exmap_replaced_look(struct exmap_pool *pool, unsigned long nr);
struct page *exmap_parked_to_live(struct exmap_pool *pool, unsigned long look);
void exmap_fresh_to_live(struct exmap_pool *pool, struct page *page);
void exmap_list_release(struct exmap_pool *pool, enum exmap_list from,
			struct list_head *gone);
void exmap_frames_drop(struct list_head *gone); /* without frames_lock */

#endif /* EXMAP_FRAMES_H */

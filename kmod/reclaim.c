// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: brings back frames whose entry core mm has cleared, and replaces
 * frames that somebody has pinned.
 */
#include "frames.h"

/* Replaced frames that each replacement checks. It adds only one. */
#define LOOK_FEW	2

/* Whether core mm has cleared the frame's entry in the area. */
static bool frame_is_zapped(struct exmap *ctx, struct page *page)
{
	int view = exmap_frame_tag(page) ? 1 : 0;

	/* The view's share may not be there yet. A later look decides. */
	if (view && ctx->view_state == EXMAP_VIEW_MAKING)
		return false;
	return atomic_read(&page->_mapcount) < view;
}

/* Gives a zapped frame its share back, unless somebody still uses it. */
static bool frame_recover(struct exmap *ctx, struct page *page)
{
	int refs = page_ref_count(page);

	if (exmap_frame_tag(page)) {
		/* See frame_is_zapped() and exmap_frame_is_pinned(). */
		if (ctx->view_state == EXMAP_VIEW_MAKING)
			return false;
		refs = refs % GUP_PIN_COUNTING_BIAS - 1;
	}
	if (refs != 1)
		return false;
	get_page(page);
	if (atomic_inc_and_test(&page->_mapcount))
		mod_lruvec_page_state(page, NR_FILE_MAPPED, 1);
	return true;
}

/* Sorts out what core mm has unmapped; frames_lock is held. */
static void zapped_find(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long steps = 0;
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &pool->list[EXMAP_LIVE], lru) {
		if (frame_is_zapped(ctx, page))
			frame_move(pool, page, EXMAP_LIVE, EXMAP_ZAPPED);
		walk_breathe(&steps);
	}
}

/* Returns how many zapped frames went to the common free list. */
static unsigned long zapped_recover(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long pfns[EXMAP_CHUNK], found = 0, steps = 0;
	struct page *page, *next;
	unsigned int n = 0;

	list_for_each_entry_safe(page, next, &pool->list[EXMAP_ZAPPED], lru) {
		walk_breathe(&steps);
		if (!frame_recover(ctx, page))
			continue;
		frame_move(pool, page, EXMAP_ZAPPED, EXMAP_LIVE);
		pfns[n++] = page_to_pfn(page);
		found++;
		if (n == EXMAP_CHUNK) {
			exmap_common_put(ctx, pfns, n);
			n = 0;
		}
	}
	exmap_common_put(ctx, pfns, n);
	WRITE_ONCE(pool->zapped, pool->zapped + found);
	return found;
}

/**
 * exmap_pool_reclaim() - find the frames that core mm has unmapped
 * @ctx: the exmap
 *
 * A frame that is on its way through a TLB flush, or pinned, is left for the
 * next time. Looks at every frame once for each time that core mm has unmapped
 * something of the area; else only at those that were left.
 *
 * Context: may sleep.
 * Return: how many frames went to the common free list.
 */
unsigned long exmap_pool_reclaim(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long found;
	long zaps;

	zaps = atomic_long_read(&pool->zaps);
	if (zaps == READ_ONCE(pool->zaps_seen) &&
	    !READ_ONCE(pool->listed[EXMAP_ZAPPED]))
		return 0;
	smp_rmb(); /* pairs with the increment after zapping, notifier.c */
	mutex_lock(&pool->frames_lock);
	if (zaps != pool->zaps_seen) {
		zapped_find(ctx);
		if (ctx->view_state != EXMAP_VIEW_MAKING)
			WRITE_ONCE(pool->zaps_seen, zaps);
	}
	found = zapped_recover(ctx);
	mutex_unlock(&pool->frames_lock);
	return found;
}

/*
 * One more frame of the pool, parked or fresh, or NULL. frames_lock is held, but
 * not while memory is asked for (exmap.h).
 */
static struct page *another_frame(struct exmap_pool *pool, unsigned long look)
{
	struct page *page = exmap_parked_to_live(pool, look);

	if (page)
		return page;
	mutex_unlock(&pool->frames_lock);
	page = alloc_page(EXMAP_FRAME_GFP);
	mutex_lock(&pool->frames_lock);
	if (page)
		exmap_fresh_to_live(pool, page);
	return page;
}

/**
 * exmap_frame_replace() - let a pinned frame go
 * @ctx: the exmap
 * @pfn: a frame in the caller's hands, unmapped and flushed
 *
 * Whoever pins the page keeps it, and what he reads or writes there meets no
 * other page of the area. The pool takes another frame instead, or is short of
 * one until exmap_pool_fill_up().
 *
 * Context: may sleep.
 * Return: the other frame, or 0.
 */
unsigned long exmap_frame_replace(struct exmap *ctx, unsigned long pfn)
{
	struct page *old = pfn_to_page(pfn), *page;
	struct exmap_pool *pool = &ctx->pool;

	mutex_lock(&pool->frames_lock);
	/* One for the other in one hold, see exmap_pool_frames(). */
	page = another_frame(pool, LOOK_FEW);
	frame_move(pool, old, EXMAP_LIVE, EXMAP_REPLACED);
	pool_count(pool, old, -1);
	mutex_unlock(&pool->frames_lock);
	return page ? page_to_pfn(page) : 0;
}

/**
 * exmap_pool_fill_up() - make up for a frame that could not be replaced
 * @ctx: the exmap
 *
 * Context: may sleep.
 * Return: true if a frame was added to the common free list.
 */
bool exmap_pool_fill_up(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	struct page *page = NULL;
	unsigned long pfn;

	/* Without the lock it is never more than it is, perhaps less. */
	if (READ_ONCE(pool->nr_frames) >= READ_ONCE(pool->target))
		return false;
	/* Against a resize, and others that fill the same gap. */
	if (!mutex_trylock(&ctx->resize_lock))
		return false;
	mutex_lock(&pool->frames_lock);
	if (pool->nr_frames < pool->target)
		page = another_frame(pool, ULONG_MAX);
	mutex_unlock(&pool->frames_lock);
	if (page) {
		pfn = page_to_pfn(page);
		exmap_common_put(ctx, &pfn, 1);
	}
	mutex_unlock(&ctx->resize_lock);
	return page;
}

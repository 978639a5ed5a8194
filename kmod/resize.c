// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: a pool grows and shrinks. frames.c says which frames may leave the
 * exmap.
 *
 * A resize first collects all the frames it needs on the list EXMAP_TAKEN, and
 * then changes the pool. So a resize that fails leaves the pool as it was. The
 * resize_lock keeps others from that list.
 */
#include <linux/highmem.h>

#include "frames.h"

/* Makes room in the common free list for all frames of a pool of @capacity. */
static int pool_reserve(struct exmap_pool *pool, unsigned long capacity)
{
	struct exmap_array larger;
	int err;

	if (capacity <= exmap_array_capacity(&pool->free_list))
		return 0;
	err = exmap_array_extend(&pool->free_list, capacity, &larger);
	if (err)
		return err;
	spin_lock(&pool->lock);
	exmap_array_exchange(&pool->free_list, &larger);
	spin_unlock(&pool->lock);
	kvfree(larger.blocks);
	return 0;
}

static void pages_free(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		__free_page(page);
		cond_resched();
	}
}

/* All or nothing. Interruptible by a fatal signal. */
static int pages_alloc(struct list_head *pages, unsigned long nr)
{
	struct page *chunk[EXMAP_CHUNK];
	unsigned long i, got;

	while (nr) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		memset(chunk, 0, sizeof(chunk));
		got = exmap_alloc_bulk(EXMAP_FRAME_GFP, min_t(unsigned long, nr, EXMAP_CHUNK),
				       chunk);
		if (!got)
			return -ENOMEM;
		for (i = 0; i < got; i++)
			list_add(&chunk[i]->lru, pages);
		nr -= got;
	}
	return 0;
}

/* Pages become frames of the pool, free ones. */
static void pages_publish(struct exmap *ctx, struct list_head *pages)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long pfns[EXMAP_CHUNK];
	struct page *page;
	unsigned int n;

	while (!list_empty(pages)) {
		mutex_lock(&pool->frames_lock);
		for (n = 0; n < EXMAP_CHUNK && !list_empty(pages); n++) {
			page = list_first_entry(pages, struct page, lru);
			list_del(&page->lru);
			exmap_fresh_to_live(pool, page);
			pfns[n] = page_to_pfn(page);
		}
		mutex_unlock(&pool->frames_lock);
		exmap_common_put(ctx, pfns, n);
		cond_resched();
	}
}

/* Frames in hand become free ones; @come: they were not the pool's. */
static void taken_publish(struct exmap *ctx, bool come)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long pfns[EXMAP_CHUNK];
	struct page *page;
	unsigned int n;

	do {
		mutex_lock(&pool->frames_lock);
		for (n = 0; n < EXMAP_CHUNK; n++) {
			page = frame_first(pool, EXMAP_TAKEN);
			if (!page)
				break;
			frame_move(pool, page, EXMAP_TAKEN, EXMAP_LIVE);
			if (come)
				pool_count(pool, page, 1);
			pfns[n] = page_to_pfn(page);
		}
		mutex_unlock(&pool->frames_lock);
		exmap_common_put(ctx, pfns, n);
		cond_resched();
	} while (n == EXMAP_CHUNK);
}

/* Takes up to @nr parked frames into hand; returns how many. */
static unsigned long parked_take(struct exmap_pool *pool, unsigned long nr)
{
	unsigned long steps = 0;
	struct page *page;

	mutex_lock(&pool->frames_lock);
	exmap_replaced_look(pool, ULONG_MAX);
	while (steps < nr && (page = frame_first(pool, EXMAP_PARKED))) {
		frame_move(pool, page, EXMAP_PARKED, EXMAP_TAKEN);
		walk_breathe(&steps);
	}
	mutex_unlock(&pool->frames_lock);
	return steps;
}

/* All frames in hand are parked; @leave: they were the pool's. */
static void taken_park(struct exmap_pool *pool, bool leave)
{
	unsigned long steps = 0;
	struct page *page;

	mutex_lock(&pool->frames_lock);
	while ((page = frame_first(pool, EXMAP_TAKEN))) {
		frame_move(pool, page, EXMAP_TAKEN, EXMAP_PARKED);
		if (leave)
			pool_count(pool, page, -1);
		walk_breathe(&steps);
	}
	mutex_unlock(&pool->frames_lock);
}

/* Only a resize changes the list, so it needs no lock. */
static int taken_clear(struct exmap_pool *pool)
{
	struct page *page;

	list_for_each_entry(page, &pool->list[EXMAP_TAKEN], lru) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		clear_highpage(page);
	}
	return 0;
}

/**
 * exmap_pool_settle() - charge what the exmap holds to RLIMIT_MEMLOCK
 * @ctx: the exmap; its resize_lock is held
 *
 * Frames are charged when they are taken, but operations and the unmapping of
 * the area cannot wait for mmap_lock, under which charges are changed. What
 * replacements added is charged here even beyond the limit: it is held already.
 */
void exmap_pool_settle(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long owed;

	mutex_lock(&pool->frames_lock);
	if (READ_ONCE(ctx->view_state) == EXMAP_VIEW_NONE)
		pool->left_in_view = 0;
	owed = pool->target + pool->listed[EXMAP_PARKED] +
	       pool->listed[EXMAP_REPLACED] + pool->left_in_view;
	mutex_unlock(&pool->frames_lock);
	if (owed < pool->charged) {
		account_locked_vm(ctx->mm, pool->charged - owed, false);
	} else if (owed > pool->charged) {
		mmap_write_lock(ctx->mm);
		__account_locked_vm(ctx->mm, owed - pool->charged, true, current,
				    true);
		mmap_write_unlock(ctx->mm);
	}
	pool->charged = owed;
}

/**
 * exmap_pool_grow() - add frames to a pool
 * @ctx: the exmap; its resize_lock is held
 * @nr: how many
 *
 * Parked frames come first; they are cleared, as fresh ones are.
 *
 * Return: 0, or -ENOMEM (limits, cgroup or memory exhausted) or -EINTR (fatal
 *         signal); then the pool has as many frames as before.
 */
int exmap_pool_grow(struct exmap *ctx, unsigned long nr)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long target = pool->target, max = exmap_frames_max();
	unsigned long parked;
	LIST_HEAD(pages);
	int err;

	if (target > max || nr > max - target)
		return -ENOMEM;
	exmap_pool_settle(ctx);
	parked = parked_take(pool, nr);
	err = account_locked_vm(ctx->mm, nr - parked, true);
	if (err)
		goto err_park;
	err = pool_reserve(pool, target + nr);
	if (!err)
		err = pages_alloc(&pages, nr - parked);
	if (!err)
		err = taken_clear(pool);
	if (err)
		goto err_free;
	pool->charged += nr - parked;
	WRITE_ONCE(pool->target, target + nr);
	taken_publish(ctx, true);
	pages_publish(ctx, &pages);
	return 0;

err_free:
	pages_free(&pages);
	account_locked_vm(ctx->mm, nr - parked, false);
err_park:
	taken_park(pool, false);
	return err;
}

/* Takes @nr free frames into hand. */
static int free_take(struct exmap *ctx, unsigned long nr)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long pfns[EXMAP_CHUNK];
	unsigned int i, got;

	for (; nr; nr -= got) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		got = exmap_free_list_take_any(ctx, pfns,
					       min_t(unsigned long, EXMAP_CHUNK, nr));
		if (!got)
			return -EBUSY;
		mutex_lock(&pool->frames_lock);
		for (i = 0; i < got; i++)
			frame_move(pool, pfn_to_page(pfns[i]), EXMAP_LIVE,
				   EXMAP_TAKEN);
		mutex_unlock(&pool->frames_lock);
	}
	return 0;
}

/* Parked frames go back to the system, where S1 above allows it. */
static void parked_release(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	LIST_HEAD(gone);

	mutex_lock(&pool->frames_lock);
	exmap_replaced_look(pool, ULONG_MAX);
	if (exmap_shrink_returns() ||
	    READ_ONCE(ctx->area_state) == EXMAP_AREA_NONE)
		exmap_list_release(pool, EXMAP_PARKED, &gone);
	mutex_unlock(&pool->frames_lock);
	exmap_frames_drop(&gone);
}

/**
 * exmap_pool_shrink() - take free frames out of a pool
 * @ctx: the exmap; its resize_lock is held
 * @nr: how many, fewer than the pool has
 *
 * They are parked as long as an area is mapped.
 *
 * Return: 0, or -EBUSY if fewer are free, -EINTR; then the pool has as many
 *         frames as before.
 */
int exmap_pool_shrink(struct exmap *ctx, unsigned long nr)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long short_by;
	int err;

	/* Frames that the pool lacks anyway are the first to go. */
	short_by = pool->target - min(pool->target, exmap_pool_frames(pool));
	short_by = min(short_by, nr);
	exmap_pool_reclaim(ctx);
	err = free_take(ctx, nr - short_by);
	if (err) {
		taken_publish(ctx, false);
		return err;
	}
	WRITE_ONCE(pool->target, pool->target - nr);
	taken_park(pool, true);
	parked_release(ctx);
	exmap_pool_settle(ctx);
	return 0;
}

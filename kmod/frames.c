// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: the frames of a pool, from the page allocator and back.
 *
 * Frames are zeroed once, when the pool takes them; they are charged to the
 * memory cgroup (__GFP_ACCOUNT) and to RLIMIT_MEMLOCK. What a frame holds of
 * references and counts is told in exmap.h.
 */
#include "exmap.h"

/* Pages asked of the page allocator, or moved between lists, at once. */
#define CHUNK	32

static const gfp_t frame_gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN |
			       __GFP_RETRY_MAYFAIL;

/* A page becomes a frame: it gets the share of one mapping, see exmap.h. */
static void frame_init(struct page *page)
{
	/*
	 * A mapping of our own keeps get_user_pages_fast() on the lock-free
	 * path: from 6.8 it refuses pages without one.
	 */
	page->mapping = exmap_mapping();
	get_page(page);
	atomic_inc(&page->_mapcount);
	mod_lruvec_page_state(page, NR_FILE_MAPPED, 1);
	exmap_count_frames(1);
}

/*
 * The end of a frame that is off the list: the pool's references go; whoever
 * else has one keeps the page. Returns nothing to any stock.
 */
static void frame_drop(struct page *page)
{
	if (atomic_read(&page->_mapcount) >= 0) {
		if (atomic_add_negative(-1, &page->_mapcount))
			mod_lruvec_page_state(page, NR_FILE_MAPPED, -1);
		put_page(page);
	}
	put_page(page);
	exmap_count_frames(-1);
}

/* frames_lock is held. */
static void frame_link(struct exmap_pool *pool, struct page *page)
{
	list_add_tail(&page->lru, &pool->frames);
	WRITE_ONCE(pool->nr_frames, pool->nr_frames + 1);
}

static void frame_unlink(struct exmap_pool *pool, struct page *page)
{
	list_del(&page->lru);
	WRITE_ONCE(pool->nr_frames, pool->nr_frames - 1);
	if (exmap_frame_tag(page))
		WRITE_ONCE(pool->in_view, pool->in_view - 1);
	WRITE_ONCE(page->private, 0);
	page->mapping = NULL;
}

static unsigned long frame_add(struct exmap_pool *pool, struct page *page)
{
	frame_init(page);
	mutex_lock(&pool->frames_lock);
	frame_link(pool, page);
	mutex_unlock(&pool->frames_lock);
	return page_to_pfn(page);
}

/* Returns whether the view showed it, and goes on showing it. */
static bool frame_remove(struct exmap_pool *pool, struct page *page)
{
	bool in_view;

	mutex_lock(&pool->frames_lock);
	in_view = exmap_frame_tag(page);
	frame_unlink(pool, page);
	mutex_unlock(&pool->frames_lock);
	frame_drop(page);
	return in_view;
}

/**
 * exmap_pool_init() - make an empty pool
 * @pool: the pool
 */
void exmap_pool_init(struct exmap_pool *pool)
{
	spin_lock_init(&pool->lock);
	mutex_init(&pool->frames_lock);
	INIT_LIST_HEAD(&pool->frames);
}

/**
 * exmap_pool_frames() - how many frames a pool has
 * @pool: the pool
 *
 * By the lock: a replacement takes one off the list and puts another one on it,
 * and whoever looked in between would see a gap to fill, or to shrink by.
 */
unsigned long exmap_pool_frames(struct exmap_pool *pool)
{
	unsigned long nr;

	mutex_lock(&pool->frames_lock);
	nr = pool->nr_frames;
	mutex_unlock(&pool->frames_lock);
	return nr;
}

/* Makes room in the common stock for all frames of a pool of @capacity. */
static int pool_reserve(struct exmap_pool *pool, unsigned long capacity)
{
	unsigned long *stock, *old;

	if (capacity <= pool->capacity)
		return 0;
	stock = kvmalloc_array(capacity, sizeof(*stock),
			       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!stock)
		return -ENOMEM;
	spin_lock(&pool->lock);
	if (pool->count)
		memcpy(stock, pool->stock, pool->count * sizeof(*stock));
	old = pool->stock;
	pool->stock = stock;
	pool->capacity = capacity;
	spin_unlock(&pool->lock);
	kvfree(old);
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
	struct page *chunk[CHUNK];
	unsigned long i, got;

	while (nr) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		memset(chunk, 0, sizeof(chunk));
		got = exmap_alloc_bulk(frame_gfp, min_t(unsigned long, nr, CHUNK),
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
static void pool_publish(struct exmap *ctx, struct list_head *pages)
{
	unsigned long pfns[CHUNK];
	struct page *page, *next;
	unsigned int n = 0;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		pfns[n++] = frame_add(&ctx->pool, page);
		if (n == CHUNK) {
			exmap_common_put(ctx, pfns, n);
			cond_resched();
			n = 0;
		}
	}
	exmap_common_put(ctx, pfns, n);
}

/* What shrinking left in a view that is gone meanwhile is charged no more. */
static void pool_settle(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;

	if (!pool->left_in_view ||
	    READ_ONCE(ctx->view_state) != EXMAP_VIEW_NONE)
		return;
	account_locked_vm(ctx->mm, pool->left_in_view, false);
	pool->left_in_view = 0;
}

/**
 * exmap_pool_grow() - add frames to a pool
 * @ctx: the exmap; its resize_lock is held
 * @nr: how many
 *
 * Return: 0, or -ENOMEM (limits, cgroup or memory exhausted) or -EINTR (fatal
 *         signal); then the pool has as many frames as before.
 */
int exmap_pool_grow(struct exmap *ctx, unsigned long nr)
{
	unsigned long target = ctx->pool.target, max = exmap_frames_max();
	LIST_HEAD(pages);
	int err;

	if (target > max || nr > max - target)
		return -ENOMEM;
	pool_settle(ctx);
	err = account_locked_vm(ctx->mm, nr, true);
	if (err)
		return err;
	err = pool_reserve(&ctx->pool, target + nr);
	if (!err)
		err = pages_alloc(&pages, nr);
	if (err) {
		pages_free(&pages);
		account_locked_vm(ctx->mm, nr, false);
		return err;
	}
	WRITE_ONCE(ctx->pool.target, target + nr);
	pool_publish(ctx, &pages);
	return 0;
}

/**
 * exmap_pool_shrink() - take free frames out of a pool
 * @ctx: the exmap; its resize_lock is held
 * @nr: how many, fewer than the pool has
 *
 * Return: 0, or -EBUSY if fewer are free, -ENOMEM, -EINTR; then the pool has
 *         as many frames as before.
 */
int exmap_pool_shrink(struct exmap *ctx, unsigned long nr)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long short_by, i, done = 0, in_view = 0;
	unsigned long *pfns;
	unsigned int got;
	int err = 0;

	pool_settle(ctx);
	/* Frames that the pool lacks anyway are the first to go. */
	short_by = pool->target - min(pool->target, exmap_pool_frames(pool));
	short_by = min(short_by, nr);
	pfns = kvmalloc_array(nr - short_by + 1, sizeof(*pfns),
			      GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!pfns)
		return -ENOMEM;
	exmap_pool_reclaim(ctx);
	while (done < nr - short_by && !err) {
		got = exmap_stock_take_any(ctx, pfns + done,
					   min_t(unsigned long, CHUNK,
						 nr - short_by - done));
		done += got;
		if (!got)
			err = -EBUSY;
		else if (fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	for (i = 0; i < done; i++) {
		if (err)
			exmap_common_put(ctx, pfns + i, 1);
		else
			in_view += frame_remove(pool, pfn_to_page(pfns[i]));
	}
	kvfree(pfns);
	if (err)
		return err;
	WRITE_ONCE(pool->target, pool->target - nr);
	pool->left_in_view += in_view;
	account_locked_vm(ctx->mm, nr - in_view, false);
	return 0;
}

/**
 * exmap_pool_destroy() - give all frames back
 * @ctx: the exmap; nothing uses it any more and its area is unmapped
 */
void exmap_pool_destroy(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &pool->frames, lru) {
		frame_unlink(pool, page);
		frame_drop(page);
		cond_resched();
	}
	kvfree(pool->stock);
	if (pool->target)
		account_locked_vm(ctx->mm, pool->target + pool->left_in_view,
				  false);
	pool->target = 0;
	pool->left_in_view = 0;
	pool->count = 0;
	pool->capacity = 0;
	pool->stock = NULL;
}

/* Whether core mm has cleared the frame's entry in the area. */
static bool frame_is_zapped(struct exmap *ctx, struct page *page)
{
	int view = exmap_frame_tag(page) ? 1 : 0;

	/* Perhaps the view's share is not there yet: ask again later. */
	if (view && ctx->view_state == EXMAP_VIEW_MAKING)
		return false;
	return atomic_read(&page->_mapcount) < view;
}

/* Gives a zapped frame its share back, unless somebody still uses it. */
static bool frame_recover(struct page *page)
{
	int refs = page_ref_count(page);

	/* See exmap_frame_is_pinned(). */
	if (exmap_frame_tag(page))
		refs = refs % GUP_PIN_COUNTING_BIAS - 1;
	if (refs != 1)
		return false;
	get_page(page);
	if (atomic_inc_and_test(&page->_mapcount))
		mod_lruvec_page_state(page, NR_FILE_MAPPED, 1);
	return true;
}

/**
 * exmap_pool_reclaim() - find the frames that core mm has unmapped
 * @ctx: the exmap
 *
 * A frame that is on its way through a TLB flush, or pinned, is left for the
 * next time. Looks at every frame, but only if core mm has unmapped something
 * of the area since the last time that none was left.
 *
 * Context: may sleep.
 * Return: how many frames went to the common stock.
 */
unsigned long exmap_pool_reclaim(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long pfns[CHUNK], found = 0;
	struct page *page;
	unsigned int n = 0;
	bool left;
	long zaps;

	zaps = atomic_long_read(&pool->zaps);
	if (zaps == READ_ONCE(pool->zaps_seen))
		return 0;
	smp_rmb(); /* pairs with the increment after zapping, notifier.c */
	mutex_lock(&pool->frames_lock);
	left = ctx->view_state == EXMAP_VIEW_MAKING;
	list_for_each_entry(page, &pool->frames, lru) {
		if (!frame_is_zapped(ctx, page))
			continue;
		if (!frame_recover(page)) {
			left = true;
			continue;
		}
		pfns[n++] = page_to_pfn(page);
		found++;
		if (n == CHUNK) {
			exmap_common_put(ctx, pfns, n);
			n = 0;
		}
	}
	exmap_common_put(ctx, pfns, n);
	if (!left)
		WRITE_ONCE(pool->zaps_seen, zaps);
	WRITE_ONCE(pool->zapped, pool->zapped + found);
	mutex_unlock(&pool->frames_lock);
	return found;
}

/**
 * exmap_frame_replace() - let a pinned frame go
 * @ctx: the exmap
 * @pfn: a frame in the caller's hands, unmapped and flushed
 *
 * Whoever pins the page keeps it, and what he reads or writes there meets no
 * other page of the area. The pool takes a fresh frame instead, or is short of
 * one until exmap_pool_fill_up().
 *
 * Context: may sleep.
 * Return: the fresh frame, or 0.
 */
unsigned long exmap_frame_replace(struct exmap *ctx, unsigned long pfn)
{
	struct page *old = pfn_to_page(pfn), *page;
	struct exmap_pool *pool = &ctx->pool;

	page = alloc_page(frame_gfp);
	if (page)
		frame_init(page);
	/* One for the other, see exmap_pool_frames(). */
	mutex_lock(&pool->frames_lock);
	frame_unlink(pool, old);
	if (page)
		frame_link(pool, page);
	mutex_unlock(&pool->frames_lock);
	frame_drop(old);
	return page ? page_to_pfn(page) : 0;
}

/**
 * exmap_pool_fill_up() - make up for a frame that could not be replaced
 * @ctx: the exmap
 *
 * Context: may sleep.
 * Return: true if a frame was added to the common stock.
 */
bool exmap_pool_fill_up(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long pfn;
	struct page *page;

	/* Without the lock it is never more than it is, perhaps less. */
	if (READ_ONCE(pool->nr_frames) >= READ_ONCE(pool->target))
		return false;
	/* Against a resize, and others that fill the same gap. */
	if (!mutex_trylock(&ctx->resize_lock))
		return false;
	page = NULL;
	if (exmap_pool_frames(pool) < pool->target)
		page = alloc_page(frame_gfp);
	if (page) {
		pfn = frame_add(pool, page);
		exmap_common_put(ctx, &pfn, 1);
	}
	mutex_unlock(&ctx->resize_lock);
	return page;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: what becomes of a frame, from the page allocator and back.
 *
 * Frames are zeroed once, when the pool takes them; they are charged to the
 * memory cgroup (__GFP_ACCOUNT) and to RLIMIT_MEMLOCK. pool.h says which
 * references and counts a frame holds.
 *
 * Who else may map a frame. FREE clears entries without telling the mmu
 * notifiers. KVM, or a device that shares page tables, copies translations and
 * relies on the notifiers to learn of their end. It may therefore still use a
 * frame whose page was freed. This harms nobody else as long as the frame stays
 * with the exmap, but the frame must never become other memory. Only the
 * unmapping of the area tells the notifiers. So:
 *
 *   S1 A frame that may have been mapped goes back to the page allocator only
 *      while no area lives. That is: in exmap_pool_release(), which the close
 *      of the area calls after its entries are gone and before another area can
 *      be mapped; under frames_lock, if the state is EXMAP_AREA_NONE; and when
 *      the exmap ends. The one exception is the module parameter
 *      shrink_returns.
 *   S2 A frame that leaves the pool before that is on EXMAP_PARKED or
 *      EXMAP_REPLACED. Frames move there under frames_lock and hold the pool's
 *      references, so that nobody else can free them.
 *   S3 A frame on EXMAP_REPLACED has users that hold references. It becomes
 *      parked when they are gone (exmap_replaced_look()). Growth, replacement
 *      and filling up take parked frames first.
 *   S4 All these frames count in the module's parameter `frames`, and are
 *      charged to the cgroup. Frames that shrinking parked stay charged to
 *      RLIMIT_MEMLOCK. Frames that replacements added are charged from the next
 *      resize on (exmap_pool_settle()).
 *
 * Races that the rules must survive:
 *   - KVM handles a fault and gets a reference to a frame. FREE clears the
 *     entry. KVM then enters the frame into its own tables and drops the
 *     reference. Either FREE saw the reference, and the frame was replaced
 *     (S2), or KVM had dropped it before, and the frame is on the free list. In
 *     both cases the stale translation leads to a frame that stays with the
 *     exmap.
 *   - Such a fault races with the unmapping of the area. KVM checks its count
 *     of invalidations under its own lock, and gives up.
 *   - A shrink reads EXMAP_AREA_NONE; then an area is mapped and used, and a
 *     frame of it is parked; then the shrink releases that frame. This cannot
 *     happen. The shrink reads the state and empties the list without dropping
 *     frames_lock, and a frame of that area can only be parked under the same
 *     lock, after the area has become live.
 *   - A shrink has frames in hand while the area is closed. They are parked
 *     although they could be released. That is only late.
 */
#include "frames.h"

/* A page becomes a frame: it gets the share of one mapping, see pool.h. */
static void frame_init(struct page *page)
{
	/*
	 * The module's mapping keeps get_user_pages_fast() on the lock-free
	 * path, which from 6.8 refuses pages without a mapping. Mapping and
	 * index also tell shared futexes apart.
	 */
	page->mapping = exmap_mapping();
	page_folio(page)->index = page_to_pfn(page);
	get_page(page);
	atomic_inc(&page->_mapcount);
	mod_lruvec_page_state(page, NR_FILE_MAPPED, 1);
	exmap_count_frames(1);
}

/*
 * The end of a frame that is on no list: the exmap's references go; whoever
 * else has one keeps the page. Returns nothing to any free list.
 */
static void frame_drop(struct page *page)
{
	page->mapping = NULL;
	if (atomic_read(&page->_mapcount) >= 0) {
		if (atomic_add_negative(-1, &page->_mapcount))
			mod_lruvec_page_state(page, NR_FILE_MAPPED, -1);
		put_page(page);
	}
	put_page(page);
	exmap_count_frames(-1);
}

/**
 * exmap_list_release() - take all frames off a list, to let them go
 * @pool: the pool; its frames_lock is held
 * @from: the list
 * @gone: gets them, for exmap_frames_drop() without the lock
 */
void exmap_list_release(struct exmap_pool *pool, enum exmap_list from,
			struct list_head *gone)
{
	unsigned long steps = 0;
	struct page *page;

	list_for_each_entry(page, &pool->list[from], lru) {
		if (exmap_frame_tag(page))
			pool->left_in_view++;
		WRITE_ONCE(page->private, 0);
		walk_breathe(&steps);
	}
	list_splice_tail_init(&pool->list[from], gone);
	WRITE_ONCE(pool->listed[from], 0);
}

/**
 * exmap_frames_drop() - let frames go that are on no list of the pool
 * @gone: the frames
 *
 * Context: may sleep.
 */
void exmap_frames_drop(struct list_head *gone)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, gone, lru) {
		list_del(&page->lru);
		frame_drop(page);
		cond_resched();
	}
}

/**
 * exmap_replaced_look() - park the replaced frames that nobody uses any more
 * @pool: the pool; its frames_lock is held
 * @nr: how many to look at
 *
 * What their users did to them came before the release of the reference, and
 * frames_lock passes that on.
 */
void exmap_replaced_look(struct exmap_pool *pool, unsigned long nr)
{
	unsigned long steps = 0;
	struct page *page;

	/* Every step takes one frame from the front: no more than there are. */
	for (nr = min(nr, pool->listed[EXMAP_REPLACED]); nr; nr--) {
		page = frame_first(pool, EXMAP_REPLACED);
		if (exmap_frame_is_pinned(page_to_pfn(page))) {
			list_move_tail(&page->lru, &pool->list[EXMAP_REPLACED]);
		} else {
			frame_move(pool, page, EXMAP_REPLACED, EXMAP_PARKED);
			WRITE_ONCE(pool->unpinned, pool->unpinned + 1);
		}
		walk_breathe(&steps);
	}
}

/**
 * exmap_parked_to_live() - take a frame that need not be asked of the system
 * @pool: the pool; its frames_lock is held
 * @look: how many replaced frames to look at for it
 *
 * Return: a frame that is on the list EXMAP_LIVE now, or NULL.
 */
struct page *exmap_parked_to_live(struct exmap_pool *pool, unsigned long look)
{
	struct page *page;

	exmap_replaced_look(pool, look);
	page = frame_first(pool, EXMAP_PARKED);
	if (!page)
		return NULL;
	frame_move(pool, page, EXMAP_PARKED, EXMAP_LIVE);
	pool_count(pool, page, 1);
	return page;
}

/**
 * exmap_fresh_to_live() - make a page a frame of the pool
 * @pool: the pool; its frames_lock is held
 * @page: a page that the page allocator has just given
 */
void exmap_fresh_to_live(struct exmap_pool *pool, struct page *page)
{
	frame_init(page);
	frame_link(pool, page, EXMAP_LIVE);
	pool_count(pool, page, 1);
}

/**
 * exmap_pool_init() - make an empty pool
 * @pool: the pool
 */
void exmap_pool_init(struct exmap_pool *pool)
{
	unsigned int i;

	spin_lock_init(&pool->lock);
	mutex_init(&pool->frames_lock);
	for (i = 0; i < EXMAP_LISTS; i++)
		INIT_LIST_HEAD(&pool->list[i]);
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

/**
 * exmap_pool_release() - give back what is parked or left to others
 * @ctx: the exmap; its area has just been unmapped, and no other one can be
 *       mapped before this returns
 *
 * A frame that somebody pins stays with him, and goes when he lets go.
 */
void exmap_pool_release(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	LIST_HEAD(gone);

	mutex_lock(&pool->frames_lock);
	exmap_list_release(pool, EXMAP_PARKED, &gone);
	exmap_list_release(pool, EXMAP_REPLACED, &gone);
	mutex_unlock(&pool->frames_lock);
	exmap_frames_drop(&gone);
}

/**
 * exmap_pool_look() - find the replaced frames that nobody uses any more
 * @ctx: the exmap
 *
 * Context: may sleep.
 */
void exmap_pool_look(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;

	if (!READ_ONCE(pool->listed[EXMAP_REPLACED]))
		return;
	mutex_lock(&pool->frames_lock);
	exmap_replaced_look(pool, ULONG_MAX);
	mutex_unlock(&pool->frames_lock);
}

/**
 * exmap_pool_destroy() - give all frames back
 * @ctx: the exmap; nothing uses it any more and its area is unmapped
 */
void exmap_pool_destroy(struct exmap *ctx)
{
	struct exmap_pool *pool = &ctx->pool;
	LIST_HEAD(gone);
	unsigned int i;

	mutex_lock(&pool->frames_lock);
	for (i = 0; i < EXMAP_LISTS; i++)
		exmap_list_release(pool, i, &gone);
	WRITE_ONCE(pool->nr_frames, 0);
	WRITE_ONCE(pool->in_view, 0);
	pool->left_in_view = 0;
	mutex_unlock(&pool->frames_lock);
	exmap_frames_drop(&gone);
	exmap_array_free_blocks(&pool->free_list, 0);
	pool->free_list.count = 0;
	account_locked_vm(ctx->mm, pool->charged, false);
	pool->charged = 0;
	pool->target = 0;
}

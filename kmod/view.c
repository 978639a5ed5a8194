// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: the view, the frames of the pool at addresses that stay the same.
 *
 * The page area cannot hold io_uring's registered buffers. A registration pins
 * the frames that it finds, but the area's pages change their frames. In the
 * view, page n shows the same frame for as long as the view is mapped, so the
 * view can be registered once. ALLOC reports which frame a page got
 * (EXMAP_ACTION_REPORT_FRAME), and I/O uses the frame's address in the view
 * instead of the page's. The process sees each frame twice. The view shows only
 * frames of the process's own pool.
 *
 * Numbers. page->private of a frame is its number plus one. A frame gets its
 * number when the view is mapped. It loses the number when it leaves the pool,
 * or when all frames lose theirs. No number is given to a second frame of the
 * same view. Frames that join the pool later have no number until the view is
 * unmapped and mapped again.
 *
 * Counts. The view is an ordinary mapping. It adds a reference and a map count
 * to those of pool.h: refcount 3, mapcount 2. The counts do not tell which of
 * the two mappings core mm has cleared. So numbers are valid only while the
 * view is whole. Before the first entry of the view is cleared, the notifier
 * takes all numbers away (EXMAP_VIEW_LOST). From then on, a frame that still
 * has the view's share looks like one that somebody else uses: FREE replaces
 * it, and reclaim waits. That is slow but correct.
 *
 *   state     who changes it              frames of the view
 *   NONE      -                           no numbers, no share
 *   MAKING    mmap, from NONE             numbers; some have their share
 *   LIVE      mmap, from MAKING           numbers and share
 *   LOST      notifier, close             no numbers; some have their share
 *
 * Pins. A registered buffer pins a frame for a long time (GUP_PIN_COUNTING_BIAS
 * references). If the frame has a number, FREE does not replace it for that
 * reason: exmap_frame_is_pinned(). The owner of the ring must end its I/O
 * before it frees the page, as with any memory that is reused. A frame that
 * leaves the pool stays with whoever pins or maps it, like any page. If a
 * parked or replaced frame comes back while the view is whole, it still has its
 * number.
 */
#include "exmap.h"

static bool view_is(struct exmap *ctx, struct vm_area_struct *vma)
{
	return vma->vm_mm == ctx->mm &&
	       vma->vm_start == READ_ONCE(ctx->view_start) &&
	       READ_ONCE(ctx->view_state) != EXMAP_VIEW_NONE;
}

static void list_forget(const struct list_head *list)
{
	unsigned long steps = 0;
	struct page *page;

	list_for_each_entry(page, list, lru) {
		WRITE_ONCE(page->private, 0);
		if (!(++steps % EXMAP_WALK_BUDGET))
			cond_resched();
	}
}

/* Takes all numbers away; frames_lock is held. */
static void view_forget(struct exmap *ctx)
{
	unsigned int i;

	if (ctx->view_state != EXMAP_VIEW_MAKING &&
	    ctx->view_state != EXMAP_VIEW_LIVE)
		return;
	for (i = 0; i < EXMAP_LISTS; i++)
		list_forget(&ctx->pool.list[i]);
	WRITE_ONCE(ctx->pool.in_view, 0);
	WRITE_ONCE(ctx->view_state, EXMAP_VIEW_LOST);
}

/**
 * exmap_view_lose() - the view is about to lose entries: believe no number
 * @ctx: the exmap
 * @block: may wait
 *
 * Return: 0, or -EAGAIN if it would have to wait, as for a walk over all frames.
 */
int exmap_view_lose(struct exmap *ctx, bool block)
{
	int state = READ_ONCE(ctx->view_state);

	if (state == EXMAP_VIEW_NONE || state == EXMAP_VIEW_LOST)
		return 0;
	/* Only the OOM reaper cannot wait, and it leaves shared mappings alone. */
	if (!block)
		return -EAGAIN;
	mutex_lock(&ctx->pool.frames_lock);
	view_forget(ctx);
	mutex_unlock(&ctx->pool.frames_lock);
	return 0;
}

static void view_close(struct vm_area_struct *vma)
{
	struct exmap *ctx = vma->vm_private_data;

	if (!view_is(ctx, vma))
		return;
	mutex_lock(&ctx->pool.frames_lock);
	view_forget(ctx);
	WRITE_ONCE(ctx->view_state, EXMAP_VIEW_NONE);
	mutex_unlock(&ctx->pool.frames_lock);
}

/* A page of the view that was zapped does not come back. */
static vm_fault_t view_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGSEGV;
}

static const struct vm_operations_struct view_vm_ops = {
	.open = exmap_vma_open,
	.close = view_close,
	.may_split = exmap_vma_refuse_split,
	.mremap = exmap_vma_refuse_move,
	.mprotect = exmap_vma_refuse_protect,
	.fault = view_fault,
};

/* Numbers frames of a list until @nr have one, with a reference to each. */
static void list_number(const struct list_head *list, struct exmap_array *pfns,
			unsigned long nr)
{
	unsigned long pfn;
	struct page *page;

	list_for_each_entry(page, list, lru) {
		if (pfns->count == nr)
			break;
		get_page(page);
		pfn = page_to_pfn(page);
		exmap_array_put(pfns, &pfn, 1);
		WRITE_ONCE(page->private, pfns->count);
		if (!(pfns->count % EXMAP_WALK_BUDGET))
			cond_resched();
	}
}

/* Numbers the first @nr frames of the pool; false: it has too few. */
static bool view_number(struct exmap *ctx, struct exmap_array *pfns,
			unsigned long nr)
{
	struct exmap_pool *pool = &ctx->pool;

	mutex_lock(&pool->frames_lock);
	if (pool->nr_frames >= nr) {
		list_number(&pool->list[EXMAP_LIVE], pfns, nr);
		list_number(&pool->list[EXMAP_ZAPPED], pfns, nr);
		/* Of a shrink that is under way, which may fail. */
		list_number(&pool->list[EXMAP_TAKEN], pfns, nr);
		WRITE_ONCE(pool->in_view, pfns->count);
	}
	mutex_unlock(&pool->frames_lock);
	return pfns->count == nr;
}

static int view_insert(struct vm_area_struct *vma,
		       const struct exmap_array *pfns)
{
	struct page *page;
	unsigned long i;
	int err = 0;

	for (i = 0; i < pfns->count; i++) {
		page = pfn_to_page(*exmap_array_at(pfns, i));
		if (!err)
			err = vm_insert_page(vma, vma->vm_start +
					     (i << PAGE_SHIFT), page);
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
		put_page(page);
		if (!(i % EXMAP_BUDGET))
			cond_resched();
	}
	return err;
}

static int view_fill(struct exmap *ctx, struct vm_area_struct *vma)
{
	const struct exmap_array none = { };
	unsigned long nr = vma_pages(vma);
	struct exmap_array pfns;
	bool enough;
	int err;

	if (nr > EXMAP_VIEW_MAX || nr > exmap_pool_frames(&ctx->pool))
		return -EINVAL;
	err = exmap_array_extend(&none, nr, &pfns);
	if (err)
		return err;
	enough = view_number(ctx, &pfns, nr);
	err = view_insert(vma, &pfns);
	exmap_array_free_blocks(&pfns, 0);
	return enough ? err : -EINVAL;
}

/**
 * exmap_view_mmap() - map the view
 * @ctx: the exmap, of the caller
 * @vma: where; its length is the number of frames, from the first on
 *
 * Return: 0, -ENXIO (not set up), -EBUSY (is mapped), -EINVAL (rights, more
 *         frames than there are), -ENOMEM, -EINTR (killed).
 */
int exmap_view_mmap(struct exmap *ctx, struct vm_area_struct *vma)
{
	int err;

	if (!exmap_ready(ctx))
		return -ENXIO;
	if (!(vma->vm_flags & VM_READ) || !(vma->vm_flags & VM_WRITE))
		return -EINVAL;
	/* mmap_lock is held for writing: nobody else comes from or goes to NONE. */
	if (READ_ONCE(ctx->view_state) != EXMAP_VIEW_NONE)
		return -EBUSY;
	vm_flags_set(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTCOPY |
			  VM_DONTDUMP | VM_NOHUGEPAGE);
	vma->vm_private_data = ctx;
	vma->vm_ops = &view_vm_ops;
	mutex_lock(&ctx->pool.frames_lock);
	WRITE_ONCE(ctx->view_start, vma->vm_start);
	WRITE_ONCE(ctx->view_end, vma->vm_end);
	WRITE_ONCE(ctx->view_state, EXMAP_VIEW_MAKING);
	mutex_unlock(&ctx->pool.frames_lock);

	err = view_fill(ctx, vma);

	mutex_lock(&ctx->pool.frames_lock);
	if (err) {
		/* Core mm clears what was mapped, but knows no close() yet. */
		view_forget(ctx);
		WRITE_ONCE(ctx->view_state, EXMAP_VIEW_NONE);
	} else {
		WRITE_ONCE(ctx->view_state, EXMAP_VIEW_LIVE);
	}
	mutex_unlock(&ctx->pool.frames_lock);
	return err;
}

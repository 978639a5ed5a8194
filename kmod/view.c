// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: the view, the frames of the pool at addresses that stay the same.
 *
 * The page area is no place for io_uring's registered buffers: a registration
 * pins the frames it finds, and the area shows others the next moment. In the
 * view page n is one frame for as long as it is mapped, so it can be registered
 * once; ALLOC tells which frame a page got (EXMAP_ACTION_REPORT_FRAME), and I/O
 * goes there instead of to the page. The process sees the frame twice; both are
 * its own memory, and no frame is shown that is not in its pool.
 *
 * Numbers. page->private of a frame is its number plus one. It gets it when the
 * view is mapped and loses it when it leaves the pool, or all lose theirs; a
 * number is never given to another frame of the same view. Frames that come to
 * the pool later have none, until the view is unmapped and mapped again.
 *
 * Counts. The view is an ordinary mapping: a reference and a map count a page,
 * on top of those of exmap.h: refcount 3, mapcount 2. Which of the two mappings
 * core mm has cleared cannot be told by the counts. So the view must be whole
 * while numbers are believed: before the first of its entries is cleared the
 * notifier takes all numbers away (EXMAP_VIEW_LOST). From then on a frame that
 * still has the view's share looks like one that somebody else uses: FREE
 * replaces it, and reclaim waits. That is slow and right.
 *
 *   state     who changes it              frames of the view
 *   NONE      -                           no numbers, no share
 *   MAKING    mmap, from NONE             numbers; some have their share
 *   LIVE      mmap, from MAKING           numbers and share
 *   LOST      notifier, close             no numbers; some have their share
 *
 * Pins. A registered buffer pins a frame for long (GUP_PIN_COUNTING_BIAS
 * references), which for a frame with a number is no reason to replace it when
 * its page is freed: exmap_frame_is_pinned(). The owner of the ring is to have
 * his I/O done before he frees the page, as with any memory that he reuses. A
 * frame that leaves the pool stays with whoever pins or maps it, like any page:
 * nobody else gets it.
 */
#include "exmap.h"

static bool view_is(struct exmap *ctx, struct vm_area_struct *vma)
{
	return vma->vm_mm == ctx->mm &&
	       vma->vm_start == READ_ONCE(ctx->view_start) &&
	       READ_ONCE(ctx->view_state) != EXMAP_VIEW_NONE;
}

/* Takes all numbers away; frames_lock is held. */
static void view_forget(struct exmap *ctx)
{
	struct page *page;

	if (ctx->pool.in_view) {
		list_for_each_entry(page, &ctx->pool.frames, lru)
			WRITE_ONCE(page->private, 0);
		WRITE_ONCE(ctx->pool.in_view, 0);
	}
	if (ctx->view_state != EXMAP_VIEW_NONE)
		WRITE_ONCE(ctx->view_state, EXMAP_VIEW_LOST);
}

/**
 * exmap_view_lose() - the view is about to lose entries: believe no number
 * @ctx: the exmap
 * @block: may wait
 *
 * Return: 0, or -EAGAIN if it would have to wait.
 */
int exmap_view_lose(struct exmap *ctx, bool block)
{
	int state = READ_ONCE(ctx->view_state);

	if (state == EXMAP_VIEW_NONE || state == EXMAP_VIEW_LOST)
		return 0;
	if (block)
		mutex_lock(&ctx->pool.frames_lock);
	else if (!mutex_trylock(&ctx->pool.frames_lock))
		return -EAGAIN;
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

/* Numbers the first @nr frames, with a reference to each; false: too few. */
static bool view_number(struct exmap *ctx, struct page **pages,
			unsigned long nr)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long n = 0;
	struct page *page;

	mutex_lock(&pool->frames_lock);
	if (pool->nr_frames >= nr) {
		list_for_each_entry(page, &pool->frames, lru) {
			if (n == nr)
				break;
			get_page(page);
			pages[n++] = page;
			WRITE_ONCE(page->private, n);
		}
		WRITE_ONCE(pool->in_view, n);
	}
	mutex_unlock(&pool->frames_lock);
	return n == nr;
}

static int view_insert(struct vm_area_struct *vma, struct page **pages,
		       unsigned long nr)
{
	unsigned long i;
	int err = 0;

	for (i = 0; i < nr; i++) {
		if (!err)
			err = vm_insert_page(vma, vma->vm_start +
					     (i << PAGE_SHIFT), pages[i]);
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
		put_page(pages[i]);
		if (!(i % EXMAP_BUDGET))
			cond_resched();
	}
	return err;
}

static int view_fill(struct exmap *ctx, struct vm_area_struct *vma)
{
	unsigned long nr = vma_pages(vma);
	struct page **pages;
	int err = -EINVAL;

	if (nr > EXMAP_VIEW_MAX || nr > exmap_pool_frames(&ctx->pool))
		return -EINVAL;
	pages = kvmalloc_array(nr, sizeof(*pages),
			       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!pages)
		return -ENOMEM;
	if (view_number(ctx, pages, nr))
		err = view_insert(vma, pages, nr);
	kvfree(pages);
	return err;
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

// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: ALLOC, give pages a frame.
 *
 * The batch runs under the lock of the interface's free list and the lock of
 * one page table at a time, which it keeps from entry to entry. If a table or a
 * frame is missing, it drops both locks, gets what is missing, and continues at
 * the same address. An entry that was empty needs no flush, because x86 does
 * not cache entries that are not present. An entry that mapped the page of
 * zeros needs one.
 */
#include "exmap.h"
#include "pagetable.h"
#include "trace.h"

enum {
	RUN_DONE,
	RUN_NEEDS_TABLE,
	RUN_NEEDS_FRAME,
};

/* No frame's number, and not EXMAP_FRAME_NONE either. */
#define FRAME_UNKNOWN	(~0U)

struct alloc_op {
	struct exmap *ctx;
	struct exmap_interface *iface;
	struct exmap_cursor cur;
	unsigned long *fresh;	/* or NULL: frames mapped, of one entry */
	unsigned long fresh_base;
	unsigned long mapped;	/* of the whole batch */
	unsigned long present;
	int budget;
	int first;		/* error */
	u32 frame;		/* of the entry's first page */
	bool flush;
	bool report;
};

static inline void alloc_lock(struct alloc_op *op)
	__acquires(&op->iface->free_lock)
{
	spin_lock(&op->iface->free_lock);
	exmap_walk_begin();
}

static inline void alloc_unlock(struct alloc_op *op)
	__releases(&op->iface->free_lock)
{
	exmap_cursor_unlock(&op->cur);
	exmap_walk_end();
	spin_unlock(&op->iface->free_lock);
}

/* The usual case: one page that has a table, is not mapped, and a frame. */
static __always_inline bool alloc_single(struct alloc_op *op,
					 struct exmap_interface *iface,
					 unsigned long addr, unsigned long *pfn)
{
	pte_t *pte;

	if (unlikely(!iface->count))
		return false;
	pte = exmap_cursor_lock(&op->cur, addr);
	if (unlikely(!pte || exmap_entry_read(pte)))
		return false;
	*pfn = iface->free_list[--iface->count];
	exmap_entry_write(op->cur.mm, addr, pte,
			  op->ctx->area_pte | *pfn << PAGE_SHIFT);
	return true;
}

/* The frame that was asked after is that of an entry's first page. */
static __always_inline void alloc_note(struct alloc_op *op, unsigned long pfn)
{
	if (unlikely(op->report && op->frame == FRAME_UNKNOWN))
		op->frame = exmap_frame_number(pfn);
}

/* Maps frames from *@addr on until @end or until something is missing. */
static __always_inline int alloc_run(struct alloc_op *op, unsigned long *addr,
				     unsigned long end)
{
	struct exmap_interface *iface = op->iface;
	unsigned long pfn;
	pteval_t old;
	pte_t *pte;

	do {
		pte = exmap_cursor_lock(&op->cur, *addr);
		if (unlikely(!pte))
			return RUN_NEEDS_TABLE;
		old = exmap_entry_read(pte);
		if (unlikely(old)) {
			if (exmap_entry_is_frame(old)) {
				op->present++;
				alloc_note(op, exmap_entry_pfn(old));
				continue;
			}
			op->flush = true;
		}
		if (unlikely(!iface->count))
			return RUN_NEEDS_FRAME;
		pfn = iface->free_list[--iface->count];
		exmap_entry_write(op->cur.mm, *addr, pte,
				  op->ctx->area_pte | pfn << PAGE_SHIFT);
		op->mapped++;
		alloc_note(op, pfn);
		if (unlikely(op->fresh)) {
			/* Under the table's lock: before anyone can free it. */
			get_page(pfn_to_page(pfn));
			op->fresh[(*addr - op->fresh_base) >> PAGE_SHIFT] = pfn;
		}
	} while (*addr += PAGE_SIZE, *addr != end);
	return RUN_DONE;
}

static int alloc_provide(struct alloc_op *op, unsigned long addr, int what)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	if (what == RUN_NEEDS_TABLE)
		return exmap_table_make(op->ctx->mm, addr);
	return exmap_free_list_refill(op->ctx, op->iface);
}

static int alloc_entry(struct alloc_op *op, unsigned long addr,
		       unsigned long end)
{
	int what, err;

	while ((what = alloc_run(op, &addr, end)) != RUN_DONE) {
		alloc_unlock(op);
		err = alloc_provide(op, addr, what);
		alloc_lock(op);
		if (err)
			return err;
	}
	return 0;
}

/* Lets others run now and then. A fatal signal ends the batch. */
static int alloc_breathe(struct alloc_op *op)
{
	op->budget = EXMAP_BUDGET;
	if (!need_resched() && !fatal_signal_pending(current))
		return 0;
	alloc_unlock(op);
	cond_resched();
	alloc_lock(op);
	return fatal_signal_pending(current) ? -EINTR : 0;
}

static void alloc_finish(struct alloc_op *op)
{
	struct exmap_counters *count = &op->iface->counters;

	exmap_add_rss(op->ctx->mm, op->mapped);
	if (unlikely(op->flush))
		exmap_flush(op->ctx, op->iface, EXMAP_FLUSH_ALL);
	count->alloc_calls++;
	count->alloc_pages += op->mapped;
	count->alloc_present += op->present;
}

/* Any entry that alloc_single() does not do. Returns what stops the batch. */
static noinline int alloc_any(struct alloc_op *op, struct exmap_iov *iov,
			      u64 value, int stop)
{
	struct exmap_iov entry = { .value = value };
	unsigned long pages = op->ctx->area_pages, before = op->mapped;
	unsigned long page = entry.page, len = entry.len, start;
	int err = stop;

	op->frame = FRAME_UNKNOWN;
	if (unlikely(len > pages || page > pages - len)) {
		err = err ?: -EINVAL;
		op->iface->counters.fail_input++;
	} else if (!stop && len) {
		start = op->ctx->area_start + (page << PAGE_SHIFT);
		op->fresh_base = start;
		err = alloc_entry(op, start, start + (len << PAGE_SHIFT));
		stop = err;
		op->budget -= len;
	}
	entry.value = 0;
	entry.res = err;
	if (unlikely(op->report && !err))
		entry.res = op->frame & EXMAP_FRAME_NONE;
	entry.pages = op->mapped - before;
	WRITE_ONCE(iov->value, entry.value);
	if (unlikely(err)) {
		op->iface->counters.fail_nomem += err == -ENOMEM;
		op->first = op->first ?: err;
	}
	if (op->budget < 0 && !stop)
		stop = alloc_breathe(op);
	return stop;
}

/**
 * exmap_alloc() - map frames at the pages of some entries
 * @ctx: the exmap
 * @iface: the interface, between exmap_op_begin() and exmap_op_end()
 * @iov: entries; user space may change them meanwhile, each is read once
 * @nr: how many
 * @fresh: NULL, or room for a frame number a page of the one entry, all 0: gets
 *         the frames that were mapped, with a reference to each. A frame with
 *         such a reference that is freed gets no other page: so as long as it is
 *         held, an entry that has the frame is the one that was made here
 * @report: results tell frames, see EXMAP_ACTION_REPORT_FRAME
 *
 * Results are written to the entries. After an error that is not the entry's
 * own fault (no frame, a signal) the rest is not tried and gets that error.
 *
 * Return: 0, or the first entry's error.
 */
int exmap_alloc(struct exmap *ctx, struct exmap_interface *iface,
		struct exmap_iov *iov, unsigned int nr, unsigned long *fresh,
		bool report)
{
	struct alloc_op op = {
		.ctx = ctx,
		.iface = iface,
		.fresh = fresh,
		.budget = EXMAP_BUDGET,
		.report = report,
	};
	/* 0 once nothing can go the short way any more. */
	unsigned long pages = fresh ? 0 : ctx->area_pages;
	unsigned long start = ctx->area_start;
	struct exmap_iov *end = iov + nr;
	unsigned long pfn;
	u64 value, page;
	int stop = 0;

	exmap_cursor_init(&op.cur, ctx, iface);
	alloc_lock(&op);
	for (; iov < end; iov++) {
		value = READ_ONCE(iov->value);
		/* An entry of one page is its number with one more bit set. */
		page = value ^ EXMAP_ENTRY_ONE;
		if (likely(page < pages) &&
		    alloc_single(&op, iface, start + (page << PAGE_SHIFT),
				 &pfn)) {
			op.mapped++;
			value = EXMAP_ENTRY_DONE_ONE;
			if (report)
				value |= exmap_frame_number(pfn);
			WRITE_ONCE(iov->value, value);
			continue;
		}
		stop = alloc_any(&op, iov, value, stop);
		if (stop)
			pages = 0;
	}
	alloc_unlock(&op);
	alloc_finish(&op);
	trace_exmap_alloc(iface->index, nr, op.mapped, op.present, op.first);
	return op.first;
}

/* How many pages from @pte on are not mapped; more than @nr if not so simple. */
static unsigned int count_absent(pte_t *pte, unsigned int nr)
{
	unsigned int i, absent = 0;
	pteval_t old;

	for (i = 0; i < nr; i++) {
		old = exmap_entry_read(pte + i);
		if (!old)
			absent++;
		else if (!exmap_entry_is_frame(old))
			return UINT_MAX; /* the page of zeros: needs a flush */
	}
	return absent;
}

/**
 * exmap_alloc_at_once() - map frames at some pages if nothing has to wait
 * @ctx: the exmap
 * @iface: the interface, between exmap_op_begin() and exmap_op_end()
 * @addr: the first page's address
 * @pages: how many, at least one
 *
 * Where all pages have one page table, which is there, and frames are in the
 * free lists. All is looked at and done in one hold of the locks.
 *
 * Context: does not sleep.
 * Return: 0, or -EAGAIN: nothing was done, exmap_alloc() has to.
 */
int exmap_alloc_at_once(struct exmap *ctx, struct exmap_interface *iface,
			unsigned long addr, unsigned int pages)
{
	struct alloc_op op = { .ctx = ctx, .iface = iface };
	unsigned long end = addr + ((unsigned long)pages << PAGE_SHIFT);
	int err = -EAGAIN;
	unsigned int i;
	pte_t *pte;

	if (addr >> PMD_SHIFT != (end - 1) >> PMD_SHIFT)
		return -EAGAIN;
	for (i = 0; i < pages && READ_ONCE(iface->count) < pages; i++)
		if (!exmap_free_list_try_refill(ctx, iface))
			break;
	exmap_cursor_init(&op.cur, ctx, iface);
	alloc_lock(&op);
	pte = exmap_cursor_lock(&op.cur, addr);
	if (pte && count_absent(pte, pages) <= iface->count &&
	    alloc_run(&op, &addr, end) == RUN_DONE)
		err = 0;
	alloc_unlock(&op);
	if (err)
		return err;
	alloc_finish(&op);
	trace_exmap_alloc(iface->index, 1, op.mapped, op.present, 0);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: FREE, take the frames of pages away.
 *
 * A batch has three parts. First its entries are cleared, and their frames are
 * held in hand. Then one flush covers the whole mm. Only then do the frames
 * reach the free list, from which they can be mapped again. A frame that is
 * pinned, which its reference count tells, is replaced.
 *
 * The count is read after the flush. get_user_pages_fast() raises the count and
 * then checks the entry again. FREE clears the entry and, after a full barrier,
 * reads the count. So at least one of the two sees the other.
 */
#include "exmap.h"
#include "pagetable.h"
#include "trace.h"

struct free_op {
	struct exmap *ctx;
	struct exmap_interface *iface;
	struct exmap_cursor cur;
	unsigned int in_hand;
	unsigned long freed;	/* of the whole batch */
	unsigned long absent;
	long budget;
	int first;		/* error */
};

/* Replaces the pinned frames in hand, from @i on; keeps the others. */
static noinline unsigned int free_sort_hand(struct free_op *op, unsigned int i)
{
	unsigned long *hand = op->iface->hand;
	unsigned int kept = i;
	unsigned long pfn;

	for (; i < op->in_hand; i++) {
		pfn = hand[i];
		if (exmap_frame_is_pinned(pfn)) {
			op->iface->counters.pinned++;
			pfn = exmap_frame_replace(op->ctx, pfn);
			if (!pfn)
				continue;
		}
		hand[kept++] = pfn;
	}
	return kept;
}

static void free_empty_hand(struct free_op *op)
{
	unsigned long *hand = op->iface->hand;
	unsigned int kept;

	if (!op->in_hand)
		return;
	exmap_flush(op->ctx, op->iface, op->in_hand);
	exmap_add_rss(op->ctx->mm, -(long)op->in_hand);
	for (kept = 0; kept < op->in_hand; kept++)
		if (unlikely(exmap_frame_is_pinned(hand[kept])))
			break;
	if (unlikely(kept < op->in_hand))
		kept = free_sort_hand(op, kept);
	op->in_hand = 0;
	exmap_free_list_put(op->ctx, op->iface, hand, kept);
}

/* The usual case: one page that is mapped, and room in the hand. */
static __always_inline bool free_single(struct free_op *op,
					struct exmap_interface *iface,
					unsigned long addr)
{
	unsigned int n = op->in_hand;
	pteval_t old;
	pte_t *pte;

	if (unlikely(n == EXMAP_HAND_MAX))
		return false;
	pte = exmap_cursor_lock(&op->cur, addr);
	if (unlikely(!pte))
		return false;
	old = exmap_entry_read(pte);
	if (unlikely(!exmap_entry_is_frame(old)))
		return false;
	/* Under the lock only the CPU's A and D bits can change it. */
	ptep_get_and_clear(op->cur.mm, addr, pte);
	iface->hand_addr[n] = addr;
	iface->hand[n] = exmap_entry_pfn(old);
	op->in_hand = n + 1;
	return true;
}

/* Unmaps from *@addr on until @end or until the hand is full. */
static __always_inline bool free_run(struct free_op *op, unsigned long *addr,
				     unsigned long end)
{
	unsigned long *hand = op->iface->hand;
	unsigned long next;
	pteval_t old;
	pte_t *pte;

	do {
		pte = exmap_cursor_lock(&op->cur, *addr);
		next = *addr + PAGE_SIZE;
		if (unlikely(!pte)) {
			next = pmd_addr_end(*addr, end);
			op->absent += (next - *addr) >> PAGE_SHIFT;
			continue;
		}
		old = exmap_entry_read(pte);
		if (unlikely(!exmap_entry_is_frame(old))) {
			op->absent++;
			continue;
		}
		if (unlikely(op->in_hand == EXMAP_HAND_MAX))
			return false;
		/* Under the lock only the CPU's A and D bits can change it. */
		ptep_get_and_clear(op->cur.mm, *addr, pte);
		op->iface->hand_addr[op->in_hand] = *addr;
		hand[op->in_hand++] = exmap_entry_pfn(old);
		op->freed++;
	} while (*addr = next, next != end);
	return true;
}

static void free_entry(struct free_op *op, unsigned long addr,
		       unsigned long end)
{
	while (!free_run(op, &addr, end)) {
		exmap_cursor_unlock(&op->cur);
		exmap_walk_end();
		free_empty_hand(op);
		cond_resched();
		exmap_walk_begin();
	}
}

static int free_breathe(struct free_op *op)
{
	op->budget = EXMAP_BUDGET;
	if (!need_resched() && !fatal_signal_pending(current))
		return 0;
	exmap_cursor_unlock(&op->cur);
	exmap_walk_end();
	cond_resched();
	exmap_walk_begin();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/* Any entry that free_single() does not do. Returns what stops the batch. */
static noinline int free_any(struct free_op *op, struct exmap_iov *iov,
			     u64 value, int stop)
{
	struct exmap_iov entry = { .value = value };
	unsigned long pages = op->ctx->area_pages, before = op->freed;
	unsigned long page = entry.page, len = entry.len, start;
	int err = stop;

	if (unlikely(len > pages || page > pages - len)) {
		err = err ?: -EINVAL;
		op->iface->counters.fail_input++;
	} else if (!stop && len) {
		start = op->ctx->area_start + (page << PAGE_SHIFT);
		free_entry(op, start, start + (len << PAGE_SHIFT));
		op->budget -= len;
	}
	entry.value = 0;
	entry.res = err;
	entry.pages = op->freed - before;
	WRITE_ONCE(iov->value, entry.value);
	op->first = op->first ?: err;
	if (op->budget < 0 && !stop)
		stop = free_breathe(op);
	return stop;
}

/**
 * exmap_free() - unmap the pages of some entries
 * @ctx: the exmap
 * @iface: the interface, between exmap_op_begin() and exmap_op_end()
 * @iov: entries; user space may change them meanwhile, each is read once
 * @nr: how many
 *
 * Results are written to the entries. When it returns, no CPU can reach the
 * frames through the pages any more.
 *
 * Return: 0, or the first entry's error.
 */
int exmap_free(struct exmap *ctx, struct exmap_interface *iface,
	       struct exmap_iov *iov, unsigned int nr)
{
	struct free_op op = {
		.ctx = ctx,
		.iface = iface,
		.budget = EXMAP_BUDGET,
	};
	unsigned long start = ctx->area_start;
	/* 0 once nothing can go the short way any more. */
	unsigned long pages = ctx->area_pages;
	struct exmap_iov *end = iov + nr;
	u64 value, page;
	int stop = 0;

	exmap_cursor_init(&op.cur, ctx, iface);
	exmap_walk_begin();
	for (; iov < end; iov++) {
		value = READ_ONCE(iov->value);
		/* An entry of one page is its number with one more bit set. */
		page = value ^ EXMAP_ENTRY_ONE;
		if (likely(page < pages) &&
		    free_single(&op, iface, start + (page << PAGE_SHIFT))) {
			op.freed++;
			WRITE_ONCE(iov->value, EXMAP_ENTRY_DONE_ONE);
			continue;
		}
		stop = free_any(&op, iov, value, stop);
		if (stop)
			pages = 0;
	}
	exmap_cursor_unlock(&op.cur);
	exmap_walk_end();
	free_empty_hand(&op);

	iface->counters.free_calls++;
	iface->counters.free_pages += op.freed;
	iface->counters.free_absent += op.absent;
	trace_exmap_free(iface->index, nr, op.freed, op.absent, op.first);
	return op.first;
}

/* Unmaps a page if it still has that very frame; the hand has room. */
static void free_if_fresh(struct free_op *op, unsigned long addr,
			  unsigned long pfn)
{
	struct exmap_interface *iface = op->iface;
	pteval_t old;
	pte_t *pte;

	pte = exmap_cursor_lock(&op->cur, addr);
	if (!pte)
		return;
	old = exmap_entry_read(pte);
	if (!exmap_entry_is_frame(old) || exmap_entry_pfn(old) != pfn)
		return;
	ptep_get_and_clear(op->cur.mm, addr, pte);
	iface->hand_addr[op->in_hand] = addr;
	iface->hand[op->in_hand++] = pfn;
}

/**
 * exmap_free_fresh() - unmap what an ALLOC mapped, and nothing else
 * @ctx: the exmap
 * @iface: the interface, between exmap_op_begin() and exmap_op_end()
 * @addr: the first page's address
 * @fresh: frames that exmap_alloc() reported, one a page, or 0; becomes all 0
 * @nr: how many pages, no more than EXMAP_READ_CHUNK
 *
 * A page that somebody has freed and allocated again meanwhile is his: it has
 * another frame, because the references kept this one from it. They are dropped
 * once the entry is gone, so that they do not count as somebody else's pins.
 */
void exmap_free_fresh(struct exmap *ctx, struct exmap_interface *iface,
		      unsigned long addr, unsigned long *fresh,
		      unsigned int nr)
{
	struct free_op op = { .ctx = ctx, .iface = iface };
	unsigned int freed, i;

	BUILD_BUG_ON(EXMAP_READ_CHUNK > EXMAP_HAND_MAX);
	exmap_cursor_init(&op.cur, ctx, iface);
	exmap_walk_begin();
	for (i = 0; i < nr; i++) {
		if (!fresh[i])
			continue;
		free_if_fresh(&op, addr + ((unsigned long)i << PAGE_SHIFT),
			      fresh[i]);
		put_page(pfn_to_page(fresh[i]));
		fresh[i] = 0;
	}
	exmap_cursor_unlock(&op.cur);
	exmap_walk_end();
	freed = op.in_hand;
	free_empty_hand(&op);
	iface->counters.free_calls++;
	iface->counters.free_pages += freed;
	trace_exmap_free(iface->index, 1, freed, nr - freed, 0);
}

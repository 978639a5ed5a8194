// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: what core mm does to the area while operations run.
 *
 * Operations take no lock of the mm. These things may happen meanwhile:
 *
 * munmap of the area, exit. Page tables are freed afterwards, so operations
 *   must be gone. The notifier (MMU_NOTIFY_UNMAP before the entries are
 *   cleared, or release at exit) sets the area's state to DYING, then waits
 *   for each interface to be idle. An operation makes its interface busy, then
 *   looks at the state:
 *
 *     operation                          notifier
 *     cmpxchg(busy, 0, 1), ordered       area_state = DYING
 *                                        smp_mb()
 *     area_state LIVE? no: leave         busy? wait
 *
 *   At least one of the two sees the other. This is no mutex, because a busy
 *   operation flushes, and flushing calls the notifiers. lockdep would report a
 *   circle that the range test here excludes. For the same reason a busy
 *   operation must never wait for mmap_lock.
 *
 * munmap of the flush windows. The same. Afterwards every operation is refused
 *   (ESTALE), because it could not flush.
 *
 * madvise(DONTNEED), memory failure, the OOM reaper (entries are cleared). Only
 *   the page-table lock matters. exmap_pool_reclaim() finds the frames by their
 *   reference counts. A counter here tells it to look. The counter changes
 *   after the entries were cleared (range_end), so that no zap is missed. The
 *   frame itself is released later, after core mm's flush.
 *
 * munmap, madvise(DONTNEED) and the like of any part of the view. A frame's
 *   counts do not tell the area's share from the view's, so all frames lose
 *   their numbers before the first entry is cleared. See view.c.
 */
#include "exmap.h"

static void drain(struct exmap *ctx)
{
	unsigned int i;

	smp_mb(); /* pairs with exmap_op_begin() */
	if (!exmap_ready(ctx))
		return;
	for (i = 0; i < ctx->nr_interfaces; i++)
		wait_event(ctx->interfaces[i].idle,
			   /* Pairs with the release in exmap_op_end(). */
			   !smp_load_acquire(&ctx->interfaces[i].busy));
}

static bool overlaps(const struct mmu_notifier_range *range,
		     unsigned long start, unsigned long end)
{
	return range->start < end && range->end > start;
}

static bool in_area(struct exmap *ctx, const struct mmu_notifier_range *range)
{
	unsigned long start = READ_ONCE(ctx->area_start);
	unsigned long len = READ_ONCE(ctx->area_pages) << PAGE_SHIFT;

	return overlaps(range, start, start + len);
}

/* Or where it was: a view whose mmap() failed is cleared after its end. */
static bool in_view(struct exmap *ctx, const struct mmu_notifier_range *range)
{
	return overlaps(range, READ_ONCE(ctx->view_start),
			READ_ONCE(ctx->view_end));
}

static int exmap_range_start(struct mmu_notifier *notifier,
			     const struct mmu_notifier_range *range)
{
	struct exmap *ctx = container_of(notifier, struct exmap, notifier);
	bool area, window;
	int err;

	if (range->event != MMU_NOTIFY_UNMAP &&
	    range->event != MMU_NOTIFY_CLEAR)
		return 0;
	if (unlikely(in_view(ctx, range))) {
		err = exmap_view_lose(ctx, mmu_notifier_range_blockable(range));
		if (err)
			return err;
	}
	if (likely(range->event != MMU_NOTIFY_UNMAP))
		return 0;
	area = READ_ONCE(ctx->area_state) != EXMAP_AREA_NONE &&
	       in_area(ctx, range);
	window = overlaps(range, READ_ONCE(ctx->window_start),
			  READ_ONCE(ctx->window_end));
	if (!area && !window)
		return 0;
	if (area)
		WRITE_ONCE(ctx->area_state, EXMAP_AREA_DYING);
	if (window)
		WRITE_ONCE(ctx->window_lost, true);
	drain(ctx);
	return 0;
}

static void exmap_range_end(struct mmu_notifier *notifier,
			    const struct mmu_notifier_range *range)
{
	struct exmap *ctx = container_of(notifier, struct exmap, notifier);

	if (unlikely(in_area(ctx, range) || in_view(ctx, range))) {
		smp_mb__before_atomic(); /* pairs with exmap_pool_reclaim() */
		atomic_long_inc(&ctx->pool.zaps);
	}
}

static void exmap_release_mm(struct mmu_notifier *notifier,
			     struct mm_struct *mm)
{
	struct exmap *ctx = container_of(notifier, struct exmap, notifier);

	WRITE_ONCE(ctx->area_state, EXMAP_AREA_DYING);
	WRITE_ONCE(ctx->window_lost, true);
	drain(ctx);
	exmap_view_lose(ctx, true);
	atomic_long_inc(&ctx->pool.zaps);
}

const struct mmu_notifier_ops exmap_notifier_ops = {
	.invalidate_range_start = exmap_range_start,
	.invalidate_range_end = exmap_range_end,
	.release = exmap_release_mm,
};

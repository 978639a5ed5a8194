// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: STATS, STATS2, QUERY and RESIZE.
 *
 * Structures of the extensions begin with their size. A caller with a shorter
 * structure gets as much as it has room for. In a longer structure, the part
 * that this module does not know must be zero, and stays unchanged.
 */
#include <linux/uaccess.h>

#include "exmap.h"

/* Reads a sized structure; *@usize is the caller's idea of its size. */
static int sized_get(void *to, size_t ksize, size_t min, void __user *from,
		     size_t *usize)
{
	u32 size;

	if (get_user(size, (u32 __user *)from))
		return -EFAULT;
	if (size < min)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	*usize = size;
	return copy_struct_from_user(to, ksize, from, size);
}

static int sized_put(void __user *to, const void *from, size_t ksize,
		     size_t usize)
{
	return copy_to_user(to, from, min(ksize, usize)) ? -EFAULT : 0;
}

static u64 state_bits(struct exmap *ctx)
{
	u64 bits = READ_ONCE(ctx->flags);
	int area = READ_ONCE(ctx->area_state);

	if (exmap_ready(ctx))
		bits |= EXMAP_STATE_READY;
	if (area == EXMAP_AREA_CLAIMED || area == EXMAP_AREA_LIVE)
		bits |= EXMAP_STATE_MAPPED;
	if (READ_ONCE(ctx->window_lost))
		bits |= EXMAP_STATE_WINDOW_LOST;
	if (READ_ONCE(ctx->view_state) == EXMAP_VIEW_LIVE)
		bits |= EXMAP_STATE_VIEW;
	return bits;
}

static u64 frames_free(struct exmap *ctx)
{
	u64 sum = READ_ONCE(ctx->pool.free_list.count);
	unsigned int i;

	for (i = 0; i < ctx->nr_interfaces; i++)
		sum += READ_ONCE(ctx->interfaces[i].count);
	return sum;
}

/* Free and mapped frames add up to the pool unless something is under way. */
static u64 frames_mapped(struct exmap *ctx, u64 frames, u64 free)
{
	return frames > free ? frames - free : 0;
}

/**
 * exmap_stats() - EXMAP_IOCTL_STATS
 * @ctx: the exmap
 * @arg: where to
 */
int exmap_stats(struct exmap *ctx, struct exmap_ioctl_stats __user *arg)
{
	struct exmap_ioctl_stats stats;

	memset(&stats, 0, sizeof(stats));
	stats.flags = state_bits(ctx);
	if (exmap_ready(ctx)) {
		exmap_pool_reclaim(ctx);
		stats.buffer_size = exmap_pool_frames(&ctx->pool);
		stats.alloc_count = frames_mapped(ctx, stats.buffer_size,
						  frames_free(ctx));
		stats.max_interfaces = ctx->nr_interfaces;
	}
	return copy_to_user(arg, &stats, sizeof(stats)) ? -EFAULT : 0;
}

static void stats2_interface(struct exmap_stats2 *stats,
			     const struct exmap_counters *count)
{
	stats->alloc_calls += READ_ONCE(count->alloc_calls);
	stats->alloc_pages += READ_ONCE(count->alloc_pages);
	stats->alloc_present += READ_ONCE(count->alloc_present);
	stats->free_calls += READ_ONCE(count->free_calls);
	stats->free_pages += READ_ONCE(count->free_pages);
	stats->free_absent += READ_ONCE(count->free_absent);
	stats->refills += READ_ONCE(count->refills);
	stats->spills += READ_ONCE(count->spills);
	stats->steals += READ_ONCE(count->steals);
	stats->stolen_frames += READ_ONCE(count->stolen_frames);
	stats->flushes += READ_ONCE(count->flushes);
	stats->flushes_local += READ_ONCE(count->flushes_local);
	stats->pinned += READ_ONCE(count->pinned);
	stats->fail_nomem += READ_ONCE(count->fail_nomem);
	stats->fail_input += READ_ONCE(count->fail_input);
}

static void stats2_pool(struct exmap *ctx, struct exmap_stats2 *stats)
{
	unsigned long target;

	exmap_pool_reclaim(ctx);
	exmap_pool_look(ctx);
	target = READ_ONCE(ctx->pool.target);
	stats->frames = exmap_pool_frames(&ctx->pool);
	stats->frames_free = frames_free(ctx);
	stats->frames_mapped = frames_mapped(ctx, stats->frames,
					     stats->frames_free);
	stats->frames_short = target > stats->frames ? target - stats->frames : 0;
	stats->zapped = READ_ONCE(ctx->pool.zapped);
	stats->frames_in_view = READ_ONCE(ctx->pool.in_view);
	stats->frames_parked = READ_ONCE(ctx->pool.listed[EXMAP_PARKED]);
	stats->frames_replaced = READ_ONCE(ctx->pool.listed[EXMAP_REPLACED]);
	stats->unpinned = READ_ONCE(ctx->pool.unpinned);
}

static void stats2_counters(struct exmap *ctx, struct exmap_stats2 *stats)
{
	unsigned int i;

	for (i = 0; i < ctx->nr_interfaces; i++)
		stats2_interface(stats, &ctx->interfaces[i].counters);
	stats->read_calls = atomic64_read(&ctx->read_calls);
	stats->read_pages = atomic64_read(&ctx->read_pages);
	stats->write_calls = atomic64_read(&ctx->write_calls);
	stats->write_pages = atomic64_read(&ctx->write_pages);
	stats->fail_input += atomic64_read(&ctx->fail_input);
	stats->fail_io = atomic64_read(&ctx->fail_io);
	stats->interfaces = ctx->nr_interfaces;
}

/**
 * exmap_stats2() - EXMAP_IOCTL_STATS2
 * @ctx: the exmap
 * @arg: where to
 */
int exmap_stats2(struct exmap *ctx, struct exmap_stats2 __user *arg)
{
	struct exmap_stats2 stats;
	size_t usize;
	int err;

	err = sized_get(&stats, sizeof(stats),
			offsetofend(struct exmap_stats2, flushes_local), arg,
			&usize);
	if (err)
		return err;
	if (stats.flags)
		return -EINVAL;
	memset(&stats, 0, sizeof(stats));
	stats.size = sizeof(stats);
	stats.state = state_bits(ctx);
	stats.area_pages = READ_ONCE(ctx->area_pages);
	stats.fault_zero = atomic64_read(&ctx->fault_zero);
	stats.fault_denied = atomic64_read(&ctx->fault_denied);
	if (exmap_ready(ctx)) {
		stats2_pool(ctx, &stats);
		stats2_counters(ctx, &stats);
	}
	return sized_put(arg, &stats, sizeof(stats), usize);
}

/**
 * exmap_query() - EXMAP_IOCTL_QUERY
 * @arg: where to
 */
int exmap_query(struct exmap_query __user *arg)
{
	struct exmap_query query;
	size_t usize;
	int err;

	err = sized_get(&query, sizeof(query),
			offsetofend(struct exmap_query, area_bytes_max), arg,
			&usize);
	if (err)
		return err;
	if (query.flags)
		return -EINVAL;
	query = (struct exmap_query) {
		.size = sizeof(query),
		.abi_version = EXMAP_ABI_VERSION,
		.page_size = PAGE_SIZE,
		.features = EXMAP_FEATURE_READ | EXMAP_FEATURE_WRITE |
			    EXMAP_FEATURE_URING_CMD | EXMAP_FEATURE_CLONE |
			    EXMAP_FEATURE_RESIZE | EXMAP_FEATURE_STATS2 |
			    EXMAP_FEATURE_READ_FAULT_ZERO |
			    EXMAP_FEATURE_URING_IOPOLL | EXMAP_FEATURE_VIEW |
			    (exmap_shrink_returns() ? 0 : EXMAP_FEATURE_PARKS),
		.setup_flags = EXMAP_SETUP_FLAGS,
		.opcodes_ioctl = BIT(EXMAP_OP_ALLOC) | BIT(EXMAP_OP_FREE),
		.opcodes_uring = BIT(EXMAP_OP_READ) | BIT(EXMAP_OP_ALLOC) |
				 BIT(EXMAP_OP_FREE) | BIT(EXMAP_OP_WRITE),
		.interfaces_max = EXMAP_INTERFACES_MAX,
		.iov_max = EXMAP_USER_INTERFACE_PAGES,
		.entry_pages_max = EXMAP_PAGE_MAX_PAGES - 1,
		.flush_batch_pages = EXMAP_HAND_MAX,
		.frames_max = exmap_frames_max(),
		.area_bytes_max = TASK_SIZE_MAX,
	};
	return sized_put(arg, &query, sizeof(query), usize);
}

static int resize_to(struct exmap *ctx, u64 frames)
{
	unsigned long target = ctx->pool.target;

	if (frames > target)
		return exmap_pool_grow(ctx, frames - target);
	if (frames < target)
		return exmap_pool_shrink(ctx, target - frames);
	exmap_pool_settle(ctx);
	return 0;
}

/**
 * exmap_resize() - EXMAP_IOCTL_RESIZE
 * @ctx: the exmap
 * @arg: what to, and what it has become
 */
int exmap_resize(struct exmap *ctx, struct exmap_resize __user *arg)
{
	struct exmap_resize args;
	size_t usize;
	int err;

	err = sized_get(&args, sizeof(args),
			offsetofend(struct exmap_resize, frames), arg, &usize);
	if (err)
		return err;
	if (!exmap_ready(ctx))
		return -ENXIO;
	if (current->mm != ctx->mm)
		return -EPERM;
	if (args.flags || !args.frames)
		return -EINVAL;
	if (args.frames > exmap_frames_max())
		return -ENOMEM;
	if (mutex_lock_killable(&ctx->resize_lock))
		return -EINTR;
	err = resize_to(ctx, args.frames);
	args.frames = ctx->pool.target;
	mutex_unlock(&ctx->resize_lock);
	args.size = sizeof(args);
	return sized_put(arg, &args, sizeof(args), usize) ?: err;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: where free frames wait.
 *
 * Each interface has a stock of its own, and all share the common one. They
 * trade whole magazines. An interface that finds its own stock and the common
 * one empty takes from the others, so a pool works to its last frame.
 *
 * No frame can hide from a starving operation: frames move from one stock to
 * another either under both locks (the common stock's inside) or, when stolen,
 * in the thief's hands with exmap_pool.transit raised. An operation gives up
 * with -ENOMEM only after it has looked everywhere while nothing moved.
 */
#include "exmap.h"
#include "trace.h"

/* Frames to move at once: a magazine, fewer in a small pool. */
static unsigned int magazine(struct exmap *ctx)
{
	unsigned long share = READ_ONCE(ctx->pool.target) /
			      (2 * ctx->nr_interfaces);

	return clamp(share, 1UL, (unsigned long)EXMAP_MAGAZINE);
}

static bool take_common(struct exmap *ctx, struct exmap_interface *iface)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned long nr;

	spin_lock(&iface->stock_lock);
	spin_lock(&pool->lock);
	nr = min_t(unsigned long, pool->count, magazine(ctx));
	nr = min_t(unsigned long, nr, EXMAP_STOCK_HIGH - iface->count);
	pool->count -= nr;
	memcpy(iface->stock + iface->count, pool->stock + pool->count,
	       nr * sizeof(*pool->stock));
	iface->count += nr;
	spin_unlock(&pool->lock);
	spin_unlock(&iface->stock_lock);
	if (!nr)
		return false;
	atomic_long_inc(&pool->moves);
	iface->counters.refills++;
	return true;
}

/* Takes up to @nr frames, but no more than half (rounded up), of a stock. */
static unsigned int take_half(struct exmap_interface *victim,
			      unsigned long *pfns, unsigned int nr)
{
	if (!READ_ONCE(victim->count))
		return 0;
	spin_lock(&victim->stock_lock);
	nr = min(nr, (victim->count + 1) / 2);
	victim->count -= nr;
	memcpy(pfns, victim->stock + victim->count, nr * sizeof(*pfns));
	spin_unlock(&victim->stock_lock);
	return nr;
}

static bool steal(struct exmap *ctx, struct exmap_interface *iface)
{
	unsigned long pfns[EXMAP_STEAL_MAX];
	struct exmap_pool *pool = &ctx->pool;
	struct exmap_interface *victim;
	unsigned int i, nr = 0;

	atomic_inc(&pool->transit);
	for (i = 1; i < ctx->nr_interfaces && !nr; i++) {
		victim = &ctx->interfaces[(iface->index + i) % ctx->nr_interfaces];
		nr = take_half(victim, pfns, EXMAP_STEAL_MAX);
	}
	if (nr) {
		spin_lock(&iface->stock_lock);
		memcpy(iface->stock + iface->count, pfns, nr * sizeof(*pfns));
		iface->count += nr;
		spin_unlock(&iface->stock_lock);
		atomic_long_inc(&pool->moves);
	}
	/* After the frames can be seen; pairs with stock_quiet(). */
	smp_mb__before_atomic();
	atomic_dec(&pool->transit);
	if (!nr)
		return false;
	iface->counters.steals++;
	iface->counters.stolen_frames += nr;
	trace_exmap_steal(iface->index, victim->index, nr);
	return true;
}

/* Nothing has moved since @moves, and nothing is moving. */
static bool stock_quiet(struct exmap_pool *pool, long moves)
{
	smp_rmb(); /* pairs with the barrier in steal() */
	return !atomic_read(&pool->transit) &&
	       atomic_long_read(&pool->moves) == moves;
}

/**
 * exmap_stock_refill() - get frames into an interface's empty stock
 * @ctx: the exmap
 * @iface: the interface, held by the caller
 *
 * Looks at the common stock, the other interfaces, frames that core mm has
 * unmapped, and the page allocator if the pool is short of frames.
 *
 * Context: may sleep.
 * Return: 0, -ENOMEM if no frame is free, -EINTR on a fatal signal.
 */
int exmap_stock_refill(struct exmap *ctx, struct exmap_interface *iface)
{
	struct exmap_pool *pool = &ctx->pool;
	long moves;

	do {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		moves = atomic_long_read(&pool->moves);
		smp_rmb(); /* the count before the stocks it speaks of */
		if (take_common(ctx, iface) || steal(ctx, iface))
			return 0;
		if (exmap_pool_reclaim(ctx) || exmap_pool_fill_up(ctx))
			continue;
	} while (!stock_quiet(pool, moves));
	return -ENOMEM;
}

/**
 * exmap_common_put() - put frames into the common stock
 * @ctx: the exmap
 * @pfns: the frames
 * @nr: how many
 */
void exmap_common_put(struct exmap *ctx, const unsigned long *pfns,
		      unsigned int nr)
{
	struct exmap_pool *pool = &ctx->pool;

	spin_lock(&pool->lock);
	if (!WARN_ON_ONCE(pool->count + nr > pool->capacity)) {
		memcpy(pool->stock + pool->count, pfns, nr * sizeof(*pfns));
		pool->count += nr;
	}
	spin_unlock(&pool->lock);
	atomic_long_inc(&pool->moves);
}

/**
 * exmap_stock_put() - put free frames into an interface's stock
 * @ctx: the exmap
 * @iface: the interface, held by the caller
 * @pfns: the frames, no more than EXMAP_HAND_MAX
 * @nr: how many
 *
 * What is too much for one interface goes on to the common stock.
 */
void exmap_stock_put(struct exmap *ctx, struct exmap_interface *iface,
		     const unsigned long *pfns, unsigned int nr)
{
	spin_lock(&iface->stock_lock);
	if (nr == 1)
		iface->stock[iface->count] = *pfns;
	else
		memcpy(iface->stock + iface->count, pfns, nr * sizeof(*pfns));
	iface->count += nr;
	while (unlikely(iface->count > EXMAP_STOCK_HIGH)) {
		iface->count -= EXMAP_MAGAZINE;
		exmap_common_put(ctx, iface->stock + iface->count,
				 EXMAP_MAGAZINE);
		iface->counters.spills++;
	}
	spin_unlock(&iface->stock_lock);
}

/**
 * exmap_stock_take_any() - take free frames from wherever they are
 * @ctx: the exmap
 * @pfns: room for @nr frames
 * @nr: how many are wanted
 *
 * Return: how many were taken.
 */
unsigned int exmap_stock_take_any(struct exmap *ctx, unsigned long *pfns,
				  unsigned int nr)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned int i, got;

	spin_lock(&pool->lock);
	got = min_t(unsigned long, pool->count, nr);
	pool->count -= got;
	memcpy(pfns, pool->stock + pool->count, got * sizeof(*pfns));
	spin_unlock(&pool->lock);

	for (i = 0; i < ctx->nr_interfaces && got < nr; i++)
		got += take_half(&ctx->interfaces[i], pfns + got, nr - got);
	return got;
}

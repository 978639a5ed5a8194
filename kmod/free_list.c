// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: where free frames wait.
 *
 * Each interface has a free list of its own, and all share the common one. They
 * trade whole magazines. If an interface finds both lists empty, the frames of
 * other interfaces are moved to the common list. So a pool works to its last
 * frame.
 *
 * No frame can hide from a starving operation. Frames move from one list to
 * another only under both locks (the common list's lock is the inner one), and
 * each move raises `moves`. An operation gives up with -ENOMEM only if it has
 * looked into every list, each under its lock, while nothing moved. The race to
 * consider:
 *
 *   A frame moves out of a list that was not looked at yet, into one that was.
 *   The mover raised `moves` before it unlocked the first list. The starving
 *   operation takes that lock afterwards, sees that the number has changed, and
 *   looks again.
 *
 * It looks REFILL_ROUNDS times at most. In each round that was in vain, frames
 * moved and other operations got them. If that many operations starve, an error
 * is better than another round. A starving operation moves nothing and counts
 * nothing, so any number of them learn at once that there is no frame.
 */
#include "exmap.h"
#include "trace.h"

/* How often a starving operation looks while others move frames. */
#define REFILL_ROUNDS	100

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

	spin_lock(&iface->free_lock);
	spin_lock(&pool->lock);
	nr = min_t(unsigned long, pool->free_list.count, magazine(ctx));
	nr = min_t(unsigned long, nr, EXMAP_FREE_HIGH - iface->count);
	if (nr) {
		exmap_array_take(&pool->free_list, iface->free_list + iface->count, nr);
		iface->count += nr;
		atomic_long_inc(&pool->moves);
	}
	spin_unlock(&pool->lock);
	spin_unlock(&iface->free_lock);
	if (!nr)
		return false;
	iface->counters.refills++;
	return true;
}

/* How many frames of a free list may be taken by others: half, rounded up. */
static unsigned int half_of(struct exmap_interface *victim, unsigned int nr)
{
	return min(nr, (victim->count + 1) / 2);
}

/* Moves up to EXMAP_STEAL_MAX frames to the common list; returns how many. */
static unsigned int half_to_common(struct exmap *ctx,
				   struct exmap_interface *victim)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned int nr;

	spin_lock(&victim->free_lock);
	nr = half_of(victim, EXMAP_STEAL_MAX);
	if (nr) {
		victim->count -= nr;
		spin_lock(&pool->lock);
		exmap_array_put(&pool->free_list, victim->free_list + victim->count, nr);
		atomic_long_inc(&pool->moves);
		spin_unlock(&pool->lock);
	}
	spin_unlock(&victim->free_lock);
	return nr;
}

/*
 * Moves frames of one other interface to the common free list. @sure: looks at
 * each one under its lock, and not only where a glance shows some.
 */
static bool steal(struct exmap *ctx, struct exmap_interface *iface, bool sure)
{
	struct exmap_interface *victim;
	unsigned int i, nr = 0;

	for (i = 1; i < ctx->nr_interfaces && !nr; i++) {
		victim = &ctx->interfaces[(iface->index + i) % ctx->nr_interfaces];
		if (sure || READ_ONCE(victim->count))
			nr = half_to_common(ctx, victim);
	}
	if (!nr)
		return false;
	iface->counters.steals++;
	iface->counters.stolen_frames += nr;
	trace_exmap_steal(iface->index, victim->index, nr);
	return true;
}

/**
 * exmap_free_list_try_refill() - get frames for an interface, if easy
 * @ctx: the exmap
 * @iface: the interface, held by the caller
 *
 * Looks at the common free list and the other interfaces.
 *
 * Context: does not sleep.
 * Return: whether there were some.
 */
bool exmap_free_list_try_refill(struct exmap *ctx, struct exmap_interface *iface)
{
	return take_common(ctx, iface) ||
	       (steal(ctx, iface, false) && take_common(ctx, iface));
}

/**
 * exmap_free_list_refill() - get frames into an interface's empty free list
 * @ctx: the exmap
 * @iface: the interface, held by the caller
 *
 * Looks at the common free list, the other interfaces, frames that core mm has
 * unmapped, and at what the pool may take if it is short of frames.
 *
 * Context: may sleep.
 * Return: 0, -ENOMEM if no frame is free, -EINTR on a fatal signal.
 */
int exmap_free_list_refill(struct exmap *ctx, struct exmap_interface *iface)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned int round;
	bool sure;
	long moves;

	for (round = 0; round < REFILL_ROUNDS; round++) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		moves = atomic_long_read(&pool->moves);
		smp_rmb(); /* the count before the free lists it speaks of */
		if (take_common(ctx, iface))
			return 0;
		sure = round;
		if (steal(ctx, iface, sure) || exmap_pool_reclaim(ctx) ||
		    exmap_pool_fill_up(ctx))
			continue;
		smp_rmb(); /* the free lists before the count */
		if (sure && atomic_long_read(&pool->moves) == moves)
			break;
	}
	return -ENOMEM;
}

/**
 * exmap_common_put() - put frames into the common free list
 * @ctx: the exmap
 * @pfns: the frames
 * @nr: how many
 */
void exmap_common_put(struct exmap *ctx, const unsigned long *pfns,
		      unsigned int nr)
{
	struct exmap_pool *pool = &ctx->pool;

	if (!nr)
		return;
	spin_lock(&pool->lock);
	if (!WARN_ON_ONCE(pool->free_list.count + nr >
			  exmap_array_capacity(&pool->free_list)))
		exmap_array_put(&pool->free_list, pfns, nr);
	atomic_long_inc(&pool->moves);
	spin_unlock(&pool->lock);
}

/**
 * exmap_free_list_put() - put free frames into an interface's free list
 * @ctx: the exmap
 * @iface: the interface, held by the caller
 * @pfns: the frames, no more than EXMAP_HAND_MAX
 * @nr: how many
 *
 * What is too much for one interface goes on to the common free list.
 */
void exmap_free_list_put(struct exmap *ctx, struct exmap_interface *iface,
			 const unsigned long *pfns, unsigned int nr)
{
	spin_lock(&iface->free_lock);
	if (nr == 1)
		iface->free_list[iface->count] = *pfns;
	else
		memcpy(iface->free_list + iface->count, pfns, nr * sizeof(*pfns));
	iface->count += nr;
	while (unlikely(iface->count > EXMAP_FREE_HIGH)) {
		iface->count -= EXMAP_MAGAZINE;
		exmap_common_put(ctx, iface->free_list + iface->count,
				 EXMAP_MAGAZINE);
		iface->counters.spills++;
	}
	spin_unlock(&iface->free_lock);
}

/* Takes up to @nr frames, but no more than half, of a free list. */
static unsigned int take_half(struct exmap_interface *victim,
			      unsigned long *pfns, unsigned int nr)
{
	spin_lock(&victim->free_lock);
	nr = half_of(victim, nr);
	victim->count -= nr;
	memcpy(pfns, victim->free_list + victim->count, nr * sizeof(*pfns));
	spin_unlock(&victim->free_lock);
	return nr;
}

static unsigned int take_from_all(struct exmap *ctx, unsigned long *pfns,
				  unsigned int nr)
{
	struct exmap_pool *pool = &ctx->pool;
	unsigned int i, got;

	spin_lock(&pool->lock);
	got = min_t(unsigned long, pool->free_list.count, nr);
	exmap_array_take(&pool->free_list, pfns, got);
	spin_unlock(&pool->lock);

	for (i = 0; i < ctx->nr_interfaces && got < nr; i++)
		got += take_half(&ctx->interfaces[i], pfns + got, nr - got);
	return got;
}

/**
 * exmap_free_list_take_any() - take free frames from wherever they are
 * @ctx: the exmap
 * @pfns: room for @nr frames
 * @nr: how many are wanted
 *
 * Return: how many were taken; 0 as exmap_free_list_refill() gives -ENOMEM.
 */
unsigned int exmap_free_list_take_any(struct exmap *ctx, unsigned long *pfns,
				      unsigned int nr)
{
	unsigned int round, got = 0;
	long moves;

	for (round = 0; round < REFILL_ROUNDS && !got; round++) {
		moves = atomic_long_read(&ctx->pool.moves);
		smp_rmb(); /* the count before the free lists it speaks of */
		got = take_from_all(ctx, pfns, nr);
		smp_rmb(); /* the free lists before the count */
		if (atomic_long_read(&ctx->pool.moves) == moves)
			break;
	}
	return got;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: interfaces, and the life of one operation.
 */
#include <linux/nospec.h>

#include "exmap.h"

static int interface_create(struct exmap_interface *iface, unsigned int index)
{
	struct page *page;

	init_waitqueue_head(&iface->idle);
	spin_lock_init(&iface->free_lock);
	iface->index = index;
	page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!page)
		return -ENOMEM;
	iface->user = page_address(page);
	iface->free_list = kvmalloc_array(EXMAP_FREE_MAX, sizeof(*iface->free_list),
					  GFP_KERNEL_ACCOUNT);
	iface->hand = kvmalloc_array(EXMAP_HAND_MAX, sizeof(*iface->hand),
				     GFP_KERNEL_ACCOUNT);
	iface->hand_addr = kvmalloc_array(EXMAP_HAND_MAX,
					  sizeof(*iface->hand_addr),
					  GFP_KERNEL_ACCOUNT);
	return iface->free_list && iface->hand && iface->hand_addr ? 0 : -ENOMEM;
}

static void interface_destroy(struct exmap_interface *iface)
{
	if (iface->user)
		put_page(virt_to_page(iface->user));
	kvfree(iface->free_list);
	kvfree(iface->hand);
	kvfree(iface->hand_addr);
}

/**
 * exmap_interfaces_create() - make the interfaces
 * @ctx: the exmap, during setup
 * @nr: how many
 *
 * Return: 0 or -ENOMEM.
 */
int exmap_interfaces_create(struct exmap *ctx, unsigned int nr)
{
	unsigned int i;
	int err = 0;

	ctx->interfaces = kvcalloc(nr, sizeof(*ctx->interfaces),
				   GFP_KERNEL_ACCOUNT);
	if (!ctx->interfaces)
		return -ENOMEM;
	ctx->nr_interfaces = nr;
	for (i = 0; i < nr && !err; i++)
		err = interface_create(&ctx->interfaces[i], i);
	if (err)
		exmap_interfaces_destroy(ctx);
	return err;
}

/**
 * exmap_interfaces_destroy() - free the interfaces
 * @ctx: the exmap; no operation runs. User space may still map the pages.
 */
void exmap_interfaces_destroy(struct exmap *ctx)
{
	unsigned int i;

	for (i = 0; i < ctx->nr_interfaces; i++)
		interface_destroy(&ctx->interfaces[i]);
	kvfree(ctx->interfaces);
	ctx->interfaces = NULL;
	ctx->nr_interfaces = 0;
}

static void op_leave(struct exmap_interface *iface)
{
	/* What the operation did is done before the next one, or the notifier. */
	smp_store_release(&iface->busy, 0);
	smp_mb(); /* the store before the look at the queue, as in wait_event() */
	if (unlikely(waitqueue_active(&iface->idle)))
		wake_up_all(&iface->idle);
}

/* Fully ordered: pairs with the barrier in drain(), notifier.c. */
static bool op_try_enter(struct exmap_interface *iface)
{
	return cmpxchg(&iface->busy, 0, 1) == 0;
}

static int op_enter(struct exmap_interface *iface, bool nonblock)
{
	if (likely(op_try_enter(iface)))
		return 0;
	if (nonblock)
		return -EAGAIN;
	return wait_event_killable(iface->idle, op_try_enter(iface)) ?
	       -EINTR : 0;
}

static int op_refused(struct exmap *ctx, bool nonblock)
{
	if (READ_ONCE(ctx->window_lost))
		return -ESTALE;
	if (READ_ONCE(ctx->area_state) == EXMAP_AREA_CLAIMED)
		return nonblock ? -EAGAIN : exmap_area_activate(ctx);
	/* Activated by another interface since we looked? Then look again. */
	return READ_ONCE(ctx->area_state) == EXMAP_AREA_LIVE ? 0 : -ENXIO;
}

/**
 * exmap_op_begin() - begin an operation on an interface
 * @ctx: the exmap, set up; the caller is its owner
 * @iface: the interface
 * @nonblock: do not wait, neither for another operation on it nor for mmap_lock
 *
 * Until exmap_op_end() the area's and the window's page tables stay, except as
 * pagetable.h tells. The operation must not wait for mmap_lock.
 *
 * Return: 0, -ENXIO (no page area), -ESTALE (no flush window), -EINTR, or
 *         -EAGAIN if @nonblock.
 */
int exmap_op_begin(struct exmap *ctx, struct exmap_interface *iface,
		   bool nonblock)
{
	int err;

	do {
		err = op_enter(iface, nonblock);
		if (unlikely(err))
			return err;
		if (likely(READ_ONCE(ctx->area_state) == EXMAP_AREA_LIVE &&
			   !READ_ONCE(ctx->window_lost)))
			return 0;
		op_leave(iface);
		err = op_refused(ctx, nonblock);
	} while (!err);
	return err;
}

/**
 * exmap_op_end() - end an operation
 * @iface: the interface
 */
void exmap_op_end(struct exmap_interface *iface)
{
	op_leave(iface);
}

/**
 * exmap_interface_at() - the interface of a number that a user gave
 * @ctx: the exmap, set up
 * @index: the number
 *
 * Return: the interface, or NULL: there is none of that number.
 */
struct exmap_interface *exmap_interface_at(struct exmap *ctx,
					   unsigned int index)
{
	if (unlikely(index >= ctx->nr_interfaces))
		return NULL;
	return &ctx->interfaces[array_index_nospec(index, ctx->nr_interfaces)];
}

static bool flags_allowed(const struct exmap_action_params *args)
{
	return args->flags == EXMAP_ACTION_REPORT_FRAME &&
	       args->opcode == EXMAP_OP_ALLOC;
}

/**
 * exmap_action() - EXMAP_IOCTL_ACTION
 * @ctx: the exmap
 * @args: what to do
 *
 * Return: 0, the first entry's error, or the error of the call.
 */
int exmap_action(struct exmap *ctx, const struct exmap_action_params *args)
{
	struct exmap_interface *iface;
	int err;

	if (unlikely(!exmap_ready(ctx)))
		return -ENXIO;
	if (unlikely(current->mm != ctx->mm))
		return -EPERM;
	iface = exmap_interface_at(ctx, args->interface);
	if (unlikely(!iface ||
		     (args->flags && !flags_allowed(args)) ||
		     args->iov_len > EXMAP_USER_INTERFACE_PAGES ||
		     (args->opcode != EXMAP_OP_ALLOC &&
		      args->opcode != EXMAP_OP_FREE))) {
		atomic64_inc(&ctx->fail_input);
		return -EINVAL;
	}
	err = exmap_op_begin(ctx, iface, false);
	if (unlikely(err))
		return err;
	if (args->opcode == EXMAP_OP_ALLOC)
		err = exmap_alloc(ctx, iface, iface->user->iov, args->iov_len,
				  NULL, args->flags);
	else
		err = exmap_free(ctx, iface, iface->user->iov, args->iov_len);
	exmap_op_end(iface);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: setup, clone, and the end.
 */
#include "exmap.h"

/**
 * exmap_create() - make an exmap that belongs to the calling process
 *
 * Return: the exmap with one reference, or an error pointer.
 */
struct exmap *exmap_create(void)
{
	struct exmap *ctx;
	int err;

	if (!current->mm)
		return ERR_PTR(-EPERM);
	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return ERR_PTR(-ENOMEM);
	kref_init(&ctx->ref);
	mutex_init(&ctx->resize_lock);
	exmap_pool_init(&ctx->pool);
	ctx->mm = current->mm;
	ctx->notifier.ops = &exmap_notifier_ops;
	err = mmu_notifier_register(&ctx->notifier, ctx->mm);
	if (err) {
		kfree(ctx);
		/*
		 * It gives up for any signal, also for task work that looks
		 * like one: open() is then begun again, unseen by the caller.
		 */
		return ERR_PTR(err == -EINTR ? -ERESTARTNOINTR : err);
	}
	mmgrab(ctx->mm);
	return ctx;
}

static void exmap_destroy(struct kref *ref)
{
	struct exmap *ctx = container_of(ref, struct exmap, ref);

	exmap_windows_destroy(ctx);
	mmu_notifier_unregister(&ctx->notifier, ctx->mm);
	exmap_pool_destroy(ctx);
	exmap_interfaces_destroy(ctx);
	if (ctx->backing)
		fput(ctx->backing);
	mmdrop(ctx->mm);
	mutex_destroy(&ctx->resize_lock);
	kfree(ctx);
}

/**
 * exmap_put() - drop a reference
 * @ctx: the exmap
 *
 * Every VMA of the area holds its file, and every file a reference: when the
 * last one goes nothing is mapped any more.
 */
void exmap_put(struct exmap *ctx)
{
	kref_put(&ctx->ref, exmap_destroy);
}

/*
 * Old clients leave the field undefined. Where it has a bit that nobody can have
 * meant, the bits that are known have been set by chance as well.
 */
static u64 setup_flags(const struct exmap_ioctl_setup *args)
{
	return args->flags & ~EXMAP_SETUP_FLAGS ? 0 : args->flags;
}

static int setup_check(const struct exmap_ioctl_setup *args)
{
	if (args->max_interfaces < 1 ||
	    args->max_interfaces > EXMAP_INTERFACES_MAX)
		return -EINVAL;
	if (!args->buffer_size)
		return -EINVAL;
	return args->buffer_size > exmap_frames_max() ? -ENOMEM : 0;
}

/* The file for READ and WRITE: a file or a block device that can be read. */
static int setup_backing(struct exmap *ctx, int fd)
{
	struct file *file;
	umode_t mode;

	if (fd == -1)
		return 0;
	file = fget(fd);
	if (!file)
		return -EBADF;
	mode = file_inode(file)->i_mode;
	if (!S_ISREG(mode) && !S_ISBLK(mode)) {
		fput(file);
		return -EINVAL;
	}
	if (!(file->f_mode & FMODE_READ)) {
		fput(file);
		return -EBADF;
	}
	ctx->backing = file;
	return 0;
}

static void setup_undo(struct exmap *ctx)
{
	exmap_pool_destroy(ctx);
	exmap_interfaces_destroy(ctx);
	if (ctx->backing)
		fput(ctx->backing);
	ctx->backing = NULL;
	WRITE_ONCE(ctx->flags, 0);
}

static int setup_all(struct exmap *ctx, const struct exmap_ioctl_setup *args)
{
	int err;

	err = setup_check(args);
	if (err)
		return err;
	err = setup_backing(ctx, args->fd);
	if (err)
		return err;
	err = exmap_interfaces_create(ctx, args->max_interfaces);
	if (err)
		goto undo;
	err = exmap_pool_grow(ctx, args->buffer_size);
	if (err)
		goto undo;
	err = exmap_windows_create(ctx);
	if (err)
		goto undo;
	WRITE_ONCE(ctx->flags, setup_flags(args));
	exmap_area_set_ops(ctx);
	return 0;
undo:
	setup_undo(ctx);
	return err;
}

/**
 * exmap_setup() - EXMAP_IOCTL_SETUP
 * @ctx: the exmap
 * @args: what to set up
 *
 * Once only; after an error nothing has changed and it can be tried again.
 */
int exmap_setup(struct exmap *ctx, const struct exmap_ioctl_setup *args)
{
	int err;

	if (current->mm != ctx->mm)
		return -EPERM;
	if (cmpxchg(&ctx->state, EXMAP_NEW, EXMAP_SETTING_UP) != EXMAP_NEW)
		return -EBUSY;
	mutex_lock(&ctx->resize_lock);
	err = setup_all(ctx, args);
	mutex_unlock(&ctx->resize_lock);
	/* Everything above is seen by whoever sees the state: exmap_ready(). */
	smp_store_release(&ctx->state, err ? EXMAP_NEW : EXMAP_READY);
	return err;
}

static int clone_of(struct exmap_handle *handle, struct exmap *target)
{
	struct exmap *own = handle->own;

	if (current->mm != own->mm || current->mm != target->mm)
		return -EPERM;
	if (target == own)
		return -EINVAL;
	/* Fully ordered: either area_mmap() sees this, or we see the area. */
	if (cmpxchg(&own->state, EXMAP_NEW, EXMAP_IS_CLONE) != EXMAP_NEW)
		return -EBUSY;
	if (READ_ONCE(own->area_state) != EXMAP_AREA_NONE) {
		WRITE_ONCE(own->state, EXMAP_NEW);
		return -EBUSY;
	}
	kref_get(&target->ref);
	smp_store_release(&handle->ctx, target); /* pairs with exmap_of() */
	return 0;
}

/**
 * exmap_clone() - EXMAP_IOCTL_CLONE
 * @handle: a fresh open file
 * @fd: another one, whose exmap @handle will work on from now on
 *
 * The handle keeps the exmap it was opened with until it is closed, because a
 * call on another thread may just be using it.
 */
int exmap_clone(struct exmap_handle *handle, int fd)
{
	struct file *file;
	int err = -EINVAL;

	file = fget(fd);
	if (!file)
		return -EBADF;
	if (exmap_is_exmap(file))
		err = clone_of(handle, exmap_of(file));
	fput(file);
	return err;
}

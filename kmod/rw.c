// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: READ and WRITE, by pread, preadv, pwrite and pwritev on the descriptor.
 *
 * READ allocates the pages of a range and then reads them from the file given
 * at setup. A page's offset in the file is its offset in the area. The I/O uses
 * the user addresses, outside the interface's lock, and pins the pages like any
 * direct I/O.
 *
 * A READ holds a reference to each frame that it has mapped until it is done.
 * So if it fails, it can tell its own mapping from one that another thread has
 * made since: exmap_free_fresh().
 */
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "exmap.h"

/* Pages that a chunk handles without an allocation. */
#define CHUNK_FEW	8

/* A range of pages, no more than EXMAP_READ_CHUNK. */
struct chunk {
	struct exmap *ctx;
	struct exmap_interface *iface;
	unsigned long addr;
	unsigned long pages;
	unsigned long *fresh;	/* frames that this chunk has mapped, or 0 */
	unsigned long few[CHUNK_FEW];
};

/* Room for what chunks of a range of @pages pages map; all 0. */
static int chunk_make_room(struct chunk *c, unsigned long pages)
{
	c->fresh = c->few;
	if (pages <= CHUNK_FEW)
		return 0;
	pages = min_t(unsigned long, pages, EXMAP_READ_CHUNK);
	c->fresh = kcalloc(pages, sizeof(*c->fresh), GFP_KERNEL_ACCOUNT);
	return c->fresh ? 0 : -ENOMEM;
}

static void chunk_drop_room(struct chunk *c)
{
	if (c->fresh != c->few)
		kfree(c->fresh);
}

static struct exmap_iov chunk_entry(const struct chunk *c)
{
	struct exmap_iov entry = { };

	entry.page = (c->addr - READ_ONCE(c->ctx->area_start)) >> PAGE_SHIFT;
	entry.len = c->pages;
	return entry;
}

static int chunk_alloc(struct chunk *c)
{
	struct exmap_iov entry;
	int err;

	err = exmap_op_begin(c->ctx, c->iface, false);
	if (err)
		return err;
	entry = chunk_entry(c);
	err = exmap_alloc(c->ctx, c->iface, &entry, 1, c->fresh, false);
	exmap_op_end(c->iface);
	return err;
}

static int chunk_free(struct chunk *c)
{
	struct exmap_iov entry;
	int err;

	err = exmap_op_begin(c->ctx, c->iface, false);
	if (err)
		return err;
	entry = chunk_entry(c);
	err = exmap_free(c->ctx, c->iface, &entry, 1);
	exmap_op_end(c->iface);
	return err;
}

/* Lets go of the frames that chunk_alloc() mapped. */
static void chunk_keep(struct chunk *c)
{
	unsigned long i;

	for (i = 0; i < c->pages; i++) {
		if (!c->fresh[i])
			continue;
		put_page(pfn_to_page(c->fresh[i]));
		c->fresh[i] = 0;
	}
}

/* Frees the pages from @from on that chunk_alloc() mapped, and keeps the others. */
static void chunk_undo(struct chunk *c, unsigned long from)
{
	/* If the area is gone, so are its pages. */
	if (!exmap_op_begin(c->ctx, c->iface, false)) {
		exmap_free_fresh(c->ctx, c->iface,
				 c->addr + (from << PAGE_SHIFT),
				 c->fresh + from, c->pages - from);
		exmap_op_end(c->iface);
	}
	chunk_keep(c);
}

/* File I/O on user addresses; returns bytes or an error. */
static ssize_t chunk_io(struct chunk *c, bool write)
{
	struct file *backing = c->ctx->backing;
	size_t want = c->pages << PAGE_SHIFT, done = 0;
	struct iov_iter iter;
	ssize_t ret = 0;
	loff_t pos;

	pos = c->addr - READ_ONCE(c->ctx->area_start);
	iov_iter_ubuf(&iter, write ? ITER_SOURCE : ITER_DEST,
		      (void __user *)c->addr, want);
	while (done < want) {
		if (write)
			ret = exmap_iter_write(backing, &iter, &pos);
		else
			ret = vfs_iter_read(backing, &iter, &pos, 0);
		if (ret <= 0)
			break;
		done += ret;
	}
	return ret < 0 ? ret : done;
}

/* The end of the file: what the last page lacks is zeros. */
static int chunk_clear_tail(struct chunk *c, size_t done)
{
	size_t tail = -done & ~PAGE_MASK;

	if (!tail)
		return 0;
	return clear_user((void __user *)(c->addr + done), tail) ? -EFAULT : 0;
}

static ssize_t chunk_read(struct chunk *c)
{
	ssize_t done;
	int err;

	err = chunk_alloc(c);
	if (err) {
		chunk_undo(c, 0);
		return err;
	}
	atomic64_inc(&c->ctx->read_calls);
	done = chunk_io(c, false);
	if (done >= 0) {
		err = chunk_clear_tail(c, done);
		if (err)
			done = err;
	}
	if (done < 0) {
		atomic64_inc(&c->ctx->fail_io);
		chunk_undo(c, 0);
		return done;
	}
	atomic64_add(DIV_ROUND_UP(done, PAGE_SIZE), &c->ctx->read_pages);
	if (done < c->pages << PAGE_SHIFT)
		chunk_undo(c, DIV_ROUND_UP(done, PAGE_SIZE));
	else
		chunk_keep(c);
	return done;
}

static ssize_t chunk_write(struct chunk *c)
{
	ssize_t done;

	atomic64_inc(&c->ctx->write_calls);
	done = chunk_io(c, true);
	if (done < 0)
		atomic64_inc(&c->ctx->fail_io);
	else
		atomic64_add(done >> PAGE_SHIFT, &c->ctx->write_pages);
	return done;
}

static ssize_t chunk_do(struct chunk *c, unsigned int opcode)
{
	int err;

	switch (opcode) {
	case EXMAP_OP_READ:
		return chunk_read(c);
	case EXMAP_OP_WRITE:
		return chunk_write(c);
	case EXMAP_OP_ALLOC:
		err = chunk_alloc(c);
		if (err)
			chunk_undo(c, 0);
		else
			chunk_keep(c);
		break;
	default:
		err = chunk_free(c);
	}
	return err ?: c->pages << PAGE_SHIFT;
}

static int range_check(struct exmap *ctx, unsigned int index,
		       unsigned int opcode)
{
	if (!exmap_ready(ctx))
		return -ENXIO;
	if (current->mm != ctx->mm)
		return -EPERM;
	if (!exmap_interface_at(ctx, index) || opcode > EXMAP_OP_WRITE)
		return -EINVAL;
	if (opcode != EXMAP_OP_READ && opcode != EXMAP_OP_WRITE)
		return 0;
	if (!ctx->backing)
		return -EBADF;
	if (opcode == EXMAP_OP_READ)
		return 0;
	if (!(ctx->backing->f_mode & FMODE_WRITE))
		return -EBADF;
	/* Every write would go to its end, and not to the page's place. */
	return READ_ONCE(ctx->backing->f_flags) & O_APPEND ? -EINVAL : 0;
}

static bool range_in_area(struct exmap *ctx, unsigned long addr,
			  unsigned long len)
{
	unsigned long start = READ_ONCE(ctx->area_start);
	unsigned long size = READ_ONCE(ctx->area_pages) << PAGE_SHIFT;

	return addr >= start && len <= size && addr - start <= size - len;
}

static ssize_t range_in_chunks(struct chunk *c, unsigned int opcode,
			       unsigned long addr, unsigned long len)
{
	ssize_t ret, done = 0;

	ret = chunk_make_room(c, len >> PAGE_SHIFT);
	if (ret)
		return ret;
	while (done < len) {
		c->addr = addr + done;
		c->pages = min_t(unsigned long, (len - done) >> PAGE_SHIFT,
				 EXMAP_READ_CHUNK);
		ret = chunk_do(c, opcode);
		if (ret > 0)
			done += ret;
		if (ret != c->pages << PAGE_SHIFT)
			break;
	}
	chunk_drop_room(c);
	return ret < 0 && !done ? ret : done;
}

/*
 * What can be done without waiting for anything: an ALLOC that finds all it
 * needs. FREE flushes, and the kernel's flush may wait for notifiers.
 */
static ssize_t range_at_once(struct chunk *c, unsigned int opcode,
			     unsigned long addr, unsigned long len)
{
	int err;

	if (opcode != EXMAP_OP_ALLOC || len > EXMAP_READ_CHUNK << PAGE_SHIFT)
		return -EAGAIN;
	err = exmap_op_begin(c->ctx, c->iface, true);
	if (err)
		return err;
	err = exmap_alloc_at_once(c->ctx, c->iface, addr, len >> PAGE_SHIFT);
	exmap_op_end(c->iface);
	return err ?: len;
}

/**
 * exmap_do_range() - do one operation on a range of addresses
 * @ctx: the exmap
 * @index: number of an interface
 * @opcode: EXMAP_OP_*
 * @addr: first address, a page's
 * @len: bytes, whole pages
 * @nonblock: do not wait for anything: -EAGAIN instead, nothing done
 *
 * Return: bytes done, which are fewer than @len if something failed after the
 *         first EXMAP_READ_CHUNK pages or the file ended; or an error.
 */
ssize_t exmap_do_range(struct exmap *ctx, unsigned int index,
		       unsigned int opcode, unsigned long addr,
		       unsigned long len, bool nonblock)
{
	struct chunk c = { .ctx = ctx };
	ssize_t ret;

	ret = range_check(ctx, index, opcode);
	if (!ret && !READ_ONCE(ctx->area_pages))
		ret = -ENXIO;
	if (!ret && (((addr | len) & ~PAGE_MASK) ||
		     !range_in_area(ctx, addr, len))) {
		atomic64_inc(&ctx->fail_input);
		ret = -EINVAL;
	}
	if (ret || !len)
		return ret;
	c.iface = exmap_interface_at(ctx, index);
	return nonblock ? range_at_once(&c, opcode, addr, len) :
			  range_in_chunks(&c, opcode, addr, len);
}

static unsigned int offset_interface(u64 pos)
{
	return (pos & 0xff) | (pos >> 16 & 0xffff) << 8;
}

static ssize_t do_iter(struct kiocb *iocb, struct iov_iter *iter, bool write)
{
	struct exmap *ctx = exmap_of(iocb->ki_filp);
	u64 pos = iocb->ki_pos;
	unsigned int opcode = pos >> 8 & 0xff;
	ssize_t ret = 0, done = 0;
	unsigned long addr;
	size_t len;

	if (pos >> 32 || !user_backed_iter(iter))
		return -EINVAL;
	if (write ? opcode != EXMAP_OP_WRITE : opcode == EXMAP_OP_WRITE)
		return -EINVAL;
	if (iocb->ki_flags & IOCB_NOWAIT)
		return -EAGAIN;
	while (iov_iter_count(iter)) {
		exmap_iter_segment(iter, &addr, &len);
		ret = exmap_do_range(ctx, offset_interface(pos), opcode, addr,
				     len, false);
		if (ret < 0)
			break;
		done += ret;
		iov_iter_advance(iter, ret);
		if (ret < len)
			break;
	}
	return done ?: ret;
}

/**
 * exmap_read_iter() - READ, ALLOC or FREE on the caller's buffers
 * @iocb: the position says what, EXMAP_OP_OFFSET()
 * @iter: addresses in the page area
 */
ssize_t exmap_read_iter(struct kiocb *iocb, struct iov_iter *iter)
{
	return do_iter(iocb, iter, false);
}

/**
 * exmap_write_iter() - WRITE the caller's buffers
 * @iocb: the position says how, EXMAP_OP_OFFSET()
 * @iter: addresses in the page area
 */
ssize_t exmap_write_iter(struct kiocb *iocb, struct iov_iter *iter)
{
	return do_iter(iocb, iter, true);
}

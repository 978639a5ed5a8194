// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: READ and WRITE, by pread, preadv, pwrite and pwritev on the descriptor.
 *
 * READ allocates the pages of a range, then reads them from the file given at
 * setup, at the same distance from its start as the page has from the start of
 * the area. The I/O goes to the user addresses, outside the interface's lock:
 * it pins the pages like anybody's direct I/O.
 */
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "exmap.h"

/* A range of pages, no more than EXMAP_READ_CHUNK. */
struct chunk {
	struct exmap *ctx;
	struct exmap_interface *iface;
	unsigned long addr;
	unsigned long pages;
	bool nonblock;
	DECLARE_BITMAP(fresh, EXMAP_READ_CHUNK);
};

static struct exmap_iov chunk_entry(const struct chunk *c, unsigned long first,
				    unsigned long nr)
{
	struct exmap_iov entry = { };

	entry.page = ((c->addr - READ_ONCE(c->ctx->area_start)) >> PAGE_SHIFT) +
		     first;
	entry.len = nr;
	return entry;
}

static int chunk_alloc(struct chunk *c)
{
	struct exmap_iov entry;
	int err;

	bitmap_zero(c->fresh, EXMAP_READ_CHUNK);
	err = exmap_op_begin(c->ctx, c->iface, c->nonblock);
	if (err)
		return err;
	entry = chunk_entry(c, 0, c->pages);
	err = exmap_alloc(c->ctx, c->iface, &entry, 1, c->fresh, false);
	exmap_op_end(c->iface);
	return err;
}

static int chunk_free(struct chunk *c)
{
	struct exmap_iov entry;
	int err;

	err = exmap_op_begin(c->ctx, c->iface, c->nonblock);
	if (err)
		return err;
	entry = chunk_entry(c, 0, c->pages);
	err = exmap_free(c->ctx, c->iface, &entry, 1);
	exmap_op_end(c->iface);
	return err;
}

/* Frees the pages from @from on that chunk_alloc() mapped. */
static void chunk_undo(struct chunk *c, unsigned long from)
{
	struct exmap_iov entry;
	unsigned long i;

	/* If the area is gone, so are its pages. */
	if (exmap_op_begin(c->ctx, c->iface, false))
		return;
	for_each_set_bit_from(from, c->fresh, c->pages) {
		i = find_next_zero_bit(c->fresh, c->pages, from);
		entry = chunk_entry(c, from, i - from);
		exmap_free(c->ctx, c->iface, &entry, 1);
		from = i;
	}
	exmap_op_end(c->iface);
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
	if (index >= ctx->nr_interfaces || opcode > EXMAP_OP_WRITE)
		return -EINVAL;
	if (opcode != EXMAP_OP_READ && opcode != EXMAP_OP_WRITE)
		return 0;
	if (!ctx->backing)
		return -EBADF;
	if (opcode == EXMAP_OP_WRITE && !(ctx->backing->f_mode & FMODE_WRITE))
		return -EBADF;
	return 0;
}

static bool range_in_area(struct exmap *ctx, unsigned long addr,
			  unsigned long len)
{
	unsigned long start = READ_ONCE(ctx->area_start);
	unsigned long size = READ_ONCE(ctx->area_pages) << PAGE_SHIFT;

	return addr >= start && len <= size && addr - start <= size - len;
}

/**
 * exmap_do_range() - do one operation on a range of addresses
 * @ctx: the exmap
 * @index: number of an interface
 * @opcode: EXMAP_OP_*
 * @addr: first address, a page's
 * @len: bytes, whole pages
 * @nonblock: do not wait: -EAGAIN instead
 *
 * Return: bytes done, which are fewer than @len if something failed after the
 *         first EXMAP_READ_CHUNK pages or the file ended; or an error.
 */
ssize_t exmap_do_range(struct exmap *ctx, unsigned int index,
		       unsigned int opcode, unsigned long addr,
		       unsigned long len, bool nonblock)
{
	struct chunk c = { .ctx = ctx, .nonblock = nonblock };
	ssize_t ret, done = 0;

	ret = range_check(ctx, index, opcode);
	if (!ret && !READ_ONCE(ctx->area_pages))
		ret = -ENXIO;
	if (!ret && (((addr | len) & ~PAGE_MASK) ||
		     !range_in_area(ctx, addr, len))) {
		atomic64_inc(&ctx->fail_input);
		ret = -EINVAL;
	}
	if (!ret && nonblock &&
	    (opcode == EXMAP_OP_READ || opcode == EXMAP_OP_WRITE))
		ret = -EAGAIN;
	if (ret)
		return ret;
	c.iface = &ctx->interfaces[index];
	while (done < len) {
		c.addr = addr + done;
		c.pages = min_t(unsigned long, (len - done) >> PAGE_SHIFT,
				EXMAP_READ_CHUNK);
		ret = chunk_do(&c, opcode);
		if (ret < 0)
			return done ?: ret;
		done += ret;
		if (ret != c.pages << PAGE_SHIFT)
			break;
		/* The first wait is over: it may have been the last. */
		c.nonblock = false;
	}
	return done;
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

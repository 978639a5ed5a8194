// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registers pages of its own with the caller's ring as one kernel buffer, as
 * exmap could its frames. For the measurement of run.sh, Linux 7.3.
 *
 * uring_cmd: cmd_op = pages | index of the buffer << 24.
 */
#include <linux/bvec.h>
#include <linux/fs.h>
#include <linux/io_uring/cmd.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/uio.h>

#define ENTRIES_MAX	262144U
/* More entries than pages: only their number matters here. */
#define PAGES		2048U

static struct bio_vec *entries;

static void buffer_release(void *priv)
{
	module_put(THIS_MODULE);
}

static int buffer_register(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	u32 op = READ_ONCE(cmd->cmd_op);
	unsigned int nr = op & 0xffffff;
	int err;

	if (!nr || nr > ENTRIES_MAX)
		return -EINVAL;
	__module_get(THIS_MODULE);
	err = io_buffer_register_bvec(cmd, entries, nr, buffer_release, NULL,
				      1 << ITER_DEST | 1 << ITER_SOURCE,
				      op >> 24, issue_flags);
	if (err)
		module_put(THIS_MODULE);
	return err;
}

static int buffer_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	io_uring_cmd_done(cmd, buffer_register(cmd, issue_flags), issue_flags);
	return -EIOCBQUEUED;
}

static const struct file_operations buffer_fops = {
	.owner = THIS_MODULE,
	.uring_cmd = buffer_uring_cmd,
};

static struct miscdevice buffer_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "kernel_buffer",
	.fops = &buffer_fops,
};

static void pages_free(void)
{
	unsigned int i;

	for (i = 0; i < PAGES && entries[i].bv_page; i++)
		__free_page(entries[i].bv_page);
	kvfree(entries);
}

static int __init buffer_init(void)
{
	struct page *page;
	unsigned int i;
	int err;

	entries = kvcalloc(ENTRIES_MAX, sizeof(*entries), GFP_KERNEL);
	if (!entries)
		return -ENOMEM;
	for (i = 0; i < ENTRIES_MAX; i++) {
		page = i < PAGES ? alloc_page(GFP_KERNEL) :
				   entries[i % PAGES].bv_page;
		if (!page) {
			pages_free();
			return -ENOMEM;
		}
		bvec_set_page(&entries[i], page, PAGE_SIZE, 0);
	}
	err = misc_register(&buffer_device);
	if (err)
		pages_free();
	return err;
}

static void __exit buffer_exit(void)
{
	misc_deregister(&buffer_device);
	pages_free();
}

module_init(buffer_init);
module_exit(buffer_exit);

MODULE_DESCRIPTION("Pages as a kernel buffer of io_uring, for a measurement");
MODULE_LICENSE("GPL");

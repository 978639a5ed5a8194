// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: explicit virtual memory for a process. The device and the module.
 */
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "exmap.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static int exmap_open(struct inode *inode, struct file *file)
{
	struct exmap_handle *handle;
	struct exmap *ctx;

	handle = kzalloc(sizeof(*handle), GFP_KERNEL_ACCOUNT);
	if (!handle)
		return -ENOMEM;
	ctx = exmap_create();
	if (IS_ERR(ctx)) {
		kfree(handle);
		return PTR_ERR(ctx);
	}
	handle->own = ctx;
	handle->ctx = ctx;
	file->private_data = handle;
	return 0;
}

static int exmap_release(struct inode *inode, struct file *file)
{
	struct exmap_handle *handle = file->private_data;

	if (handle->ctx != handle->own)
		exmap_put(handle->ctx);
	exmap_put(handle->own);
	kfree(handle);
	return 0;
}

static long ioctl_action(struct exmap *ctx, void __user *arg)
{
	struct exmap_action_params __user *from = arg;
	struct exmap_action_params args;

	/* What copy_from_user() does, without its calls: this is hot. */
	if (!user_access_begin(from, sizeof(*from)))
		return -EFAULT;
	unsafe_get_user(args.interface, &from->interface, fault);
	unsafe_get_user(args.iov_len, &from->iov_len, fault);
	unsafe_get_user(args.opcode, &from->opcode, fault);
	unsafe_get_user(args.flags, &from->flags, fault);
	user_access_end();
	return exmap_action(ctx, &args);
fault:
	user_access_end();
	return -EFAULT;
}

static long ioctl_setup(struct exmap *ctx, void __user *arg)
{
	struct exmap_ioctl_setup args;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	return exmap_setup(ctx, &args);
}

static long exmap_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct exmap *ctx = exmap_of(file);
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case EXMAP_IOCTL_ACTION:
		return ioctl_action(ctx, argp);
	case EXMAP_IOCTL_SETUP:
		return ioctl_setup(ctx, argp);
	case EXMAP_IOCTL_CLONE:
		return exmap_clone(file->private_data, arg);
	case EXMAP_IOCTL_STATS:
		return exmap_stats(ctx, argp);
	case EXMAP_IOCTL_QUERY:
		return exmap_query(argp);
	case EXMAP_IOCTL_RESIZE:
		return exmap_resize(ctx, argp);
	case EXMAP_IOCTL_STATS2:
		return exmap_stats2(ctx, argp);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations exmap_fops = {
	.owner = THIS_MODULE,
	.open = exmap_open,
	.release = exmap_release,
	.unlocked_ioctl = exmap_ioctl,
	.mmap = exmap_mmap,
	.get_unmapped_area = exmap_get_unmapped_area,
	.read_iter = exmap_read_iter,
	.write_iter = exmap_write_iter,
	.uring_cmd = exmap_uring_cmd,
	.uring_cmd_iopoll = exmap_uring_cmd_iopoll,
	.llseek = noop_llseek,
};

/**
 * exmap_is_exmap() - whether a file is one of this device
 * @file: any file
 */
bool exmap_is_exmap(struct file *file)
{
	return file->f_op == &exmap_fops;
}

static struct miscdevice exmap_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "exmap",
	.fops = &exmap_fops,
};

static int __init exmap_init(void)
{
	int err;

	/* Its page tables are not what they seem, see pagetable.h. */
	if (boot_cpu_has(X86_FEATURE_XENPV))
		return -ENODEV;
	err = exmap_mapping_init();
	if (err)
		return err;
	err = exmap_anchor_init();
	if (err)
		goto err_mapping;
	err = exmap_zero_page_init();
	if (err)
		goto err_anchor;
	err = misc_register(&exmap_device);
	if (err)
		goto err_zero_page;
	return 0;

err_zero_page:
	exmap_zero_page_exit();
err_anchor:
	exmap_anchor_exit();
err_mapping:
	exmap_mapping_exit();
	return err;
}

static void __exit exmap_exit(void)
{
	misc_deregister(&exmap_device);
	/* Notifiers that are just being called, or freed, are of this module. */
	mmu_notifier_synchronize();
	exmap_zero_page_exit();
	exmap_anchor_exit();
	exmap_mapping_exit();
}

module_init(exmap_init);
module_exit(exmap_exit);

MODULE_DESCRIPTION("Explicit virtual memory for a process");
MODULE_AUTHOR("The vmcache authors");
MODULE_LICENSE("GPL");

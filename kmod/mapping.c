// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: the address space that all frames belong to.
 *
 * Nothing is ever looked up in it. Core mm uses page->mapping to decide whether
 * a page may be pinned without locks, whom to tell that it is dirty, and (after
 * a write-protect by soft-dirty tracking) which backing device to throttle. So
 * the address space has an inode, on a file system of its own.
 */
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/writeback.h>

#include "exmap.h"

#define EXMAP_FS_MAGIC	0x65786d70	/* "exmp" */

static struct vfsmount *mount;
static struct inode *inode;

static const struct address_space_operations exmap_aops = {
	.dirty_folio = noop_dirty_folio,
};

static int exmap_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, EXMAP_FS_MAGIC) ? 0 : -ENOMEM;
}

/* Without an owner: our own mount would keep the module from being unloaded. */
static struct file_system_type exmap_fs = {
	.name = "exmap",
	.init_fs_context = exmap_init_fs_context,
	.kill_sb = kill_anon_super,
};

/**
 * exmap_mapping() - the address space of all frames
 */
struct address_space *exmap_mapping(void)
{
	return inode->i_mapping;
}

/**
 * exmap_mapping_init() - make it
 *
 * Return: 0 or an error.
 */
int exmap_mapping_init(void)
{
	mount = kern_mount(&exmap_fs);
	if (IS_ERR(mount))
		return PTR_ERR(mount);
	inode = alloc_anon_inode(mount->mnt_sb);
	if (IS_ERR(inode)) {
		kern_unmount(mount);
		return PTR_ERR(inode);
	}
	inode->i_mapping->a_ops = &exmap_aops;
	return 0;
}

/**
 * exmap_mapping_exit() - remove it; no frame is left
 */
void exmap_mapping_exit(void)
{
	iput(inode);
	kern_unmount(mount);
}

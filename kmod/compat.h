/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Differences between the kernels that this module builds for: 6.1, 6.12, 7.3.
 */
#ifndef EXMAP_COMPAT_H
#define EXMAP_COMPAT_H

#ifndef CONFIG_X86_64
#error "exmap knows the page tables and TLBs of x86-64 only"
#endif

#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/uio.h>
#include <linux/version.h>
#include <linux/vmstat.h>
#include <asm/tlbflush.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
#include <linux/io_uring/cmd.h>
#else
#include <linux/io_uring.h>
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags &= ~flags;
}
#endif

/*
 * Clears the special entries of a range and flushes. 7.1 renamed it, and made
 * it accept VM_MIXEDMAP areas.
 */
static inline void exmap_zap_special(struct vm_area_struct *vma,
				     unsigned long addr, unsigned long size)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 1, 0)
	zap_special_vma_range(vma, addr, size);
#else
	zap_vma_ptes(vma, addr, size);
#endif
}

/*
 * add_mm_counter() needs a trace function that is not exported; the counter
 * itself became a percpu_counter in 6.2.
 */
static inline void exmap_add_rss(struct mm_struct *mm, long nr)
{
	if (!nr)
		return;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	percpu_counter_add(&mm->rss_stat[MM_FILEPAGES], nr);
#else
	atomic_long_add(nr, &mm->rss_stat.count[MM_FILEPAGES]);
#endif
}

/* The lock of the page table in page @table. */
static inline spinlock_t *exmap_table_lock(struct mm_struct *mm,
					   struct page *table)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	if (IS_ENABLED(CONFIG_SPLIT_PTE_PTLOCKS))
		return ptlock_ptr(page_ptdesc(table));
#else
	if (USE_SPLIT_PTE_PTLOCKS)
		return ptlock_ptr(table);
#endif
	return &mm->page_table_lock;
}

/*
 * Raises the generation that a CPU compares with its own when it loads the mm
 * or leaves lazy mode. A full barrier. (inc_mm_tlb_gen(), hidden from modules.)
 */
static inline void exmap_inc_tlb_gen(struct mm_struct *mm)
{
	atomic64_inc_return(&mm->context.tlb_gen);
}

/* An mm with a global ASID (INVLPGB, from 6.15) is not flushed by tlb_gen. */
static inline bool exmap_has_global_asid(struct mm_struct *mm)
{
#ifdef CONFIG_BROADCAST_TLB_FLUSH
	/* As mm_global_asid() does, which is hidden from modules, too. */
	return smp_load_acquire(&mm->context.global_asid);
#else
	return false;
#endif
}

/* Whether a device walks the mm's page tables, and caches what it finds. */
static inline bool exmap_has_pasid(struct mm_struct *mm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	return mm_valid_pasid(mm);
#elif defined(CONFIG_IOMMU_SVA)
	return pasid_valid(READ_ONCE(mm->pasid));
#else
	return false;
#endif
}

/* Fills @pages from its start; returns the number of pages in it. */
static inline unsigned long exmap_alloc_bulk(gfp_t gfp, unsigned long nr,
					     struct page **pages)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	return alloc_pages_bulk_node(gfp, numa_mem_id(), nr, pages);
#else
	return alloc_pages_bulk_array_node(gfp, numa_mem_id(), nr, pages);
#endif
}

static inline unsigned long
exmap_default_unmapped_area(struct file *file, unsigned long addr,
			    unsigned long len, unsigned long pgoff,
			    unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	return mm_get_unmapped_area(file, addr, len, pgoff, flags);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
	return mm_get_unmapped_area(current->mm, file, addr, len, pgoff, flags);
#else
	return current->mm->get_unmapped_area(file, addr, len, pgoff, flags);
#endif
}

/* The first segment of an iterator over user memory. */
static inline void exmap_iter_segment(struct iov_iter *iter,
				      unsigned long *addr, size_t *len)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	*addr = (unsigned long)iter_iov_addr(iter);
	*len = iter_iov_len(iter);
#else
	if (iter_is_ubuf(iter)) {
		*addr = (unsigned long)iter->ubuf + iter->iov_offset;
		*len = iov_iter_count(iter);
	} else {
		struct iovec iov = iov_iter_iovec(iter);

		*addr = (unsigned long)iov.iov_base;
		*len = iov.iov_len;
	}
#endif
}

/*
 * From 6.8 on, vfs_iter_write() itself guards against a freeze of the file
 * system.
 */
static inline ssize_t exmap_iter_write(struct file *file, struct iov_iter *iter,
				       loff_t *pos)
{
	ssize_t ret;

	if (LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0))
		file_start_write(file);
	ret = vfs_iter_write(file, iter, pos, 0);
	if (LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0))
		file_end_write(file);
	return ret;
}

static inline const void *exmap_uring_payload(struct io_uring_cmd *cmd)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	return io_uring_sqe_cmd(cmd->sqe, struct iovec);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return io_uring_sqe_cmd(cmd->sqe);
#else
	return cmd->cmd;
#endif
}

static inline void exmap_uring_done(struct io_uring_cmd *cmd, int ret,
				    unsigned int issue_flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	io_uring_cmd_done(cmd, ret, issue_flags);
#else
	io_uring_cmd_done(cmd, ret, 0, issue_flags);
#endif
}

#endif /* EXMAP_COMPAT_H */

// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: one TLB flush for the whole mm, through the kernel's own code.
 *
 * flush_tlb_mm_range() is not exported, but zap_vma_ptes() (from 7.1:
 * zap_special_vma_range()) is. It clears special entries of a VM_PFNMAP area,
 * and then flushes the range from the first to the last entry that it has
 * cleared. For a range of more than tlb_single_page_flush_ceiling (33) pages,
 * x86 flushes everything. So each interface has a window in a VMA of the
 * module's own:
 *
 *   | table A      | nothing                  | table B      |
 *   |            x |  WINDOW_HOLE x 2 MiB     | x            |
 *                ^ first entry ... zapped ... last entry ^
 *
 * To flush, the operation puts special entries at both x and zaps the range
 * between them. The kernel walks over two entries and a few empty directory
 * slots, and itself takes care of lazy-TLB CPUs, PCIDs, PTI, paravirtual
 * flushes and INVLPGB. The ceiling can be raised in debugfs; it must stay below
 * WINDOW_PAGES.
 *
 * Only the operation that holds the interface uses its window. Unmapping the
 * window waits for the operation (notifier.c), so the VMA and the tables exist
 * for as long as it needs them. Entries are written under their table's lock,
 * as every walker of page tables expects.
 *
 * The entries map a page of the module's own, read-only. The zero page cannot
 * be used, because zapping has special cases for it.
 */
#include <linux/anon_inodes.h>
#include <linux/mman.h>
#include <linux/pgtable.h>

#include "exmap.h"
#include "trace.h"

#define WINDOW_HOLE	2
/* More pages than these are flushed by flushing everything, as x86 does. */
#define LOCAL_PAGES	33
#define WINDOW_STRIDE	((WINDOW_HOLE + 2) * PMD_SIZE)
#define WINDOW_FIRST	(PMD_SIZE - PAGE_SIZE)
#define WINDOW_LAST	((WINDOW_HOLE + 1) * PMD_SIZE)
#define WINDOW_SIZE	(WINDOW_LAST + PAGE_SIZE - WINDOW_FIRST)

static struct page *anchor;

static pte_t anchor_pte(void)
{
	return pte_mkspecial(pte_mkyoung(pfn_pte(page_to_pfn(anchor),
						 PAGE_READONLY)));
}

/*
 * The TLBs of this CPU. The current mm is loaded: the caller is its owner, or
 * a worker thread of the owner's ring.
 */
static void flush_this_cpu(struct exmap_interface *iface, unsigned int pages)
{
	unsigned int i;

	if (pages > LOCAL_PAGES) {
		native_write_cr3(__native_read_cr3());
		return;
	}
	for (i = 0; i < pages; i++)
		asm volatile("invlpg (%0)" : : "r" (iface->hand_addr[i]) : "memory");
}

/*
 * Flushes without the kernel's path if no other CPU has the mm loaded. The
 * kernel's path would do the same: flush_tlb_mm_range() raises the mm's TLB
 * generation, looks at the mask of CPUs, and then flushes only its own CPU. A
 * CPU that loads the mm later, or leaves lazy mode, compares generations and
 * flushes itself. The increment is the full barrier that pairs with
 * switch_mm(): a CPU that is not in the mask yet sees the cleared entries.
 *
 * This CPU's own generation stays behind, so it makes one more full flush when
 * it next loads the mm.
 * Three cases need the kernel's path. With page-table isolation, the user's
 * half has TLB entries that only the kernel's path knows. An mm with a global
 * ASID does not use generations. With a PASID, a device may cache translations,
 * and only the kernel's path tells the IOMMU. (A device that comes after the
 * check finds the cleared entries.)
 */
static bool flush_local(struct exmap *ctx, struct exmap_interface *iface,
			unsigned int pages)
{
	struct mm_struct *mm = ctx->mm;
	unsigned int cpu;
	bool alone;

	if (!exmap_may_flush_local())
		return false;
	cpu = get_cpu();
	exmap_inc_tlb_gen(mm);
	alone = cpumask_equal(mm_cpumask(mm), cpumask_of(cpu)) &&
		current->active_mm == mm && !exmap_has_global_asid(mm) &&
		!exmap_has_pasid(mm);
	if (alone)
		flush_this_cpu(iface, pages);
	put_cpu();
	return alone;
}

static void window_set(struct mm_struct *mm, struct exmap_window *window,
		       unsigned int end, unsigned long addr)
{
	spin_lock(window->ptl[end]);
	set_pte_at(mm, addr, window->pte[end], anchor_pte());
	spin_unlock(window->ptl[end]);
}

/**
 * exmap_flush() - flush all CPUs' TLBs of the owner's mm
 * @ctx: the exmap
 * @iface: the interface, between exmap_op_begin() and exmap_op_end()
 * @pages: how many pages of its hand_addr have changed, or EXMAP_FLUSH_ALL
 *
 * What was cleared before is unreachable afterwards. A full barrier.
 *
 * Context: may sleep.
 */
void exmap_flush(struct exmap *ctx, struct exmap_interface *iface,
		 unsigned int pages)
{
#ifndef EXMAP_PLANT_NO_FLUSH
	struct exmap_window *window = &iface->window;
	struct mm_struct *mm = ctx->mm;

	if (flush_local(ctx, iface, pages)) {
		iface->counters.flushes_local++;
		goto done;
	}
	window_set(mm, window, 0, window->start);
	window_set(mm, window, 1, window->start + WINDOW_SIZE - PAGE_SIZE);
	exmap_zap_special(ctx->window_vma, window->start, WINDOW_SIZE);
	/* Entries that are still there: nothing was flushed. Cannot be. */
	WARN_ON_ONCE(!pte_none(ptep_get(window->pte[0])) ||
		     !pte_none(ptep_get(window->pte[1])));
done:
#endif
	iface->counters.flushes++;
	trace_exmap_flush(iface->index);
}

static vm_fault_t window_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGSEGV;
}

static const struct vm_operations_struct window_vm_ops = {
	.may_split = exmap_vma_refuse_split,
	.mremap = exmap_vma_refuse_move,
	.mprotect = exmap_vma_refuse_protect,
	.fault = window_fault,
};

static int window_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct exmap *ctx = file->private_data;

	if (!ctx)
		return -ENODEV;
	vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP |
			  VM_DONTCOPY);
	/* Nobody ever reads or writes it, not even by force. */
	vm_flags_clear(vma, VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	vma->vm_ops = &window_vm_ops;
	/* The notifier must know the range before anyone can unmap it. */
	ctx->window_vma = vma;
	WRITE_ONCE(ctx->window_start, vma->vm_start);
	WRITE_ONCE(ctx->window_end, vma->vm_end);
	return 0;
}

/* mremap() asks here where to move an area: nowhere. */
static unsigned long window_get_unmapped_area(struct file *file,
					      unsigned long addr,
					      unsigned long len,
					      unsigned long pgoff,
					      unsigned long flags)
{
	struct exmap *ctx = file->private_data;

	if (!ctx || READ_ONCE(ctx->window_start))
		return -EBUSY;
	return exmap_default_unmapped_area(file, addr, len, pgoff, flags);
}

static const struct file_operations window_fops = {
	.owner = THIS_MODULE,
	.mmap = window_mmap,
	.get_unmapped_area = window_get_unmapped_area,
};

static int window_take_pte(pte_t *pte, unsigned long addr, void *data)
{
	*(pte_t **)data = pte;
	return 0;
}

static int window_arm(struct exmap *ctx, struct exmap_window *window,
		      unsigned long base)
{
	unsigned int end;
	int err;

	window->start = base + WINDOW_FIRST;
	err = apply_to_page_range(ctx->mm, base + WINDOW_FIRST, PAGE_SIZE,
				  window_take_pte, &window->pte[0]);
	if (!err)
		err = apply_to_page_range(ctx->mm, base + WINDOW_LAST, PAGE_SIZE,
					  window_take_pte, &window->pte[1]);
	for (end = 0; end < 2 && !err; end++)
		window->ptl[end] = exmap_table_lock(ctx->mm,
						    virt_to_page(window->pte[end]));
	return err;
}

static int windows_arm(struct exmap *ctx)
{
	unsigned long base = ALIGN(ctx->window_start, PMD_SIZE);
	unsigned int i;
	int err = 0;

	mmap_read_lock(ctx->mm);
	if (find_vma(ctx->mm, ctx->window_start) != ctx->window_vma ||
	    READ_ONCE(ctx->window_lost))
		err = -ESTALE;
	for (i = 0; i < ctx->nr_interfaces && !err; i++) {
		err = window_arm(ctx, &ctx->interfaces[i].window,
				 base + i * WINDOW_STRIDE);
		if (fatal_signal_pending(current))
			err = -EINTR;
	}
	mmap_read_unlock(ctx->mm);
	return err;
}

/**
 * exmap_windows_create() - map the windows of all interfaces
 * @ctx: the exmap, during setup by its owner
 *
 * Return: 0 or an error.
 */
int exmap_windows_create(struct exmap *ctx)
{
	unsigned long len = ctx->nr_interfaces * WINDOW_STRIDE + PMD_SIZE;
	unsigned long addr;
	struct file *file;
	int err;

	ctx->window_start = 0;
	ctx->window_lost = false;
	file = anon_inode_getfile("[exmap-window]", &window_fops, ctx, O_RDWR);
	if (IS_ERR(file))
		return PTR_ERR(file);
	addr = vm_mmap(file, 0, len, PROT_NONE, MAP_SHARED, 0);
	/* The VMA may outlive the exmap; from here on it does not know it. */
	file->private_data = NULL;
	fput(file);
	if (IS_ERR_VALUE(addr))
		return addr;
	err = windows_arm(ctx);
	if (err)
		exmap_windows_destroy(ctx);
	return err;
}

/**
 * exmap_windows_destroy() - unmap the windows
 * @ctx: the exmap; no operation runs
 *
 * Called by another process than the owner, it leaves the (empty) VMA alone.
 */
void exmap_windows_destroy(struct exmap *ctx)
{
	if (!ctx->window_start || READ_ONCE(ctx->window_lost))
		return;
	if (current->mm == ctx->mm)
		vm_munmap(ctx->window_start,
			  ctx->window_end - ctx->window_start);
}

/**
 * exmap_anchor_init() - make the page that windows map
 *
 * Return: 0 or -ENOMEM.
 */
int exmap_anchor_init(void)
{
	anchor = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return anchor ? 0 : -ENOMEM;
}

/**
 * exmap_anchor_exit() - free the page
 */
void exmap_anchor_exit(void)
{
	__free_page(anchor);
}

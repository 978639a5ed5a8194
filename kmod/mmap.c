// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: the page area and the interface pages as VMAs, and faults on them.
 *
 * The area is VM_MIXEDMAP with ordinary, reference-counted pages, so madvise,
 * exit and get_user_pages() treat it as they treat any driver's pages. It
 * cannot be split, moved, grown, mprotected or inherited:
 *   - may_split refuses partial munmap, mprotect, madvise that sets flags;
 *   - mremap asks get_unmapped_area for the new place, which refuses while the
 *     area is mapped (and the mremap operation refuses after that);
 *   - VM_DONTEXPAND, VM_DONTCOPY; madvise(DOFORK) clears the latter before 6.13
 *     or so, so the child's VMA is marked to be wiped when it is opened.
 */
#include <linux/mman.h>
#include <linux/pgtable.h>

#include "exmap.h"
#include "trace.h"

static struct page *zero_page;

/**
 * exmap_vma_refuse_split() - may_split of mappings that stay as they are
 * @vma: the mapping
 * @addr: where it would be split
 */
int exmap_vma_refuse_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

/**
 * exmap_vma_refuse_move() - mremap of mappings that stay as they are
 * @vma: the mapping
 */
int exmap_vma_refuse_move(struct vm_area_struct *vma)
{
	return -EINVAL;
}

/**
 * exmap_vma_refuse_protect() - mprotect of mappings that stay as they are
 * @vma: the mapping
 * @start: first address
 * @end: the end
 * @flags: what it would become
 */
int exmap_vma_refuse_protect(struct vm_area_struct *vma, unsigned long start,
			     unsigned long end, unsigned long flags)
{
	return -EINVAL;
}

/**
 * exmap_vma_open() - open of the area, interface pages and the view
 * @vma: the mapping
 *
 * Fork, and nothing else, opens a VMA of ours again: before it copies pages.
 */
void exmap_vma_open(struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_WIPEONFORK);
}

static bool area_is(struct exmap *ctx, struct vm_area_struct *vma)
{
	return vma->vm_mm == ctx->mm &&
	       vma->vm_start == READ_ONCE(ctx->area_start);
}

static void area_close(struct vm_area_struct *vma)
{
	struct exmap *ctx = vma->vm_private_data;

	if (!area_is(ctx, vma))
		return;
	/*
	 * All entries are gone, and the notifiers know: nobody maps a frame any
	 * more. Before another area can be mapped, see frames.c.
	 */
	exmap_pool_release(ctx);
	WRITE_ONCE(ctx->area_pages, 0);
	/* The area can be mapped again; pairs with cmpxchg in area_mmap(). */
	smp_store_release(&ctx->area_state, EXMAP_AREA_NONE);
}

static int map_zero_page(pte_t *pte, unsigned long addr, void *data)
{
	struct mm_struct *mm = data;

	/* Somebody was faster, an ALLOC perhaps. */
	if (pte_present(ptep_get(pte)))
		return 0;
	set_pte_at(mm, addr, pte,
		   pte_mkspecial(pte_mkyoung(pfn_pte(page_to_pfn(zero_page),
						     PAGE_READONLY))));
	return 0;
}

static vm_fault_t area_deny(struct vm_fault *vmf, bool write)
{
	struct exmap *ctx = vmf->vma->vm_private_data;

	atomic64_inc(&ctx->fault_denied);
	trace_exmap_fault(vmf->pgoff, write, true);
	return VM_FAULT_SIGSEGV;
}

static vm_fault_t area_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct exmap *ctx = vma->vm_private_data;
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	int err;

	if (write || !area_is(ctx, vma) ||
	    !(READ_ONCE(ctx->flags) & EXMAP_SETUP_READ_FAULT_ZERO))
		return area_deny(vmf, write);
	err = apply_to_page_range(ctx->mm, vmf->address & PAGE_MASK, PAGE_SIZE,
				  map_zero_page, ctx->mm);
	if (err == -ENOMEM)
		return VM_FAULT_OOM;
	atomic64_inc(&ctx->fault_zero);
	trace_exmap_fault(vmf->pgoff, false, false);
	return VM_FAULT_NOPAGE;
}

/* A write to the page of zeros. */
static vm_fault_t area_pfn_mkwrite(struct vm_fault *vmf)
{
	return area_deny(vmf, true);
}

static const struct vm_operations_struct area_vm_ops = {
	.open = exmap_vma_open,
	.close = area_close,
	.may_split = exmap_vma_refuse_split,
	.mremap = exmap_vma_refuse_move,
	.mprotect = exmap_vma_refuse_protect,
	.fault = area_fault,
};

/*
 * With a page of zeros. Not for all: core mm takes pfn_mkwrite for a wish to
 * track dirty pages, and then refuses long-term pins (registered buffers).
 */
static const struct vm_operations_struct area_zero_vm_ops = {
	.open = exmap_vma_open,
	.close = area_close,
	.may_split = exmap_vma_refuse_split,
	.mremap = exmap_vma_refuse_move,
	.mprotect = exmap_vma_refuse_protect,
	.fault = area_fault,
	.pfn_mkwrite = area_pfn_mkwrite,
};

static const struct vm_operations_struct interface_vm_ops = {
	.open = exmap_vma_open,
	.may_split = exmap_vma_refuse_split,
	.mremap = exmap_vma_refuse_move,
};

static bool area_uses_zero(struct exmap *ctx)
{
	return READ_ONCE(ctx->flags) & EXMAP_SETUP_READ_FAULT_ZERO;
}

static int area_mmap(struct exmap *ctx, struct vm_area_struct *vma)
{
	pte_t pte;

	if (!(vma->vm_flags & VM_READ))
		return -EINVAL;
	if (cmpxchg(&ctx->area_state, EXMAP_AREA_NONE, EXMAP_AREA_CLAIMED) !=
	    EXMAP_AREA_NONE)
		return -EBUSY;
	/* Fully ordered cmpxchg: pairs with exmap_clone(). */
	if (READ_ONCE(ctx->state) == EXMAP_IS_CLONE) {
		WRITE_ONCE(ctx->area_state, EXMAP_AREA_NONE);
		return -EBUSY;
	}
	vm_flags_set(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTCOPY |
			  VM_DONTDUMP | VM_NOHUGEPAGE);
	/* Entries are born young and dirty: no CPU ever writes to them. */
	pte = pte_mkyoung(pfn_pte(0, vm_get_page_prot(vma->vm_flags)));
	if (vma->vm_flags & VM_WRITE)
		pte = pte_mkdirty(pte);
	ctx->area_pte = pte_val(pte);
	ctx->area_mapping++;
	WRITE_ONCE(ctx->area_start, vma->vm_start);
	WRITE_ONCE(ctx->area_pages, vma_pages(vma));
	vma->vm_private_data = ctx;
	vma->vm_ops = area_uses_zero(ctx) ? &area_zero_vm_ops : &area_vm_ops;
	return 0;
}

static int interface_mmap(struct exmap *ctx, struct vm_area_struct *vma)
{
	struct exmap_interface *iface;
	unsigned long index;

	if (!exmap_ready(ctx))
		return -ENXIO;
	index = vma->vm_pgoff - (EXMAP_OFF_INTERFACE_BASE >> PAGE_SHIFT);
	if (index >= EXMAP_INTERFACES_MAX || vma_pages(vma) != 1)
		return -EINVAL;
	iface = exmap_interface_at(ctx, index);
	if (!iface)
		return -EINVAL;
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTCOPY | VM_DONTDUMP);
	vma->vm_ops = &interface_vm_ops;
	return vm_insert_page(vma, vma->vm_start,
			      virt_to_page(iface->user));
}

/**
 * exmap_mmap() - map the page area, an interface page or the view
 * @file: the exmap
 * @vma: what to map; its offset says which
 */
int exmap_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct exmap *ctx = exmap_of(file);

	if (current->mm != ctx->mm)
		return -EPERM;
	if (!(vma->vm_flags & VM_SHARED) || vma->vm_flags & VM_EXEC)
		return -EINVAL;
	vm_flags_clear(vma, VM_MAYEXEC);
	if (vma->vm_pgoff == EXMAP_OFF_EXMAP >> PAGE_SHIFT)
		return area_mmap(ctx, vma);
	if (vma->vm_pgoff == EXMAP_OFF_VIEW >> PAGE_SHIFT)
		return exmap_view_mmap(ctx, vma);
	if (vma->vm_pgoff >= EXMAP_OFF_INTERFACE_BASE >> PAGE_SHIFT &&
	    vma->vm_pgoff < EXMAP_OFF_INTERFACE_MAX >> PAGE_SHIFT)
		return interface_mmap(ctx, vma);
	return -EINVAL;
}

/**
 * exmap_get_unmapped_area() - choose the address of a mapping
 * @file: the exmap
 * @addr: hint
 * @len: bytes
 * @pgoff: offset in pages
 * @flags: of mmap
 *
 * Also asked by mremap() before it moves a mapping, which is refused.
 */
unsigned long exmap_get_unmapped_area(struct file *file, unsigned long addr,
				      unsigned long len, unsigned long pgoff,
				      unsigned long flags)
{
	struct exmap *ctx = exmap_of(file);

	if (pgoff == EXMAP_OFF_EXMAP >> PAGE_SHIFT &&
	    READ_ONCE(ctx->area_state) != EXMAP_AREA_NONE)
		return -EBUSY;
	if (pgoff == EXMAP_OFF_VIEW >> PAGE_SHIFT &&
	    READ_ONCE(ctx->view_state) != EXMAP_VIEW_NONE)
		return -EBUSY;
	return exmap_default_unmapped_area(file, addr, len, pgoff, flags);
}

/* The area's VMA, if it is there; mmap_lock is held. */
static struct vm_area_struct *area_vma(struct exmap *ctx)
{
	struct vm_area_struct *vma;

	if (READ_ONCE(ctx->area_state) == EXMAP_AREA_NONE)
		return NULL;
	vma = find_vma(ctx->mm, ctx->area_start);
	if (!vma || vma->vm_private_data != ctx || !area_is(ctx, vma))
		return NULL;
	return vma;
}

/**
 * exmap_area_activate() - allow operations on a freshly mapped area
 * @ctx: the exmap, called by its owner
 *
 * mmap() has chosen the area's address before it is sure to succeed; only once
 * the VMA can be looked up may its page tables be touched.
 *
 * Return: 0, or -ENXIO if there is no area.
 */
int exmap_area_activate(struct exmap *ctx)
{
	int err = -ENXIO;

	if (mmap_read_lock_killable(ctx->mm))
		return -EINTR;
	if (area_vma(ctx)) {
		cmpxchg(&ctx->area_state, EXMAP_AREA_CLAIMED, EXMAP_AREA_LIVE);
		if (READ_ONCE(ctx->area_state) == EXMAP_AREA_LIVE)
			err = 0;
	}
	mmap_read_unlock(ctx->mm);
	return err;
}

/**
 * exmap_area_set_ops() - let an area that was mapped before setup know of it
 * @ctx: the exmap, its flags set
 */
void exmap_area_set_ops(struct exmap *ctx)
{
	struct vm_area_struct *vma;

	if (!area_uses_zero(ctx))
		return;
	mmap_write_lock(ctx->mm);
	vma = area_vma(ctx);
	if (vma) {
		vm_flags_set(vma, 0); /* locks the VMA where VMAs have locks */
		vma->vm_ops = &area_zero_vm_ops;
	}
	mmap_write_unlock(ctx->mm);
}

/**
 * exmap_zero_page_init() - make the page of zeros
 *
 * Return: 0 or -ENOMEM.
 */
int exmap_zero_page_init(void)
{
	zero_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return zero_page ? 0 : -ENOMEM;
}

/**
 * exmap_zero_page_exit() - free it; no area is mapped any more
 */
void exmap_zero_page_exit(void)
{
	__free_page(zero_page);
}

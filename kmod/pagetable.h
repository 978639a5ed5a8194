/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exmap: walking the page tables of the page area.
 *
 * Only an operation between exmap_op_begin() and exmap_op_end() may walk. The
 * upper tables are freed only by munmap and exit, which wait for the operation
 * in the notifier. The last-level tables can also be freed by madvise (7.x
 * reclaims empty ones), under the page-table lock and after a grace period. So
 * the walk is an RCU reader (a region without preemption is one), and checks
 * the directory entry again once it has the lock.
 *
 * Entries are read and written with the native_ functions. They would be wrong
 * only under Xen PV, where the module does not load.
 */
#ifndef EXMAP_PAGETABLE_H
#define EXMAP_PAGETABLE_H

#include <linux/pgtable.h>
#include <linux/rcupdate.h>

#include "exmap.h"

#define EXMAP_NO_TABLE	(~0UL)

/* Begins an RCU reader; cheaper than rcu_read_lock() where that is a call. */
static __always_inline void exmap_walk_begin(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		rcu_read_lock();
	else
		preempt_disable();
}

static __always_inline void exmap_walk_end(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		rcu_read_unlock();
	else
		preempt_enable();
}

/**
 * struct exmap_cursor - where a walk stands
 * @mm: the owner's address space
 * @iface: the interface, which remembers directories
 * @pmd_nr: addr >> PMD_SHIFT of the locked table, or EXMAP_NO_TABLE
 * @table: the locked table
 * @ptl: its lock
 */
struct exmap_cursor {
	struct mm_struct *mm;
	struct exmap_interface *iface;
	unsigned long pmd_nr;
	pte_t *table;
	spinlock_t *ptl; /* of @table */
};

static inline void exmap_cursor_init(struct exmap_cursor *cur,
				     struct exmap *ctx,
				     struct exmap_interface *iface)
{
	cur->mm = ctx->mm;
	cur->iface = iface;
	cur->pmd_nr = EXMAP_NO_TABLE;
	/* Directories live as long as the mapping of the area. */
	if (unlikely(iface->walk_mapping != ctx->area_mapping)) {
		iface->walk_mapping = ctx->area_mapping;
		memset(iface->walk, 0xff, sizeof(iface->walk));
	}
}

static inline void exmap_cursor_unlock(struct exmap_cursor *cur)
{
	if (cur->pmd_nr == EXMAP_NO_TABLE)
		return;
	__acquire(cur->ptl); /* for sparse, which cannot follow the condition */
	spin_unlock(cur->ptl);
	cur->pmd_nr = EXMAP_NO_TABLE;
}

/* Finds and remembers the directory of @addr. False if there is none. */
static noinline_for_stack bool
exmap_cursor_directory(struct exmap_cursor *cur, struct exmap_directory *dir,
		       unsigned long addr)
{
	pgd_t *pgd;
	p4d_t *p4d;
	pud_t *pud;

	pgd = pgd_offset(cur->mm, addr);
	if (pgd_none(READ_ONCE(*pgd)))
		return false;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(READ_ONCE(*p4d)))
		return false;
	pud = pud_offset(p4d, addr);
	if (pud_none(READ_ONCE(*pud)))
		return false;
	dir->pmds = pmd_offset(pud, addr & PUD_MASK);
	dir->pud_nr = addr >> PUD_SHIFT;
	return true;
}

/* The slow part of exmap_cursor_lock(): moves to another table. */
static inline pte_t *exmap_cursor_move(struct exmap_cursor *cur,
				       unsigned long addr)
{
	unsigned long pud_nr = addr >> PUD_SHIFT;
	struct exmap_directory *dir;
	phys_addr_t table;
	pmdval_t *pmd, val;

	exmap_cursor_unlock(cur);
	dir = &cur->iface->walk[pud_nr % EXMAP_DIRECTORIES];
	if (unlikely(dir->pud_nr != pud_nr &&
		     !exmap_cursor_directory(cur, dir, addr)))
		return NULL;
	pmd = &dir->pmds[pmd_index(addr)].pmd;
	for (;;) {
		val = READ_ONCE(*pmd);
		if (unlikely((val & (_PAGE_PRESENT | _PAGE_PSE)) !=
			     _PAGE_PRESENT))
			return NULL;
		table = val & PTE_PFN_MASK;
		cur->ptl = exmap_table_lock(cur->mm,
					    pfn_to_page(PHYS_PFN(table)));
		spin_lock(cur->ptl);
		if (likely(val == READ_ONCE(*pmd)))
			break;
		spin_unlock(cur->ptl);
	}
	__release(cur->ptl); /* for sparse */
	cur->table = __va(table);
	cur->pmd_nr = addr >> PMD_SHIFT;
	return cur->table + pte_index(addr);
}

/**
 * exmap_cursor_lock() - find an address's entry, and lock its table
 * @cur: the walk
 * @addr: an address of the area
 *
 * The lock is kept until the walk moves on to another table or
 * exmap_cursor_unlock().
 *
 * Context: between exmap_walk_begin() and exmap_walk_end().
 * Return: the entry, or NULL if it has no table; then nothing is locked.
 */
static __always_inline pte_t *exmap_cursor_lock(struct exmap_cursor *cur,
						unsigned long addr)
{
	if (likely(cur->pmd_nr == addr >> PMD_SHIFT))
		return cur->table + pte_index(addr);
	return exmap_cursor_move(cur, addr);
}

static __always_inline pteval_t exmap_entry_read(const pte_t *pte)
{
	return READ_ONCE(pte->pte);
}

/* Whether an entry maps a frame: present, and not the page of zeros. */
static __always_inline bool exmap_entry_is_frame(pteval_t val)
{
	return (val & (_PAGE_PRESENT | _PAGE_SPECIAL)) == _PAGE_PRESENT;
}

static __always_inline unsigned long exmap_entry_pfn(pteval_t val)
{
	return PHYS_PFN(val & PTE_PFN_MASK);
}

static __always_inline void exmap_entry_write(struct mm_struct *mm,
					      unsigned long addr, pte_t *pte,
					      pteval_t val)
{
	if (IS_ENABLED(CONFIG_PAGE_TABLE_CHECK))
		set_pte_at(mm, addr, pte, native_make_pte(val));
	else
		native_set_pte(pte, native_make_pte(val));
}

/**
 * exmap_table_make() - make the page tables of an address
 * @mm: the owner's address space
 * @addr: an address of the area
 *
 * Context: may sleep. Where a walk is allowed, but not inside one.
 * Return: 0 or -ENOMEM.
 */
static inline int exmap_table_make(struct mm_struct *mm, unsigned long addr)
{
	/* Without a function it only makes the tables. */
	return apply_to_page_range(mm, addr, PAGE_SIZE, NULL, NULL);
}

#endif /* EXMAP_PAGETABLE_H */

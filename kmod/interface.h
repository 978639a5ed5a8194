/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exmap: an interface, one thread's way into the page area.
 */
#ifndef EXMAP_INTERFACE_H
#define EXMAP_INTERFACE_H

#include <linux/mm.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include <uapi/linux/exmap.h>

#include "pool.h"

struct exmap;

/* Directories (1 GiB each) that an interface remembers; a power of two. */
#define EXMAP_DIRECTORIES	16

/* In place of a number of pages: flush everything. */
#define EXMAP_FLUSH_ALL		(EXMAP_HAND_MAX + 1)

/**
 * struct exmap_window - where an interface's TLB flushes happen
 * @start: first address of the range to zap
 * @pte: the entries at both ends of it, in two page tables
 * @ptl: the locks of these tables; the same lock twice if locks are not split
 *
 * See shootdown.c.
 */
struct exmap_window {
	unsigned long start;
	pte_t *pte[2];
	spinlock_t *ptl[2]; /* of the tables */
};

/**
 * struct exmap_directory - a page directory that a walk has found
 * @pud_nr: addr >> PUD_SHIFT of what it maps
 * @pmds: its entries
 */
struct exmap_directory {
	unsigned long pud_nr;
	pmd_t *pmds;
};

/**
 * struct exmap_counters - what one interface counts
 *
 * Written by the operation on the interface, read at any time.
 */
struct exmap_counters {
	u64 alloc_calls;
	u64 alloc_pages;
	u64 alloc_present;
	u64 free_calls;
	u64 free_pages;
	u64 free_absent;
	u64 refills;
	u64 spills;
	u64 steals;
	u64 stolen_frames;
	u64 flushes;
	u64 flushes_local;
	u64 pinned;
	u64 fail_nomem;
	u64 fail_input;
};

/**
 * struct exmap_interface - one thread's way into the page area
 * @busy: an operation is between exmap_op_begin() and exmap_op_end(). It works
 *        as a lock that lockdep does not know, see notifier.c
 * @idle: woken when it ends
 * @index: its number
 * @user: the page shared with user space
 * @window: where its flushes happen
 * @walk_mapping: value of exmap.area_mapping for which @walk is valid
 * @walk: page directories found lately, by their number
 * @free_lock: protects @free_list and @count
 * @count: frames in @free_list
 * @free_list: frame numbers, ready to be mapped
 * @hand: frames unmapped by the running FREE and not flushed yet
 * @hand_addr: where they were mapped
 * @counters: see there
 */
struct exmap_interface {
	int busy;
	wait_queue_head_t idle;
	unsigned int index;
	struct exmap_user_interface *user;
	struct exmap_window window;
	unsigned long walk_mapping;
	struct exmap_directory walk[EXMAP_DIRECTORIES];

	/* A cache line of its own, because other interfaces look here. */
	spinlock_t free_lock ____cacheline_aligned_in_smp;
	unsigned int count;
	unsigned long *free_list;
	unsigned long *hand;
	unsigned long *hand_addr;

	struct exmap_counters counters;
} ____cacheline_aligned_in_smp;

/* interface.c */
int exmap_interfaces_create(struct exmap *ctx, unsigned int nr);
void exmap_interfaces_destroy(struct exmap *ctx);
struct exmap_interface *exmap_interface_at(struct exmap *ctx,
					   unsigned int index);
int exmap_op_begin(struct exmap *ctx, struct exmap_interface *iface,
		   bool nonblock);
void exmap_op_end(struct exmap_interface *iface);
int exmap_action(struct exmap *ctx, const struct exmap_action_params *args);

/* alloc.c, free.c */
int exmap_alloc(struct exmap *ctx, struct exmap_interface *iface,
		struct exmap_iov *iov, unsigned int nr, unsigned long *fresh,
		bool report);
int exmap_alloc_at_once(struct exmap *ctx, struct exmap_interface *iface,
			unsigned long addr, unsigned int pages);
int exmap_free(struct exmap *ctx, struct exmap_interface *iface,
	       struct exmap_iov *iov, unsigned int nr);
void exmap_free_fresh(struct exmap *ctx, struct exmap_interface *iface,
		      unsigned long addr, unsigned long *fresh,
		      unsigned int nr);

/* shootdown.c */
int exmap_windows_create(struct exmap *ctx);
void exmap_windows_destroy(struct exmap *ctx);
void exmap_flush(struct exmap *ctx, struct exmap_interface *iface,
		 unsigned int pages);
int exmap_anchor_init(void);
void exmap_anchor_exit(void);

#endif /* EXMAP_INTERFACE_H */

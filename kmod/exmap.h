/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exmap: what the module's files share.
 *
 * A frame is owned by exactly one of
 *   - the stock of one interface (exmap_interface.stock),
 *   - the common stock (exmap_pool.stock),
 *   - one present entry of the page area,
 *   - the hands of one operation (exmap_interface.hand, or a local array).
 * A frame leaves an entry under the page-table lock, and reaches a stock only
 * after the TLBs of the whole mm have been flushed.
 *
 * References. A frame of the pool holds the pool's reference and, from the day
 * it enters the pool, the reference, the map count and the NR_FILE_MAPPED
 * count of one mapping, mapped or not: refcount 2, mapcount 1. The operations
 * therefore touch no struct page to map, and only read the reference count to
 * unmap. When core mm clears an entry (madvise, munmap, exit) it drops that
 * mapping's share as for any vm_insert_page() page: refcount 1, mapcount 0 is
 * a zapped frame, which exmap_pool_reclaim() finds and gives its share back.
 * The view (view.c) adds a second mapping's share to the frames it shows.
 * A frame that is freed with a higher count is pinned by somebody (direct I/O,
 * vmsplice, a registered buffer): it is left to him, see exmap_frame_replace().
 *
 * Locks, outermost first:
 *   exmap_interface.busy (one operation at a time), exmap.resize_lock (only
 *   tried by operations), mmap_lock (not by operations),
 *   exmap_pool.frames_lock (list of all frames, the view's numbers; memory is
 *   never asked for under it, because the notifier takes it), then the spinlocks
 *   exmap_interface.stock_lock, exmap_pool.lock, the page-table lock.
 *
 * Interplay with core mm: notifier.c.
 */
#ifndef EXMAP_H
#define EXMAP_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include <uapi/linux/exmap.h>

#include "compat.h"

/* Frames that move between an interface and the common stock at once. */
#define EXMAP_MAGAZINE		512
/* An interface keeps at most this many; with EXMAP_HAND_MAX more, it is full. */
#define EXMAP_STOCK_HIGH	1024
/* Pages that one flush covers. */
#define EXMAP_HAND_MAX		1024
#define EXMAP_STOCK_MAX		(EXMAP_STOCK_HIGH + EXMAP_HAND_MAX)
/* Frames that a starving interface takes from another one at once. */
#define EXMAP_STEAL_MAX		64
/* Pages that READ handles at once. */
#define EXMAP_READ_CHUNK	512
/* Directories (1 GiB each) that an interface remembers; a power of two. */
#define EXMAP_DIRECTORIES	16
#define EXMAP_INTERFACES_MAX	1024
/* Entries handled before an operation looks for signals and reschedules. */
#define EXMAP_BUDGET		512

/* struct exmap_iov as a number: len 1, page 0; and res 0, pages 1. */
#define EXMAP_ENTRY_ONE		BIT_ULL(64 - EXMAP_PAGE_LEN_BITS)
#define EXMAP_ENTRY_DONE_ONE	BIT_ULL(32)

/* Instead of a number of pages: more than are in hand_addr. */
#define EXMAP_FLUSH_ALL		(EXMAP_HAND_MAX + 1)

#define EXMAP_SETUP_FLAGS	EXMAP_SETUP_READ_FAULT_ZERO

/* A frame in the pool: see "References" above. */
#define EXMAP_FRAME_REFS	2
/* And one that the view shows. */
#define EXMAP_VIEW_REFS		3

/* Most frames of a view: EXMAP_FRAME_NONE is no number. */
#define EXMAP_VIEW_MAX		EXMAP_FRAME_NONE

/**
 * struct exmap_window - where an interface's TLB flushes happen
 * @start: first address of the range to zap
 * @pte: the entries at both ends of it, in two page tables
 *
 * See shootdown.c.
 */
struct exmap_window {
	unsigned long start;
	pte_t *pte[2];
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
 * @busy: an operation is between exmap_op_begin() and exmap_op_end(). A lock,
 *        but one that lockdep does not know, see notifier.c
 * @idle: woken when it ends
 * @index: its number
 * @user: the page shared with user space
 * @window: where its flushes happen
 * @walk_mapping: value of exmap.area_mapping for which @walk is valid
 * @walk: page directories found lately, by their number
 * @stock_lock: protects @stock and @count
 * @count: frames in @stock
 * @stock: frame numbers, ready to be mapped
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

	/* Its own line: thieves look here. */
	spinlock_t stock_lock ____cacheline_aligned_in_smp;
	unsigned int count;
	unsigned long *stock;
	unsigned long *hand;
	unsigned long *hand_addr;

	struct exmap_counters counters;
} ____cacheline_aligned_in_smp;

/**
 * struct exmap_pool - the frames of one exmap
 * @lock: protects @stock, @count and @capacity
 * @count: frames in the common stock
 * @capacity: room of the common stock; never less than @nr_frames
 * @stock: frame numbers
 * @moves: transfers between stocks so far; tells a starving operation that
 *         what it looked at has changed
 * @transit: transfers that are under way
 * @frames_lock: protects @frames, @nr_frames
 * @frames: all frames, linked by page->lru
 * @nr_frames: how many; read by exmap_pool_frames()
 * @target: how many there should be
 * @zaps: events in which core mm may have cleared entries
 * @zaps_seen: value of @zaps up to which all frames have been recovered
 * @zapped: frames recovered so far
 * @in_view: frames that have a number in the view
 * @left_in_view: frames that a shrink took out of the pool, which the view
 *                still shows; charged to RLIMIT_MEMLOCK until it is gone
 */
struct exmap_pool {
	spinlock_t lock; /* the common stock */
	unsigned long count;
	unsigned long capacity;
	unsigned long *stock;
	atomic_long_t moves;
	atomic_t transit;

	struct mutex frames_lock; /* the list of frames */
	struct list_head frames;
	unsigned long nr_frames;
	unsigned long target;
	atomic_long_t zaps;
	long zaps_seen;
	unsigned long zapped;
	unsigned long in_view;
	unsigned long left_in_view;
};

enum exmap_state {
	EXMAP_NEW,
	EXMAP_SETTING_UP,
	EXMAP_READY,
	EXMAP_IS_CLONE,		/* of another one: this one is never used */
};

enum exmap_area_state {
	EXMAP_AREA_NONE,
	EXMAP_AREA_CLAIMED,	/* mmap() has begun, perhaps not finished */
	EXMAP_AREA_LIVE,	/* operations may use its page tables */
	EXMAP_AREA_DYING,	/* being unmapped */
};

enum exmap_view_state {
	EXMAP_VIEW_NONE,
	EXMAP_VIEW_MAKING,	/* frames have numbers, but not all are mapped */
	EXMAP_VIEW_LIVE,
	EXMAP_VIEW_LOST,	/* mapped, but no frame has a number any more */
};

/**
 * struct exmap - one explicit virtual memory
 * @ref: open files that refer to it
 * @mm: the owner's address space, held by mmgrab()
 * @state: enum exmap_state
 * @flags: EXMAP_SETUP_* bits
 * @nr_interfaces: length of @interfaces
 * @interfaces: valid when @state is EXMAP_READY
 * @backing: file for READ and WRITE, or NULL
 * @area_state: enum exmap_area_state
 * @area_start: first address of the page area
 * @area_pages: its length
 * @area_mapping: counts how often it was mapped
 * @area_pte: an entry of the area, without its frame number
 * @window_vma: the VMA of all flush windows
 * @window_start: its first address
 * @window_end: its end
 * @window_lost: it was unmapped
 * @view_state: enum exmap_view_state; only munmap of the view makes it NONE
 * @view_start: first address of the view
 * @view_end: its end
 * @notifier: tells us of unmapping and exit
 * @resize_lock: one setup or resize at a time
 * @pool: the frames
 * @fault_zero: counter
 * @fault_denied: counter
 * @read_calls: counter
 * @read_pages: counter
 * @write_calls: counter
 * @write_pages: counter
 * @fail_input: counter, of calls that reached no interface
 * @fail_io: counter
 */
struct exmap {
	struct kref ref;
	struct mm_struct *mm;
	int state;
	u64 flags;
	unsigned int nr_interfaces;
	struct exmap_interface *interfaces;
	struct file *backing;

	int area_state;
	unsigned long area_start;
	unsigned long area_pages;
	unsigned long area_mapping;
	pteval_t area_pte;

	struct vm_area_struct *window_vma;
	unsigned long window_start;
	unsigned long window_end;
	bool window_lost;

	int view_state;
	unsigned long view_start;
	unsigned long view_end;

	struct mmu_notifier notifier;

	struct mutex resize_lock; /* setup, resize */
	struct exmap_pool pool;

	atomic64_t fault_zero;
	atomic64_t fault_denied;
	atomic64_t read_calls;
	atomic64_t read_pages;
	atomic64_t write_calls;
	atomic64_t write_pages;
	atomic64_t fail_input;
	atomic64_t fail_io;
};

/**
 * struct exmap_handle - one open file
 * @own: the exmap made at open
 * @ctx: the exmap it works on: @own, or another one after CLONE
 */
struct exmap_handle {
	struct exmap *own;
	struct exmap *ctx;
};

/**
 * exmap_of() - the exmap that an open file works on
 * @file: a file of this module
 */
static inline struct exmap *exmap_of(struct file *file)
{
	struct exmap_handle *handle = file->private_data;

	/* Pairs with the release in exmap_clone(). */
	return smp_load_acquire(&handle->ctx);
}

static inline bool exmap_ready(struct exmap *ctx)
{
	/* Pairs with the release at the end of exmap_setup(). */
	return smp_load_acquire(&ctx->state) == EXMAP_READY;
}

/* A frame's number in the view plus one; 0: it has none. See view.c. */
static inline unsigned long exmap_frame_tag(struct page *page)
{
	return READ_ONCE(page->private);
}

/* For EXMAP_ACTION_REPORT_FRAME; no number is EXMAP_FRAME_NONE. */
static inline u32 exmap_frame_number(unsigned long pfn)
{
	return (exmap_frame_tag(pfn_to_page(pfn)) - 1) & EXMAP_FRAME_NONE;
}

/*
 * Whether somebody beside the pool, the page area and the view uses a frame
 * that is mapped or in hand. Long-term pins, which count in steps of
 * GUP_PIN_COUNTING_BIAS, do not keep a frame of the view from its next page:
 * to allow just that is what the view is for.
 */
static inline bool exmap_frame_is_pinned(unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);
	int refs = page_ref_count(page);

	if (likely(refs == EXMAP_FRAME_REFS))
		return false;
	return !exmap_frame_tag(page) ||
	       refs % GUP_PIN_COUNTING_BIAS != EXMAP_VIEW_REFS;
}

/* main.c */
bool exmap_is_exmap(struct file *file);
unsigned long exmap_frames_max(void);
void exmap_count_frames(long n);
bool exmap_may_flush_local(void);

/* setup.c */
struct exmap *exmap_create(void);
void exmap_put(struct exmap *ctx);
int exmap_setup(struct exmap *ctx, const struct exmap_ioctl_setup *args);
int exmap_clone(struct exmap_handle *handle, int fd);

/* mmap.c */
int exmap_mmap(struct file *file, struct vm_area_struct *vma);
unsigned long exmap_get_unmapped_area(struct file *file, unsigned long addr,
				      unsigned long len, unsigned long pgoff,
				      unsigned long flags);
int exmap_area_activate(struct exmap *ctx);
void exmap_area_set_ops(struct exmap *ctx);
void exmap_vma_open(struct vm_area_struct *vma);
int exmap_vma_refuse_split(struct vm_area_struct *vma, unsigned long addr);
int exmap_vma_refuse_move(struct vm_area_struct *vma);
int exmap_vma_refuse_protect(struct vm_area_struct *vma, unsigned long start,
			     unsigned long end, unsigned long flags);
int exmap_zero_page_init(void);
void exmap_zero_page_exit(void);

/* interface.c */
int exmap_interfaces_create(struct exmap *ctx, unsigned int nr);
void exmap_interfaces_destroy(struct exmap *ctx);
int exmap_op_begin(struct exmap *ctx, struct exmap_interface *iface,
		   bool nonblock);
void exmap_op_end(struct exmap_interface *iface);
int exmap_action(struct exmap *ctx, const struct exmap_action_params *args);

/* alloc.c, free.c */
int exmap_alloc(struct exmap *ctx, struct exmap_interface *iface,
		struct exmap_iov *iov, unsigned int nr, unsigned long *fresh,
		bool report);
int exmap_free(struct exmap *ctx, struct exmap_interface *iface,
	       struct exmap_iov *iov, unsigned int nr);

/* frames.c */
void exmap_pool_init(struct exmap_pool *pool);
unsigned long exmap_pool_frames(struct exmap_pool *pool);
int exmap_pool_grow(struct exmap *ctx, unsigned long nr);
int exmap_pool_shrink(struct exmap *ctx, unsigned long nr);
void exmap_pool_destroy(struct exmap *ctx);
unsigned long exmap_pool_reclaim(struct exmap *ctx);
unsigned long exmap_frame_replace(struct exmap *ctx, unsigned long pfn);
bool exmap_pool_fill_up(struct exmap *ctx);

/* view.c */
int exmap_view_mmap(struct exmap *ctx, struct vm_area_struct *vma);
int exmap_view_lose(struct exmap *ctx, bool block);

/* stock.c */
int exmap_stock_refill(struct exmap *ctx, struct exmap_interface *iface);
void exmap_stock_put(struct exmap *ctx, struct exmap_interface *iface,
		     const unsigned long *pfns, unsigned int nr);
void exmap_common_put(struct exmap *ctx, const unsigned long *pfns,
		      unsigned int nr);
unsigned int exmap_stock_take_any(struct exmap *ctx, unsigned long *pfns,
				  unsigned int nr);

/* shootdown.c */
int exmap_windows_create(struct exmap *ctx);
void exmap_windows_destroy(struct exmap *ctx);
void exmap_flush(struct exmap *ctx, struct exmap_interface *iface,
		 unsigned int pages);
int exmap_anchor_init(void);
void exmap_anchor_exit(void);

/* notifier.c */
extern const struct mmu_notifier_ops exmap_notifier_ops;

/* mapping.c */
int exmap_mapping_init(void);
void exmap_mapping_exit(void);
struct address_space *exmap_mapping(void);

/* rw.c */
ssize_t exmap_read_iter(struct kiocb *iocb, struct iov_iter *iter);
ssize_t exmap_write_iter(struct kiocb *iocb, struct iov_iter *iter);
ssize_t exmap_do_range(struct exmap *ctx, unsigned int index,
		       unsigned int opcode, unsigned long addr,
		       unsigned long len, bool nonblock);

/* uring.c */
int exmap_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);
int exmap_uring_cmd_iopoll(struct io_uring_cmd *cmd, struct io_comp_batch *iob,
			   unsigned int poll_flags);

/* stats.c */
int exmap_stats(struct exmap *ctx, struct exmap_ioctl_stats __user *arg);
int exmap_stats2(struct exmap *ctx, struct exmap_stats2 __user *arg);
int exmap_query(struct exmap_query __user *arg);
int exmap_resize(struct exmap *ctx, struct exmap_resize __user *arg);

#endif /* EXMAP_H */

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exmap: what the module's files share.
 *
 * Locks, outermost first:
 *   exmap_interface.busy (one operation at a time), exmap.resize_lock (only
 *   tried by operations), mmap_lock (not by operations),
 *   exmap_pool.frames_lock (list of all frames, the view's numbers; nothing
 *   allocates under it, because the notifier takes it), then the spinlocks
 *   exmap_interface.free_lock, exmap_pool.lock, the page-table lock.
 *
 * Parts: params.h (parameters), pool.h (frames), interface.h (one thread's way
 * in). Interplay with core mm: notifier.c.
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
#include "interface.h"
#include "params.h"
#include "pool.h"

/* Pages that READ handles at once. */
#define EXMAP_READ_CHUNK	512
#define EXMAP_INTERFACES_MAX	1024
/* Entries handled before an operation checks for signals and reschedules. */
#define EXMAP_BUDGET		512
/* struct exmap_iov as a number: {len 1, page 0}, and {res 0, pages 1}. */
#define EXMAP_ENTRY_ONE		BIT_ULL(64 - EXMAP_PAGE_LEN_BITS)
#define EXMAP_ENTRY_DONE_ONE	BIT_ULL(32)

#define EXMAP_SETUP_FLAGS	EXMAP_SETUP_READ_FAULT_ZERO

/* Maximum number of frames of a view; EXMAP_FRAME_NONE is no frame's number. */
#define EXMAP_VIEW_MAX		EXMAP_FRAME_NONE

enum exmap_state {
	EXMAP_NEW,
	EXMAP_SETTING_UP,
	EXMAP_READY,
	EXMAP_IS_CLONE,		/* uses another exmap in its place */
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

/* main.c */
bool exmap_is_exmap(struct file *file);

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

/* view.c */
int exmap_view_mmap(struct exmap *ctx, struct vm_area_struct *vma);
int exmap_view_lose(struct exmap *ctx, bool block);

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

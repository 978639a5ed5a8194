/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * exmap: explicit virtual memory for a process.
 *
 * The calls, their errors and their guarantees are described in
 * docs/exmap-abi.md. The first part of this file is the published ABI of the
 * research module; sizes and numbers must never change. The second part are
 * this module's own calls: each takes a structure whose first field is its
 * size, so that it can grow.
 */
#ifndef _UAPI_LINUX_EXMAP_H
#define _UAPI_LINUX_EXMAP_H

#include <linux/ioctl.h>
#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/uio.h>
#else
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#endif

/* ------------------------- the published ABI ------------------------- */

/**
 * struct exmap_ioctl_setup - argument of EXMAP_IOCTL_SETUP
 * @fd: file or block device that READ and WRITE use, or -1 for none
 * @max_interfaces: number of interfaces, 1 .. exmap_query.interfaces_max
 * @buffer_size: number of 4 KiB frames, 1 .. exmap_query.frames_max
 * @flags: EXMAP_SETUP_* bits. With any other bit in it the whole field counts
 *         as 0, because published clients leave it undefined; the flags that
 *         setup took are told by both stats calls
 */
struct exmap_ioctl_setup {
	int      fd;
	int      max_interfaces;
	size_t   buffer_size;
	uint64_t flags;
};

/**
 * struct exmap_action_params - argument of EXMAP_IOCTL_ACTION
 * @interface: the interface whose page holds the entries
 * @iov_len: number of entries, 0 .. EXMAP_USER_INTERFACE_PAGES
 * @opcode: EXMAP_OP_ALLOC or EXMAP_OP_FREE
 * @flags: EXMAP_ACTION_* bits
 */
struct exmap_action_params {
	uint16_t interface;
	uint16_t iov_len;
	uint16_t opcode;
	uint64_t flags;
};

/**
 * struct exmap_ioctl_stats - argument of EXMAP_IOCTL_STATS, written by the call
 * @flags: EXMAP_STATE_* bits, and the EXMAP_SETUP_* bits given at setup
 * @buffer_size: frames the pool has now
 * @alloc_count: pages that are mapped now
 * @max_interfaces: number of interfaces
 */
struct exmap_ioctl_stats {
	uint64_t flags;
	uint64_t buffer_size;
	uint64_t alloc_count;
	uint32_t max_interfaces;
};

#define EXMAP_IOCTL_SETUP  _IOC(_IOC_WRITE, 'k', 1, sizeof(struct exmap_ioctl_setup))
#define EXMAP_IOCTL_ACTION _IOC(_IOC_WRITE, 'k', 2, sizeof(struct exmap_action_params))
/* The argument is the descriptor of the other exmap itself, not a pointer. */
#define EXMAP_IOCTL_CLONE  _IOC(_IOC_WRITE, 'k', 3, sizeof(int))
#define EXMAP_IOCTL_STATS  _IOC(_IOC_WRITE, 'k', 4, sizeof(struct exmap_ioctl_stats))

/* An entry holds 0 .. EXMAP_PAGE_MAX_PAGES - 1 pages. */
#define EXMAP_PAGE_LEN_BITS  12
#define EXMAP_PAGE_MAX_PAGES (1 << EXMAP_PAGE_LEN_BITS)

/**
 * struct exmap_iov - one entry of an interface page
 * @value: all 8 bytes
 * @page: in: first page, counted from the start of the page area
 * @len: in: number of pages
 * @res: out: 0 (with EXMAP_ACTION_REPORT_FRAME, the number of a frame), or the
 *       negative errno of this entry
 * @pages: out: pages this call changed (mapped by ALLOC, unmapped by FREE)
 */
struct exmap_iov {
	__extension__ union {
		uint64_t value;

		__extension__ struct {
			uint64_t page : 64 - EXMAP_PAGE_LEN_BITS;
			uint64_t len  : EXMAP_PAGE_LEN_BITS;
		};
		__extension__ struct {
			int32_t res;
			int16_t pages;
		};
	};
};

/* What an SQE's command area holds for IORING_OP_URING_CMD. */
struct exmap_uring_cmd {
	struct iovec iov;
};

#define EXMAP_USER_INTERFACE_PAGES 512

/* The page that an interface shares with the kernel. */
struct exmap_user_interface {
	__extension__ union {
		struct exmap_iov iov[EXMAP_USER_INTERFACE_PAGES];
	};
};

enum exmap_opcode {
	EXMAP_OP_READ  = 0,
	EXMAP_OP_ALLOC = 1,
	EXMAP_OP_FREE  = 2,
	EXMAP_OP_WRITE = 3,
};

/* Taken by the research module, which never implemented them: see setup. */
enum exmap_flags {
	EXMAP_ALLOC_PROBE     = 1,
	EXMAP_PAGEFAULT_ALLOC = 2,
};

#define EXMAP_OFF_EXMAP          0x0000
#define EXMAP_OFF_INTERFACE_BASE 0xe000000000000000UL
#define EXMAP_OFF_INTERFACE_MAX  0xf000000000000000UL
#define EXMAP_OFF_INTERFACE(n)   (EXMAP_OFF_INTERFACE_BASE | ((uint64_t)(n) << 12))

/* ---------------------- this module's extensions ---------------------- */

#define EXMAP_ABI_VERSION 2

/*
 * Offset of pread, preadv, pwrite and pwritev on the descriptor, and cmd_op of
 * a uring_cmd. For interfaces below 256 this is interface | opcode << 8.
 */
static inline uint32_t exmap_op_offset(uint32_t interface, uint32_t opcode)
{
	return (interface & 0xff) | (opcode & 0xff) << 8 |
	       (interface & 0xff00) << 8;
}

#define EXMAP_OP_OFFSET(interface, opcode) exmap_op_offset(interface, opcode)

/* Setup flag: a read of an unmapped page sees zeros instead of SIGSEGV. */
#define EXMAP_SETUP_READ_FAULT_ZERO (1ULL << 8)

/*
 * The view: frames at addresses that stay the same, for whoever must not meet
 * another frame where he saw one before: registered buffers of io_uring. Page n
 * of the mapping is frame n for as long as the mapping lives. One at a time.
 */
#define EXMAP_OFF_VIEW 0xf000000000000000UL

/*
 * Action flag, ALLOC only: @res of an entry that succeeds is the number, in the
 * view, of the frame that its first page has now, or EXMAP_FRAME_NONE if that
 * frame is not in the view (or the entry is empty).
 */
#define EXMAP_ACTION_REPORT_FRAME (1ULL << 8)
#define EXMAP_FRAME_NONE 0x7fffffff

/* State bits in the flags of both stats calls; not accepted by setup. */
#define EXMAP_STATE_READY       (1ULL << 32) /* setup has been done */
#define EXMAP_STATE_MAPPED      (1ULL << 33) /* the page area is mapped */
#define EXMAP_STATE_WINDOW_LOST (1ULL << 34) /* the flush window was unmapped: every action fails */
#define EXMAP_STATE_VIEW        (1ULL << 35) /* the view is mapped, and its numbers are reported */

/* Bits of exmap_query.features. */
#define EXMAP_FEATURE_READ            (1ULL << 0) /* READ by pread and preadv */
#define EXMAP_FEATURE_WRITE           (1ULL << 1) /* WRITE by pwrite and pwritev */
#define EXMAP_FEATURE_URING_CMD       (1ULL << 2)
#define EXMAP_FEATURE_CLONE           (1ULL << 3)
#define EXMAP_FEATURE_RESIZE          (1ULL << 4)
#define EXMAP_FEATURE_STATS2          (1ULL << 5)
#define EXMAP_FEATURE_READ_FAULT_ZERO (1ULL << 6)
#define EXMAP_FEATURE_URING_IOPOLL    (1ULL << 7) /* uring_cmd on a ring with IORING_SETUP_IOPOLL */
#define EXMAP_FEATURE_VIEW            (1ULL << 8) /* EXMAP_OFF_VIEW, EXMAP_ACTION_REPORT_FRAME */
#define EXMAP_FEATURE_PARKS           (1ULL << 9) /* shrinking parks frames, see resize */

/**
 * struct exmap_query - argument of EXMAP_IOCTL_QUERY
 * @size: in: sizeof of the caller's structure; out: bytes the kernel filled
 * @flags: must be 0
 * @abi_version: EXMAP_ABI_VERSION of the module
 * @page_size: bytes of a page and of a frame: 4096
 * @features: EXMAP_FEATURE_* bits
 * @setup_flags: the EXMAP_SETUP_* bits that setup accepts
 * @opcodes_ioctl: bit n set: opcode n can be given to EXMAP_IOCTL_ACTION
 * @opcodes_uring: bit n set: opcode n can be given to a uring_cmd
 * @interfaces_max: largest max_interfaces that setup accepts
 * @iov_max: largest iov_len
 * @entry_pages_max: largest len of one entry
 * @flush_batch_pages: pages that FREE unmaps with one TLB flush at most; a
 *                     larger batch takes one flush for each part of this size
 * @frames_max: largest buffer_size that setup accepts of any process
 *              (RLIMIT_MEMLOCK and the memory cgroup may allow fewer)
 * @area_bytes_max: largest page area
 *
 * May be called on any open exmap, before and after setup, by any process.
 */
struct exmap_query {
	__u32 size;
	__u32 flags;
	__u32 abi_version;
	__u32 page_size;
	__u64 features;
	__u64 setup_flags;
	__u32 opcodes_ioctl;
	__u32 opcodes_uring;
	__u32 interfaces_max;
	__u32 iov_max;
	__u32 entry_pages_max;
	__u32 flush_batch_pages;
	__u64 frames_max;
	__u64 area_bytes_max;
};

/**
 * struct exmap_resize - argument of EXMAP_IOCTL_RESIZE
 * @size: in: sizeof of the caller's structure; out: bytes the kernel filled
 * @flags: must be 0
 * @frames: in: frames the pool shall have; out: frames it has
 *
 * Growing adds zeroed frames; shrinking takes frames that are not mapped. While
 * the page area is mapped they are parked, not given back to the system (see
 * EXMAP_FEATURE_PARKS), and come back first when the pool grows.
 * All or nothing: on an error the pool has as many frames as before.
 */
struct exmap_resize {
	__u32 size;
	__u32 flags;
	__u64 frames;
};

/**
 * struct exmap_stats2 - argument of EXMAP_IOCTL_STATS2
 * @size: in: sizeof of the caller's structure; out: bytes the kernel filled
 * @flags: must be 0
 * @state: EXMAP_STATE_* and EXMAP_SETUP_* bits
 * @frames: frames of the pool
 * @frames_free: of these, in a stock, ready for ALLOC
 * @frames_mapped: of these, mapped in the page area
 * @frames_short: frames the pool lacks because no replacement could be had
 *                for a page that was freed while pinned; retried on need
 * @area_pages: pages of the page area, 0 if it is not mapped
 * @interfaces: number of interfaces
 * @reserved: 0
 * @alloc_calls: ALLOC batches
 * @alloc_pages: pages mapped
 * @alloc_present: pages that ALLOC found mapped already
 * @free_calls: FREE batches
 * @free_pages: pages unmapped
 * @free_absent: pages that FREE found not mapped
 * @read_calls: READ requests
 * @read_pages: pages read
 * @write_calls: WRITE requests
 * @write_pages: pages written
 * @refills: magazines an interface took from the common stock
 * @spills: magazines an interface gave to the common stock
 * @steals: times an interface took frames from another one's stock
 * @stolen_frames: frames taken that way
 * @flushes: mm-wide TLB flushes
 * @fault_zero: read faults answered with the page of zeros
 * @fault_denied: faults answered with SIGSEGV
 * @pinned: pages freed while pinned; their frames were left to the pin's owner
 * @zapped: frames that came back from madvise or munmap of the area
 * @fail_nomem: entries that failed with ENOMEM
 * @fail_input: calls and entries refused with EINVAL
 * @fail_io: READ and WRITE requests that failed
 * @flushes_local: of @flushes, those that concerned the calling CPU alone
 *                 and took the short way
 * @frames_in_view: of @frames, those that have a number in the view
 * @frames_parked: frames beside @frames that shrinking has taken out of the
 *                 pool, or that were replaced and are not pinned any more; the
 *                 first to come back when the pool needs some, and kept from
 *                 the system until the page area is unmapped
 * @frames_replaced: frames beside @frames and @frames_parked: freed while
 *                   pinned, replaced by others, and pinned still
 * @unpinned: times that a frame ceased to be one of @frames_replaced because
 *            nobody pins it any more
 *
 * Counters start at 0 at setup and never wrap in practice; they are summed
 * without stopping the interfaces, so a call that is under way may be seen
 * half counted.
 */
struct exmap_stats2 {
	__u32 size;
	__u32 flags;
	__u64 state;
	__u64 frames;
	__u64 frames_free;
	__u64 frames_mapped;
	__u64 frames_short;
	__u64 area_pages;
	__u32 interfaces;
	__u32 reserved;
	__u64 alloc_calls;
	__u64 alloc_pages;
	__u64 alloc_present;
	__u64 free_calls;
	__u64 free_pages;
	__u64 free_absent;
	__u64 read_calls;
	__u64 read_pages;
	__u64 write_calls;
	__u64 write_pages;
	__u64 refills;
	__u64 spills;
	__u64 steals;
	__u64 stolen_frames;
	__u64 flushes;
	__u64 fault_zero;
	__u64 fault_denied;
	__u64 pinned;
	__u64 zapped;
	__u64 fail_nomem;
	__u64 fail_input;
	__u64 fail_io;
	__u64 flushes_local;
	__u64 frames_in_view;
	__u64 frames_parked;
	__u64 frames_replaced;
	__u64 unpinned;
};

/* Without the size in the number: the structures may grow, the calls stay. */
#define EXMAP_IOCTL_QUERY  _IO('k', 0x10)
#define EXMAP_IOCTL_RESIZE _IO('k', 0x11)
#define EXMAP_IOCTL_STATS2 _IO('k', 0x12)

#endif /* _UAPI_LINUX_EXMAP_H */

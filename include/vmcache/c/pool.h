/* SPDX-License-Identifier: MIT */
/* Pools: open and close, options, statistics. Include <vmcache.h>. */
#ifndef VMCACHE_C_POOL_H
#define VMCACHE_C_POOL_H

#include "vmcache/c/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of a page, the unit of translation and of files. */
#define VMCACHE_PAGE_SIZE 4096
/* Page 0 is the library's, so this also means "no page". */
#define VMCACHE_NO_PAGE 0
/* Largest order of an extent: 2^8 pages, 1 MiB. */
#define VMCACHE_MAX_ORDER 8
/* Files get address space in multiples of this: 1 GiB. */
#define VMCACHE_FILE_RANGE_BYTES UINT64_C(1073741824)
/* Page ids that a database keeps for its user. */
#define VMCACHE_ROOTS 64

enum vmcache_log_level { VMCACHE_LOG_INFO = 0, VMCACHE_LOG_WARNING = 1, VMCACHE_LOG_ERROR = 2 };

/* `message` is one line, cut after 1023 bytes, valid during the call. Any thread that uses the pool
 * may call it, but no two at the same time. It must not call the library. */
typedef void (*vmcache_log_callback)(void *user, int level, const char *message);

enum vmcache_memory_kind {
  VMCACHE_MEMORY_AUTO = 0, /* exmap if /dev/exmap can be used, else anonymous memory */
  VMCACHE_MEMORY_ANONYMOUS = 1,
  VMCACHE_MEMORY_EXMAP = 2
};

enum vmcache_storage_kind {
  /* NVMe passthrough for an NVMe character device; else io_uring, or pread if that is refused */
  VMCACHE_STORAGE_AUTO = 0,
  VMCACHE_STORAGE_IO_URING = 1,
  VMCACHE_STORAGE_PREAD = 2,
  VMCACHE_STORAGE_NVME_PASSTHROUGH = 3
};

enum vmcache_pool_flags {
  VMCACHE_POOL_NO_CREATE = 1 << 0,     /* a file that is missing or empty is an error */
  VMCACHE_POOL_ALLOW_UNCLEAN = 1 << 1, /* open a database that was not closed cleanly */
  VMCACHE_POOL_NO_DIRECT_IO = 1 << 2,  /* no O_DIRECT: a second copy in the kernel's page cache */
  VMCACHE_POOL_NO_DEALLOCATE = 1 << 3, /* do not tell devices which page ids were freed */
  /* extents begin with a header of 24 bytes that carries LSN, page id and checksum; a property of
   * the database */
  VMCACHE_POOL_PAGE_HEADER = 1 << 4,
  VMCACHE_POOL_LOST_WRITE_CHECK = 1 << 5, /* remember each page's checksum: 4 bytes a page */
  /* open a database that was closed cleanly, to read it, beside others that do the same; what would
   * change it is VMCACHE_READ_ONLY, and nothing is ever written to it */
  VMCACHE_POOL_READ_ONLY = 1 << 6
};

/* Zero is the default of each member. vmcache/options.hpp has more on each. */
struct vmcache_pool_options {
  size_t size; /* sizeof(struct vmcache_pool_options) */
  /* A file, a block device or an NVMe character device, which becomes the pool's database. Null
   * and path_count 0: the pool has no database, only files, and needs files_bytes. */
  const char *path;
  /* Instead of path: 1 .. 64 files or devices of one kind over which the database is striped. */
  const char *const *paths;
  size_t path_count;
  uint64_t stripe_bytes;   /* a power of two, 4 KiB .. 1 GiB (as created, or 512 KiB) */
  uint64_t pool_bytes;     /* memory: 64 KiB .. capacity_bytes + files_bytes (1 GiB) */
  uint64_t capacity_bytes; /* largest size of the database: 128 KiB .. 64 TiB (1 TiB) */
  uint64_t files_bytes;    /* address space for files: n x VMCACHE_FILE_RANGE_BYTES (0) */
  uint32_t workers;        /* threads inside a miss at the same time: 1 .. 1021 (64) */
  uint32_t io_depth;       /* transfers in flight a thread: 1 .. 4096 (256) */
  uint32_t evict_batch;    /* extents evicted together: 1 .. 4096 (64) */
  uint32_t frame_wait_ms;  /* patience for a frame or a latch: 1 .. 3600000 (1000) */
  uint32_t memory;         /* enum vmcache_memory_kind */
  uint32_t storage;        /* enum vmcache_storage_kind */
  uint64_t flags;          /* enum vmcache_pool_flags; an unknown one is an error */
  vmcache_log_callback log; /* null: nothing is logged */
  void *log_user;           /* the callback's first argument */
};

struct vmcache_pool;

/* Opens the pool; creates its database if that is missing or empty. VMCACHE_INVALID_OPTION,
 * _NOT_A_DATABASE, _UNCLEAN_SHUTDOWN, _IN_USE, _IO, _OUT_OF_MEMORY, _UNSUPPORTED. A file that is
 * no database of this library is not touched. */
VMCACHE_API int vmcache_pool_open(const struct vmcache_pool_options *options,
                                  struct vmcache_pool **pool);

/* Zero is the default of each member. */
struct vmcache_paged_options {
  size_t size;             /* sizeof(struct vmcache_paged_options) */
  const char *path;        /* a regular file */
  uint64_t capacity_bytes; /* largest size while it is open: 128 KiB .. files_bytes (1 GiB) */
  uint64_t flags;          /* enum vmcache_pool_flags, but for _NO_DEALLOCATE */
};

/* Opens or creates a database file in the memory of `pool`, which needs files_bytes, beside others.
 * `file` is used like a pool: its page ids count from the begin of this file, and every call that
 * takes a pool works on its pages, but for vmcache_pool_resize() and vmcache_file_open()
 * (VMCACHE_INVALID_OPTION): those concern the memory. In storage it is what a pool makes of a file
 * of its own (PagedFile in vmcache/paged_file.hpp). Close and destroy it as a pool: the close waits
 * for frame_wait_ms and is VMCACHE_BUSY if a page of the file stays fixed or pinned. `pool` cannot
 * be destroyed before it. The errors of vmcache_pool_open(), and VMCACHE_DATABASE_FULL (larger than
 * capacity_bytes, or no range of files_bytes is left). */
VMCACHE_API int vmcache_pool_open_paged(struct vmcache_pool *pool,
                                        const struct vmcache_paged_options *options,
                                        struct vmcache_pool **file);

/* Writes back all that is dirty, flushes, and marks the database as cleanly closed.
 * VMCACHE_BUSY while a page is fixed or pinned. If it fails, the pool stays open, nothing is lost,
 * and the call may be made again. After a failed flush the next call writes nothing more and
 * succeeds, and the next open is VMCACHE_UNCLEAN_SHUTDOWN. */
VMCACHE_API int vmcache_pool_close(struct vmcache_pool *pool);

/* Closes the pool if that was not done, and frees the handle. VMCACHE_BUSY while a page is fixed or
 * pinned, or a handle made from the pool exists; nothing has then happened. Every other result is
 * that of the close: the handle is gone, and what could not be written is lost. */
VMCACHE_API int vmcache_pool_destroy(struct vmcache_pool *pool);

/* Writes back all pages of the database that were dirty when it was called, and flushes. Others may
 * go on working. VMCACHE_IO with the first page that failed; such pages stay dirty. A failed flush
 * is final: later calls that fix, allocate or write back fail with VMCACHE_IO. */
VMCACHE_API int vmcache_pool_checkpoint(struct vmcache_pool *pool);

/* Gives the pool more or less memory: 64 KiB .. capacity. VMCACHE_POOL_EXHAUSTED if it cannot
 * shrink that far within frame_wait_ms; it then keeps its size. */
VMCACHE_API int vmcache_pool_resize(struct vmcache_pool *pool, uint64_t pool_bytes);

/* The page id kept under `index` (0 .. VMCACHE_ROOTS - 1), or VMCACHE_NO_PAGE. Does not wait. */
VMCACHE_API int vmcache_pool_root(struct vmcache_pool *pool, unsigned index, uint64_t *page_id);

/* Keeps a page id under `index`. Durable with the next checkpoint or close. Does not wait.
 * VMCACHE_INVALID_PAGE: no such page. */
VMCACHE_API int vmcache_pool_set_root(struct vmcache_pool *pool, unsigned index, uint64_t page_id);

/* Counters since the open, and what the pool holds: PoolStats in vmcache/stats.hpp. */
struct vmcache_pool_stats {
  size_t size; /* sizeof(struct vmcache_pool_stats); the caller sets it */
  uint64_t misses, reads, read_pages, writes, written_pages;
  uint64_t read_errors, write_errors, retries, submissions, flushes;
  uint64_t evictions, evicted_pages, page_table_calls, page_table_pages;
  uint64_t frame_waits, latch_waits, empty_poll_ns, restarts, promotions;
  uint64_t allocated_pages, freed_pages;
  uint64_t pool_pages, free_frames, database_pages, capacity_pages, pins, open_files;
  /* below which half, 99 % and 99.9 % of the I/Os lie, in ns; 0 without I/O */
  uint64_t read_p50_ns, read_p99_ns, read_p999_ns, write_p50_ns, write_p99_ns, write_p999_ns;
};

/* Does not wait. `size` in the struct must be set before. */
VMCACHE_API int vmcache_pool_get_stats(struct vmcache_pool *pool,
                                       struct vmcache_pool_stats *stats);

/* Which memory and storage the pool uses, for messages. Valid until the handle is destroyed. Null,
 * with a message, for a null pool. */
VMCACHE_API const char *vmcache_pool_description(struct vmcache_pool *pool);

#ifdef __cplusplus
}
#endif
#endif

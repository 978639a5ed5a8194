/* SPDX-License-Identifier: MIT */
/* Files of the embedder's own format in a pool. Include <vmcache.h>. */
#ifndef VMCACHE_C_FILE_H
#define VMCACHE_C_FILE_H

#include "vmcache/c/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the pages of a file look like in storage, where that is not what they look like in memory:
 * checksums, encryption. Any thread may call the functions, several at once, with latches held.
 * They must not wait, must not use the library, and must not leave by longjmp() or an exception. */
struct vmcache_page_format {
  size_t size; /* sizeof(struct vmcache_page_format) */
  void *user;  /* the functions' first argument */
  /* `bytes` is a copy of what lies at `offset` of the file and is about to be written: fills in a
   * checksum, or encrypts. byte_count is a multiple of VMCACHE_PAGE_SIZE. Needed. */
  void (*before_write)(void *user, uint64_t offset, void *bytes, size_t byte_count);
  /* `bytes` were read from `offset`, and nobody sees them yet: checks or decrypts them. A page that
   * was never written is zeros. Returns 0, or the enum vmcache_error (1 .. 23) that whoever wanted
   * the page gets; other values count as VMCACHE_CORRUPT. Needed. */
  int (*after_read)(void *user, uint64_t offset, void *bytes, size_t byte_count);
  /* The page's LSN, from the page as it is in memory: the log must be durable up to there before
   * the page is written. 0: the log does not concern it. Needed with a log, else not called. */
  uint64_t (*lsn_of)(void *user, const void *bytes, size_t byte_count);
};

/* The embedder's own log. The same rules hold for the functions. Positions in a log only grow. */
struct vmcache_write_ahead {
  size_t size; /* sizeof(struct vmcache_write_ahead) */
  void *user;
  /* Everything before this position is durable. Needed. */
  uint64_t (*durable_lsn)(void *user);
  /* Somebody waits until the log is durable up to `lsn`: starts what is needed and returns. */
  void (*want_durable)(void *user, uint64_t lsn);
  /* 0, or the errno with which the log has failed for good. Null: it cannot fail. */
  int (*log_error)(void *user);
  /* 1: want_durable() is enough, because a thread of the log flushes, however long that takes.
   * 0: somebody has to return to a loop that flushes; sync and close then wait for a log that does
   * not move for frame_wait_ms at most. */
  uint64_t flushes_itself;
};

enum vmcache_file_flags {
  VMCACHE_FILE_NO_CREATE = 1 << 0,   /* a file that is missing is an error */
  VMCACHE_FILE_NO_DIRECT_IO = 1 << 1, /* no O_DIRECT */
  /* Temporary: `path` is the folder where its blocks are if memory does not suffice (null: TMPDIR).
   * It begins empty, has no name, and is gone with the handle or the process. Its pages are written
   * only if the pool needs their memory. No format and no log; sync, flush and write_back are
   * VMCACHE_INVALID_OPTION. */
  VMCACHE_FILE_TEMPORARY = 1 << 2,
  /* A file that is there, to be read, beside others that do the same. What would write is
   * VMCACHE_READ_ONLY; pages that were changed all the same are never written. */
  VMCACHE_FILE_READ_ONLY = 1 << 3
};

struct vmcache_file_options {
  size_t size;             /* sizeof(struct vmcache_file_options) */
  const char *path;        /* a regular file */
  uint64_t capacity_bytes; /* largest size while it is open: 4 KiB .. files_bytes (1 GiB) */
  uint64_t flags;          /* enum vmcache_file_flags; an unknown one is an error */
  /* Null: as in memory. The struct is copied. The functions and `user` must stay until a close,
   * remove or destroy of the file has returned 0, else until the pool is destroyed. */
  const struct vmcache_page_format *format;
  const struct vmcache_write_ahead *write_ahead; /* null: no log; needs format, with lsn_of */
};

struct vmcache_file;

/* Opens a file into the pool. No byte of ours is in it: byte n of the file is byte n of its range
 * of pages. The pool needs files_bytes. The bytes after the end are zeros in memory and are not
 * written. VMCACHE_INVALID_OPTION, _IN_USE, _IO, _UNSUPPORTED (no regular file), _DATABASE_FULL
 * (larger than capacity_bytes, or no range of files_bytes is left). */
VMCACHE_API int vmcache_file_open(struct vmcache_pool *pool,
                                  const struct vmcache_file_options *options,
                                  struct vmcache_file **file);

/* The page id of the file's page `n`, for vmcache_fix(). It stays while the file is open. A page
 * beyond the end cannot be fixed. VMCACHE_INVALID_PAGE: beyond capacity_bytes.
 *
 * A page is single, order 0, unless the caller's own allocator says otherwise: an extent of order k
 * begins at a multiple of 2^k and lies before the file's end. The pool believes the first fix, and
 * remembers the order until the pages are dropped or discarded, or the file ends before them. Until
 * then a fix that contradicts it is VMCACHE_INVALID_PAGE. */
VMCACHE_API int vmcache_file_page_id(struct vmcache_file *file, uint64_t n, uint64_t *page_id);
VMCACHE_API int vmcache_file_size(struct vmcache_file *file, uint64_t *bytes);

/* Makes the file longer, by zeros, or shorter. Durable with the next sync. VMCACHE_INVALID_OPTION
 * (a file with a format has whole pages only), _DATABASE_FULL (beyond capacity_bytes, or no space),
 * _INVALID_PAGE (it would end inside an extent: drop that first), _IO, _BUSY (a page that should
 * fall out stays fixed or pinned: the file ends behind it; or the last page stays fixed: call
 * again). */
VMCACHE_API int vmcache_file_resize(struct vmcache_file *file, uint64_t bytes);

/* Writes back what was changed before the call, and makes it durable. Waits for no other file.
 * VMCACHE_IO, _BUSY (a page stays fixed exclusively, or the log does not become durable); such
 * pages stay dirty. A failed flush is final for this file until it is opened again. */
VMCACHE_API int vmcache_file_sync(struct vmcache_file *file);
/* Writes back what was changed before the call, but does not make it durable: it survives the end
 * of the process, not that of the system. Of `count` pages of the file, in ascending order; or of
 * all pages if `pages` is null and `count` is 0. VMCACHE_INVALID_PAGE (too large, or not
 * ascending): nothing was written. Else as vmcache_file_sync(). */
VMCACHE_API int vmcache_file_write_back(struct vmcache_file *file, const uint64_t *pages,
                                        size_t count);
/* Takes `count` pages from number `first` on out of memory: each extent that begins among them.
 * Changes are written back first, as vmcache_file_write_back() does. Pages that are not in memory
 * are no error. VMCACHE_INVALID_PAGE (beyond capacity_bytes, or the first one is inside an extent),
 * _BUSY (a page is pinned, or stays fixed), _IO: the pages before that one are then gone. */
VMCACHE_API int vmcache_file_drop(struct vmcache_file *file, uint64_t first, uint64_t count);
/* The same without writing: changes since the last write-back are lost. For pages that the caller's
 * allocator has freed. They then hold what storage has, any of their earlier versions; those of a
 * temporary file are zeros. */
VMCACHE_API int vmcache_file_discard(struct vmcache_file *file, uint64_t first, uint64_t count);
/* Makes durable what was written back, without writing. */
VMCACHE_API int vmcache_file_flush(struct vmcache_file *file);

/* A page that storage does not have in its newest version. */
struct vmcache_dirty_page {
  uint64_t page;         /* of the file */
  uint64_t recovery_lsn; /* changes whose LSN is below this are in storage */
};

/* For a checkpoint of the embedder's log: note the log's end, call this, then vmcache_file_flush().
 * Recovery may then begin at the smallest of that end and all recovery_lsn (File in
 * vmcache/file.hpp). Sets `count` to the number of dirty pages. If they are more than `capacity`
 * the result is VMCACHE_TOO_LARGE, and `pages` has the first ones only: call again with more room.
 * VMCACHE_INVALID_OPTION without write_ahead. `pages` may be null if capacity is 0. */
VMCACHE_API int vmcache_file_dirty_pages(struct vmcache_file *file,
                                         struct vmcache_dirty_page *pages, size_t capacity,
                                         size_t *count);

/* Does what vmcache_file_sync() does, takes the file's pages out of memory, and unlocks the file.
 * VMCACHE_IO or _BUSY (a page stays fixed or pinned): the file stays open, and the call may be made
 * again. After a failed flush, or if the log has failed, it writes nothing more and succeeds. If
 * its own flush fails, that is VMCACHE_IO, and the file is closed. */
VMCACHE_API int vmcache_file_close(struct vmcache_file *file);

/* Closes the file without writing, and removes it. VMCACHE_BUSY as above; VMCACHE_IO if it cannot
 * be removed, it is closed then. */
VMCACHE_API int vmcache_file_remove(struct vmcache_file *file);

/* Closes the file if that was not done, and frees the handle. VMCACHE_BUSY: nothing has happened.
 * With every other result the handle is gone, and what could not be written is lost. */
VMCACHE_API int vmcache_file_destroy(struct vmcache_file *file);

#ifdef __cplusplus
}
#endif
#endif

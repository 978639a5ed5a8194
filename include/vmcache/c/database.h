/* SPDX-License-Identifier: MIT */
/* Databases: a pool, a write-ahead log, and trees that transactions change. Include <vmcache.h>. */
#ifndef VMCACHE_C_DATABASE_H
#define VMCACHE_C_DATABASE_H

#include "vmcache/c/tree.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Trees of a database are numbered 0 .. VMCACHE_TREES - 1. */
#define VMCACHE_TREES VMCACHE_ROOTS
/* Largest sum of keys and values in a transaction, in bytes. */
#define VMCACHE_MAX_TRANSACTION 524288

enum vmcache_database_flags {
  /* the commit that finds a checkpoint due takes it, not a thread of the database */
  VMCACHE_DATABASE_NO_CHECKPOINT_THREAD = 1 << 0
};

struct vmcache_database_options {
  size_t size; /* sizeof(struct vmcache_database_options) */
  /* The page file. VMCACHE_POOL_PAGE_HEADER and _ALLOW_UNCLEAN are the database's own affair and
   * must not be set. VMCACHE_POOL_NO_CREATE and _NO_DIRECT_IO hold for the log, too. */
  const struct vmcache_pool_options *pool;
  const char *log_path;        /* the log: a file, block device or NVMe character device */
  uint64_t log_capacity_bytes; /* of a new log: 1 MiB .. 1 TiB, a multiple of 4 KiB (256 MiB) */
  uint32_t checkpoint_percent; /* share of the time for checkpoints: 1 .. 100 (10) */
  uint32_t reserved;           /* 0 */
  uint64_t flags;              /* enum vmcache_database_flags; an unknown one is an error */
};

struct vmcache_database;

/* Opens the database and recovers what a crash has left, or creates it if page file and log are
 * both missing or empty. Errors as vmcache_pool_open(); VMCACHE_MISMATCH if the two do not belong
 * together, or only one of them is empty; VMCACHE_CORRUPT. */
VMCACHE_API int vmcache_database_open(const struct vmcache_database_options *options,
                                      struct vmcache_database **database);
/* Makes a checkpoint and closes. VMCACHE_BUSY while a page is fixed or pinned. If it fails it may
 * be tried again. Transactions that are alive can only be rolled back afterwards. */
VMCACHE_API int vmcache_database_close(struct vmcache_database *database);
/* Closes if that was not done, and frees the handle. VMCACHE_BUSY while transactions, trees or
 * other handles made from it exist. With every other result it is gone. What was committed is never
 * lost: the next open recovers it. */
VMCACHE_API int vmcache_database_destroy(struct vmcache_database *database);
/* Writes back what is dirty and gives log space back, while others go on. The database does this by
 * itself when half of the log is in use. */
VMCACHE_API int vmcache_database_checkpoint(struct vmcache_database *database);
/* The database's pool: for statistics, resize, and files. It lives as long as the database's
 * handle, and cannot be closed by itself. Null, with a message, for a null database. */
VMCACHE_API struct vmcache_pool *vmcache_database_pool(struct vmcache_database *database);
/* A handle of tree `index`, which is made if it does not exist: for reads outside transactions.
 * What they see is committed. A change through it is VMCACHE_INVALID_OPTION. */
VMCACHE_API int vmcache_database_tree(struct vmcache_database *database, unsigned index,
                                      struct vmcache_tree **tree);

struct vmcache_transaction;

/* Begins a transaction: changes that become visible and durable together, or not at all. One thread
 * at a time may use it. A key that it changes, or reads for update, is locked until it ends;
 * VMCACHE_CONFLICT says that another one has the lock: roll back and try again. The transaction has
 * ended after a commit or rollback, and after every error except VMCACHE_CONFLICT, _TOO_LARGE and
 * _INVALID_OPTION. A call with one that has ended is VMCACHE_INVALID_OPTION. */
VMCACHE_API int vmcache_begin(struct vmcache_database *database,
                              struct vmcache_transaction **transaction);
/* As vmcache_tree_lookup(). Sees what is committed, and the transaction's own changes. */
VMCACHE_API int vmcache_get(struct vmcache_transaction *transaction, unsigned tree,
                            const void *key, size_t key_size, void *buffer, size_t capacity,
                            size_t *value_size);
/* The same, and locks the key. */
VMCACHE_API int vmcache_get_for_update(struct vmcache_transaction *transaction, unsigned tree,
                                       const void *key, size_t key_size, void *buffer,
                                       size_t capacity, size_t *value_size);
/* Adds the entry or gives it a new value. */
VMCACHE_API int vmcache_put(struct vmcache_transaction *transaction, unsigned tree,
                            const void *key, size_t key_size, const void *value,
                            size_t value_size);
/* Removes the entry, if it exists. */
VMCACHE_API int vmcache_erase(struct vmcache_transaction *transaction, unsigned tree,
                              const void *key, size_t key_size);
/* Makes the changes visible and durable. After VMCACHE_IO it is unknown whether the next open finds
 * them; after every other error they have not happened. */
VMCACHE_API int vmcache_commit(struct vmcache_transaction *transaction);
/* Forgets the changes. */
VMCACHE_API int vmcache_rollback(struct vmcache_transaction *transaction);
/* Rolls back if it has not ended, and frees the handle. Always 0. */
VMCACHE_API int vmcache_transaction_destroy(struct vmcache_transaction *transaction);

#ifdef __cplusplus
}
#endif
#endif

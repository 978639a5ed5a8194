/* SPDX-License-Identifier: MIT */
/* B+trees in the pages of a pool. Include <vmcache.h>. */
#ifndef VMCACHE_C_TREE_H
#define VMCACHE_C_TREE_H

#include "vmcache/c/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Keys are byte strings of 0 .. VMCACHE_MAX_KEY bytes, ordered byte by byte as unsigned numbers.
 * Values have 0 .. VMCACHE_MAX_VALUE bytes. Longer ones are VMCACHE_TOO_LARGE. A key or value of 0
 * bytes may be null. After a failed change the tree is as before. */
#define VMCACHE_MAX_KEY 1024
#define VMCACHE_MAX_VALUE 67108864

struct vmcache_tree;

/* Makes an empty tree. `root` is the page id of its root, which never changes: keep it, for example
 * with vmcache_pool_set_root(). */
VMCACHE_API int vmcache_tree_create(struct vmcache_pool *pool, uint64_t *root);
/* A handle for the tree with this root. Reads nothing: if there is no tree, the first call with the
 * handle is VMCACHE_CORRUPT. Several handles of one tree may be used at a time. */
VMCACHE_API int vmcache_tree_open(struct vmcache_pool *pool, uint64_t root,
                                  struct vmcache_tree **tree);
/* Frees the handle; the tree stays. VMCACHE_BUSY while a cursor exists. */
VMCACHE_API int vmcache_tree_destroy(struct vmcache_tree *tree);

/* Adds the entry. VMCACHE_EXISTS, and nothing has changed, if the key exists. */
VMCACHE_API int vmcache_tree_insert(struct vmcache_tree *tree, const void *key, size_t key_size,
                                    const void *value, size_t value_size);
/* Adds the entry or gives it a new value. */
VMCACHE_API int vmcache_tree_upsert(struct vmcache_tree *tree, const void *key, size_t key_size,
                                    const void *value, size_t value_size);
/* Removes the entry. VMCACHE_NOT_FOUND. */
VMCACHE_API int vmcache_tree_erase(struct vmcache_tree *tree, const void *key, size_t key_size);
/* Copies the value to `buffer`, as much as fits into `capacity` bytes, and sets value_size to its
 * whole length. VMCACHE_NOT_FOUND. `buffer` may be null if capacity is 0; its content is undefined
 * after a failure. */
VMCACHE_API int vmcache_tree_lookup(struct vmcache_tree *tree, const void *key, size_t key_size,
                                    void *buffer, size_t capacity, size_t *value_size);

enum vmcache_cursor_flags {
  VMCACHE_CURSOR_DESCENDING = 1 << 0,
  VMCACHE_CURSOR_ALL = 1 << 1,   /* from the first key, or the last; `key` does not count */
  VMCACHE_CURSOR_BEYOND = 1 << 2 /* begins after the key, even if it is there */
};

struct vmcache_cursor;

/* A scan that begins at the key. It runs beside writers: each leaf is seen as it was at one moment,
 * and an entry that exists all the time is seen exactly once. One thread at a time may use the
 * cursor. */
VMCACHE_API int vmcache_cursor_open(struct vmcache_tree *tree, const void *key, size_t key_size,
                                    unsigned flags, struct vmcache_cursor **cursor);
/* Moves to the first or next entry. VMCACHE_NOT_FOUND at the end. The bytes are a copy, valid until
 * the cursor's next call. */
VMCACHE_API int vmcache_cursor_next(struct vmcache_cursor *cursor, const void **key,
                                    size_t *key_size, const void **value, size_t *value_size);
VMCACHE_API int vmcache_cursor_destroy(struct vmcache_cursor *cursor);

#ifdef __cplusplus
}
#endif
#endif

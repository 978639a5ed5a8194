/* SPDX-License-Identifier: MIT */
/* B+trees, databases and transactions through the C API. usage: capi_database FOLDER */
#include "check.h"

static const char *folder;

/* Entries are found, replaced, scanned in order both ways, and removed. */
static void trees_keep_entries(void) {
  struct vmcache_pool *pool = NULL;
  struct vmcache_pool_options options = small_pool(path_of(folder, "tree.db"));
  struct vmcache_tree *tree = NULL;
  struct vmcache_cursor *cursor = NULL;
  const void *key, *value;
  size_t key_size, value_size, length = 0;
  uint64_t root = 0;
  char text[32], large[20000], copy[20000];
  unsigned n;
  remove(options.path);
  WORKS(vmcache_pool_open(&options, &pool));
  WORKS(vmcache_tree_create(pool, &root));
  WORKS(vmcache_tree_open(pool, root, &tree));
  for (n = 0; n < 2000; ++n) {
    snprintf(text, sizeof text, "key%05u", n);
    WORKS(vmcache_tree_insert(tree, text, 8, text + 3, 5));
  }
  FAILS(VMCACHE_EXISTS, "exists", vmcache_tree_insert(tree, "key00007", 8, "x", 1));
  WORKS(vmcache_tree_lookup(tree, "key00007", 8, text, sizeof text, &length));
  CHECK(length == 5 && memcmp(text, "00007", 5) == 0);
  WORKS(vmcache_tree_upsert(tree, "key00007", 8, "new", 3));
  WORKS(vmcache_tree_lookup(tree, "key00007", 8, text, 1, &length)); /* what fits */
  CHECK(length == 3 && text[0] == 'n' && text[1] == '0');
  memset(large, 'L', sizeof large);
  WORKS(vmcache_tree_upsert(tree, "large", 5, large, sizeof large));
  WORKS(vmcache_tree_lookup(tree, "large", 5, copy, sizeof copy, &length));
  CHECK(length == sizeof large && memcmp(large, copy, length) == 0);
  WORKS(vmcache_tree_insert(tree, NULL, 0, NULL, 0)); /* the empty key */
  WORKS(vmcache_tree_lookup(tree, NULL, 0, NULL, 0, &length));
  CHECK(length == 0);

  WORKS(vmcache_cursor_open(tree, "key00100", 8, VMCACHE_CURSOR_BEYOND, &cursor));
  for (n = 101; n < 2000; ++n) {
    snprintf(text, sizeof text, "key%05u", n);
    WORKS(vmcache_cursor_next(cursor, &key, &key_size, &value, &value_size));
    CHECK(key_size == 8 && memcmp(key, text, 8) == 0);
    CHECK(value_size == 5 && memcmp(value, text + 3, 5) == 0);
  }
  WORKS(vmcache_cursor_next(cursor, &key, &key_size, &value, &value_size));
  CHECK(value_size == sizeof large && memcmp(value, large, value_size) == 0);
  FAILS(VMCACHE_NOT_FOUND, "end",
        vmcache_cursor_next(cursor, &key, &key_size, &value, &value_size));
  CHECK(key == NULL && value_size == 0);
  FAILS(VMCACHE_BUSY, "cursor", vmcache_tree_destroy(tree));
  WORKS(vmcache_cursor_destroy(cursor));
  WORKS(vmcache_cursor_open(tree, NULL, 0, VMCACHE_CURSOR_ALL | VMCACHE_CURSOR_DESCENDING,
                            &cursor));
  WORKS(vmcache_cursor_next(cursor, &key, &key_size, &value, &value_size));
  CHECK(key_size == 5 && memcmp(key, "large", 5) == 0);
  WORKS(vmcache_cursor_next(cursor, &key, &key_size, &value, &value_size));
  CHECK(key_size == 8 && memcmp(key, "key01999", 8) == 0);
  WORKS(vmcache_cursor_destroy(cursor));

  WORKS(vmcache_tree_erase(tree, "key00007", 8));
  EXPECT(VMCACHE_NOT_FOUND, vmcache_tree_erase(tree, "key00007", 8));
  FAILS(VMCACHE_NOT_FOUND, "does not exist",
        vmcache_tree_lookup(tree, "key00007", 8, text, sizeof text, &length));
  FAILS(VMCACHE_TOO_LARGE, "1024", vmcache_tree_upsert(tree, large, 1025, "", 0));
  FAILS(VMCACHE_INVALID_OPTION, "key is null", vmcache_tree_upsert(tree, NULL, 3, "", 0));
  FAILS(VMCACHE_INVALID_OPTION, "value is null", vmcache_tree_upsert(tree, "k", 1, NULL, 3));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_cursor_open(tree, "k", 1, 8, &cursor));
  EXPECT(VMCACHE_TOO_LARGE, vmcache_cursor_open(tree, large, 1025, 0, &cursor));
  EXPECT(VMCACHE_BUSY, vmcache_pool_destroy(pool));
  WORKS(vmcache_tree_destroy(tree));
  WORKS(vmcache_pool_destroy(pool));
}

static struct vmcache_database *open_database(void) {
  struct vmcache_database *database = NULL;
  struct vmcache_pool_options pool = small_pool(path_of(folder, "pages"));
  struct vmcache_database_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.pool = &pool;
  options.log_path = path_of(folder, "log");
  options.log_capacity_bytes = 4 << 20;
  WORKS(vmcache_database_open(&options, &database));
  return database;
}

static void put(struct vmcache_transaction *transaction, const char *key, const char *value) {
  WORKS(vmcache_put(transaction, 0, key, strlen(key), value, strlen(value)));
}

static void expect_value(struct vmcache_transaction *transaction, const char *key,
                         const char *value) {
  char found[32];
  size_t size = 0;
  WORKS(vmcache_get(transaction, 0, key, strlen(key), found, sizeof found, &size));
  CHECK(size == strlen(value) && memcmp(found, value, size) == 0);
}

/* What was committed is there after the next open, what was rolled back is not. */
static void transactions_are_all_or_nothing(void) {
  struct vmcache_database *database;
  struct vmcache_transaction *first = NULL, *second = NULL;
  struct vmcache_tree *tree = NULL;
  struct vmcache_page page;
  struct vmcache_pool *pool;
  char found[32];
  size_t size = 0;
  uint64_t root;
  remove(path_of(folder, "pages"));
  remove(path_of(folder, "log"));
  database = open_database();
  WORKS(vmcache_begin(database, &first));
  put(first, "alice", "90");
  put(first, "bob", "110");
  expect_value(first, "alice", "90"); /* its own */
  WORKS(vmcache_begin(database, &second));
  EXPECT(VMCACHE_NOT_FOUND, vmcache_get(second, 0, "alice", 5, found, sizeof found, &size));
  EXPECT(VMCACHE_CONFLICT, vmcache_put(second, 0, "alice", 5, "1", 1));
  EXPECT(VMCACHE_CONFLICT,
         vmcache_get_for_update(second, 0, "bob", 3, found, sizeof found, &size));
  WORKS(vmcache_commit(first));
  FAILS(VMCACHE_INVALID_OPTION, "has ended", vmcache_put(first, 0, "a", 1, "b", 1));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_commit(first));
  WORKS(vmcache_transaction_destroy(first));
  put(second, "alice", "0"); /* after a conflict it goes on */
  WORKS(vmcache_erase(second, 0, "bob", 3));
  WORKS(vmcache_rollback(second));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_commit(second));
  FAILS(VMCACHE_BUSY, "1 handles", vmcache_database_destroy(database));
  WORKS(vmcache_transaction_destroy(second));

  /* Nothing goes past the log. */
  pool = vmcache_database_pool(database);
  WORKS(vmcache_database_tree(database, 0, &tree));
  WORKS(vmcache_tree_lookup(tree, "bob", 3, found, sizeof found, &size));
  CHECK(size == 3 && memcmp(found, "110", 3) == 0);
  FAILS(VMCACHE_INVALID_OPTION, "transaction", vmcache_tree_erase(tree, "bob", 3));
  WORKS(vmcache_tree_destroy(tree));
  WORKS(vmcache_pool_root(pool, 0, &root));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_tree_open(pool, root, &tree));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_fix(pool, root, 0, VMCACHE_EXCLUSIVE, &page));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_allocate(pool, 0, &page));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_free_extent(pool, root, 0));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_pool_close(pool));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_pool_destroy(pool));
  WORKS(vmcache_fix(pool, root, 0, VMCACHE_SHARED, &page));
  EXPECT(VMCACHE_BUSY, vmcache_database_destroy(database));
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_database_checkpoint(database));
  WORKS(vmcache_database_close(database));
  EXPECT(VMCACHE_CLOSED, vmcache_database_checkpoint(database));
  WORKS(vmcache_database_destroy(database));

  database = open_database();
  WORKS(vmcache_begin(database, &first));
  expect_value(first, "alice", "90");
  expect_value(first, "bob", "110");
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_put(first, VMCACHE_TREES, "a", 1, "b", 1));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_put(first, 0, NULL, 1, "b", 1));
  put(first, "carol", "1"); /* a wrong argument does not end it */
  WORKS(vmcache_commit(first));
  WORKS(vmcache_transaction_destroy(first));
  WORKS(vmcache_database_destroy(database));
}

static void bad_arguments_are_named(void) {
  struct vmcache_database *database = NULL;
  struct vmcache_pool_options pool = small_pool(path_of(folder, "bad"));
  struct vmcache_database_options options;
  memset(&options, 0, sizeof options);
  FAILS(VMCACHE_INVALID_OPTION, "size is 0", vmcache_database_open(&options, &database));
  options.size = sizeof options;
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_database_open(&options, &database));
  options.pool = &pool;
  FAILS(VMCACHE_INVALID_OPTION, "log_path", vmcache_database_open(&options, &database));
  options.log_path = path_of(folder, "bad.log");
  pool.flags = VMCACHE_POOL_PAGE_HEADER;
  FAILS(VMCACHE_INVALID_OPTION, "PAGE_HEADER", vmcache_database_open(&options, &database));
  pool.flags = 0;
  options.checkpoint_percent = 101;
  FAILS(VMCACHE_INVALID_OPTION, "101", vmcache_database_open(&options, &database));
  options.checkpoint_percent = 0;
  options.reserved = 1;
  FAILS(VMCACHE_INVALID_OPTION, "reserved", vmcache_database_open(&options, &database));
  CHECK(database == NULL);
  CHECK(vmcache_database_pool(NULL) == NULL);
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_commit(NULL));
  WORKS(vmcache_transaction_destroy(NULL));
  WORKS(vmcache_database_destroy(NULL));
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: capi_database FOLDER\n");
    return 2;
  }
  folder = argv[1];
  trees_keep_entries();
  transactions_are_all_or_nothing();
  bad_arguments_are_named();
  return 0;
}

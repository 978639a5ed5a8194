/* SPDX-License-Identifier: MIT */
/* Pools, pages, optimistic reads and pins through the C API. usage: capi_pool FOLDER */
#include "check.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *folder;

static struct vmcache_pool *new_pool(const char *name) {
  struct vmcache_pool *pool = NULL;
  const char *path = path_of(folder, name);
  struct vmcache_pool_options options = small_pool(path);
  remove(path);
  WORKS(vmcache_pool_open(&options, &pool));
  CHECK(pool != NULL);
  return pool;
}

/* What is written under an exclusive fix is there after a close and an open. */
static void pages_survive_a_close(void) {
  struct vmcache_pool *pool = new_pool("survive.db");
  struct vmcache_page page, extent;
  struct vmcache_pool_options options;
  struct vmcache_pool_stats stats;
  uint64_t root = 0;
  WORKS(vmcache_allocate(pool, 0, &page));
  CHECK(page.data != NULL && page.page_id != VMCACHE_NO_PAGE);
  strcpy((char *)page.data, "hello");
  WORKS(vmcache_pool_set_root(pool, 3, page.page_id));
  WORKS(vmcache_unfix(&page));
  CHECK(page.data == NULL);
  WORKS(vmcache_allocate(pool, 2, &extent));
  memset(extent.data, 7, 4 * VMCACHE_PAGE_SIZE);
  WORKS(vmcache_pool_set_root(pool, 4, extent.page_id));
  WORKS(vmcache_unfix(&extent));
  WORKS(vmcache_pool_destroy(pool));

  options = small_pool(path_of(folder, "survive.db"));
  options.flags = VMCACHE_POOL_NO_CREATE;
  WORKS(vmcache_pool_open(&options, &pool));
  WORKS(vmcache_pool_root(pool, 3, &root));
  WORKS(vmcache_fix(pool, root, 0, VMCACHE_SHARED, &page));
  CHECK(strcmp((const char *)page.data, "hello") == 0);
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_pool_root(pool, 4, &root));
  EXPECT(VMCACHE_MISS, vmcache_try_fix(pool, root, 2, VMCACHE_SHARED, &extent));
  WORKS(vmcache_fix(pool, root, 2, VMCACHE_SHARED, &extent));
  CHECK(((const char *)extent.data)[4 * VMCACHE_PAGE_SIZE - 1] == 7);
  WORKS(vmcache_unfix(&extent));
  FAILS(VMCACHE_INVALID_PAGE, "order", vmcache_try_fix(pool, root, 1, VMCACHE_SHARED, &extent));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_fix(pool, root, 1, VMCACHE_SHARED, &extent));
  stats.size = sizeof stats;
  WORKS(vmcache_pool_get_stats(pool, &stats));
  CHECK(stats.misses >= 2 && stats.read_pages >= 5 && stats.pool_pages == 256);
  CHECK(stats.read_p50_ns > 0 && stats.read_p999_ns >= stats.read_p50_ns);
  CHECK(strlen(vmcache_pool_description(pool)) > 0);
  WORKS(vmcache_pool_destroy(pool));
}

/* An exclusive fix marks the page as changed, unless the caller says that it changed nothing. */
static void unfix_marks_as_changed(void) {
  struct vmcache_pool *pool = new_pool("changed.db");
  struct vmcache_page page, other;
  struct vmcache_read read;
  uint64_t id;
  WORKS(vmcache_allocate(pool, 0, &page));
  id = page.page_id;
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_read_begin(pool, id, 0, &read));
  WORKS(vmcache_fix(pool, id, 0, VMCACHE_EXCLUSIVE, &page));
  EXPECT(VMCACHE_CHANGED, vmcache_read_validate(&read));
  WORKS(vmcache_unfix_unchanged(&page));
  WORKS(vmcache_read_validate(&read));
  WORKS(vmcache_fix(pool, id, 0, VMCACHE_SHARED, &page));
  WORKS(vmcache_read_validate(&read));
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_read_validate(&read));
  WORKS(vmcache_fix(pool, id, 0, VMCACHE_EXCLUSIVE, &page));
  WORKS(vmcache_unfix(&page));
  FAILS(VMCACHE_CHANGED, "changed", vmcache_read_validate(&read));
  EXPECT(VMCACHE_CHANGED, vmcache_read_upgrade(&read, VMCACHE_EXCLUSIVE, &page));

  WORKS(vmcache_read_begin(pool, id, 0, &read));
  WORKS(vmcache_read_upgrade(&read, VMCACHE_EXCLUSIVE, &page));
  EXPECT(VMCACHE_BUSY, vmcache_try_fix(pool, id, 0, VMCACHE_SHARED, &other));
  CHECK(other.data == NULL);
  WORKS(vmcache_pool_resize(pool, 512 << 10)); /* the page that is fixed stays */
  EXPECT(VMCACHE_BUSY, vmcache_pool_close(pool));
  FAILS(VMCACHE_BUSY, "fixed", vmcache_pool_destroy(pool));
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_pool_destroy(pool));
}

/* A page that is unfixed or freed twice, by a copy, or in vain, is an error and changes nothing. */
static void stale_pages_are_refused(void) {
  struct vmcache_pool *pool = new_pool("stale.db");
  struct vmcache_page page, copy, other;
  uint64_t id;
  WORKS(vmcache_allocate(pool, 0, &page));
  id = page.page_id;
  copy = page;
  WORKS(vmcache_unfix(&page));
  FAILS(VMCACHE_INVALID_OPTION, "unfixed", vmcache_unfix(&page));
  FAILS(VMCACHE_INVALID_OPTION, "copy", vmcache_unfix(&copy));
  /* The slot is in use again, with the same page in shared mode: the copy must not end that. */
  WORKS(vmcache_fix(pool, id, 0, VMCACHE_SHARED, &other));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_unfix(&copy));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_unfix_unchanged(&copy));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_free(&copy));
  EXPECT(VMCACHE_BUSY, vmcache_try_fix(pool, id, 0, VMCACHE_EXCLUSIVE, &page));
  FAILS(VMCACHE_INVALID_OPTION, "shared", vmcache_free(&other));
  WORKS(vmcache_unfix(&other));

  WORKS(vmcache_fix(pool, id, 0, VMCACHE_EXCLUSIVE, &page));
  copy = page;
  WORKS(vmcache_free(&page));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_free(&copy));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_free_extent(pool, id, 0)); /* twice */
  WORKS(vmcache_allocate(pool, 3, &page));
  id = page.page_id;
  WORKS(vmcache_unfix(&page));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_free_extent(pool, id, 2));
  WORKS(vmcache_free_extent(pool, id, 3));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_fix(pool, id, 3, VMCACHE_SHARED, &page));
  WORKS(vmcache_pool_destroy(pool));
}

/* A pinned page stays, can be read, and can be neither freed nor left behind by a destroy. */
static void pins_hold_a_page(void) {
  struct vmcache_pool *pool = new_pool("pins.db");
  struct vmcache_page page;
  struct vmcache_pin pin, copy;
  struct vmcache_pool_stats stats;
  unsigned n;
  uint64_t id;
  WORKS(vmcache_allocate(pool, 0, &page));
  id = page.page_id;
  strcpy((char *)page.data, "pinned");
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_pin_page(pool, id, &pin));
  copy = pin;
  for (n = 0; n < 1000; ++n) { /* four times the pool */
    WORKS(vmcache_allocate(pool, 0, &page));
    WORKS(vmcache_unfix(&page));
  }
  CHECK(strcmp((const char *)pin.data, "pinned") == 0);
  stats.size = sizeof stats;
  WORKS(vmcache_pool_get_stats(pool, &stats));
  CHECK(stats.pins == 1 && stats.evicted_pages > 0);
  EXPECT(VMCACHE_BUSY, vmcache_free_extent(pool, id, 0));
  WORKS(vmcache_fix(pool, id, 0, VMCACHE_EXCLUSIVE, &page));
  EXPECT(VMCACHE_BUSY, vmcache_free(&page));
  WORKS(vmcache_unfix_unchanged(&page)); /* the failed free has left it fixed */
  FAILS(VMCACHE_BUSY, "pinned", vmcache_pool_destroy(pool));
  WORKS(vmcache_unpin(&pin));
  FAILS(VMCACHE_INVALID_OPTION, "copy", vmcache_unpin(&copy));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_unpin(&pin));
  WORKS(vmcache_pool_destroy(pool));
}

/* After a close every call says so; the handle stays until it is destroyed. */
static void closed_pools_say_so(void) {
  struct vmcache_pool *pool = new_pool("closed.db");
  struct vmcache_page page;
  struct vmcache_read read;
  struct vmcache_pin pin;
  uint64_t id, root;
  WORKS(vmcache_allocate(pool, 0, &page));
  id = page.page_id;
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_pool_close(pool));
  WORKS(vmcache_pool_close(pool));
  EXPECT(VMCACHE_CLOSED, vmcache_fix(pool, id, 0, VMCACHE_SHARED, &page));
  EXPECT(VMCACHE_CLOSED, vmcache_fix(pool, id, 0, VMCACHE_EXCLUSIVE, &page));
  EXPECT(VMCACHE_CLOSED, vmcache_try_fix(pool, id, 0, VMCACHE_SHARED, &page));
  EXPECT(VMCACHE_CLOSED, vmcache_read_begin(pool, id, 0, &read));
  EXPECT(VMCACHE_CLOSED, vmcache_pin_page(pool, id, &pin));
  EXPECT(VMCACHE_CLOSED, vmcache_allocate(pool, 0, &page));
  EXPECT(VMCACHE_CLOSED, vmcache_free_extent(pool, id, 0));
  EXPECT(VMCACHE_CLOSED, vmcache_pool_checkpoint(pool));
  FAILS(VMCACHE_CLOSED, "vmcache_pool_root: ", vmcache_pool_root(pool, 0, &root));
  WORKS(vmcache_pool_destroy(pool));
  WORKS(vmcache_pool_destroy(NULL));
}

static void *unfix_elsewhere(void *argument) {
  struct vmcache_page copy = *(struct vmcache_page *)argument;
  FAILS(VMCACHE_WRONG_THREAD, "another thread", vmcache_unfix(&copy));
  return NULL;
}

static void *end_with_pages(void *argument) {
  struct vmcache_pool *pool = argument;
  struct vmcache_page page;
  unsigned n;
  for (n = 0; n < 100; ++n) WORKS(vmcache_allocate(pool, 0, &page));
  CHECK(strcmp(vmcache_last_message(), "") == 0); /* the message is this thread's own */
  return NULL;
}

static void count_lines(void *user, int level, const char *message) {
  CHECK(level == VMCACHE_LOG_INFO || level == VMCACHE_LOG_WARNING);
  if (strstr(message, "a thread has ended with page") != NULL) ++*(int *)user;
}

/* A page belongs to the thread that fixed it, and what it holds when it ends is given back. */
static void pages_belong_to_threads(void) {
  struct vmcache_pool *pool = NULL;
  struct vmcache_pool_options options = small_pool(path_of(folder, "threads.db"));
  struct vmcache_page page;
  pthread_t thread;
  int lines = 0;
  remove(options.path);
  options.log = count_lines;
  options.log_user = &lines;
  WORKS(vmcache_pool_open(&options, &pool));
  WORKS(vmcache_allocate(pool, 0, &page));
  CHECK(pthread_create(&thread, NULL, unfix_elsewhere, &page) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  WORKS(vmcache_unfix(&page));
  CHECK(pthread_create(&thread, NULL, end_with_pages, pool) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(lines == 100);
  WORKS(vmcache_pool_destroy(pool)); /* not busy */
}

/* In a child of fork() every call is refused, and destroy leaves the parent's pool alone. */
static void children_are_refused(void) {
  struct vmcache_pool *pool = new_pool("fork.db");
  struct vmcache_page page;
  pid_t child;
  int status;
  uint64_t id;
  WORKS(vmcache_allocate(pool, 0, &page));
  strcpy((char *)page.data, "parent");
  id = page.page_id;
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    struct vmcache_page own;
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_fix(pool, id, 0, VMCACHE_SHARED, &own));
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_try_fix(pool, id, 0, VMCACHE_SHARED, &own));
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_allocate(pool, 0, &own));
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_pool_close(pool));
    WORKS(vmcache_unfix(&page)); /* the child's copy of it */
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_pool_destroy(pool));
    pool = new_pool("child.db"); /* one of its own */
    WORKS(vmcache_allocate(pool, 0, &own));
    WORKS(vmcache_unfix(&own));
    WORKS(vmcache_pool_destroy(pool));
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(strcmp((const char *)page.data, "parent") == 0);
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_pool_destroy(pool));
}

/* No memory is a code, and not the end of the program. */
static void out_of_memory_is_a_code(void) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  pid_t child = fork();
  int status;
  CHECK(child >= 0);
  if (child == 0) {
    const struct rlimit limit = {(rlim_t)1 << 30, (rlim_t)1 << 30};
    struct vmcache_pool_options options = small_pool(path_of(folder, "memory.db"));
    struct vmcache_pool *pool = NULL;
    remove(options.path);
    options.capacity_bytes = UINT64_C(1) << 40;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    EXPECT(VMCACHE_OUT_OF_MEMORY, vmcache_pool_open(&options, &pool));
    CHECK(pool == NULL && access(options.path, F_OK) != 0);
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
}

/* Bad arguments: a code, and a message with the name, the value and what is allowed. */
static void bad_arguments_are_named(void) {
  struct vmcache_pool_options options = small_pool(path_of(folder, "bad.db"));
  struct vmcache_pool *pool = NULL, *second = NULL;
  struct vmcache_page page;
  struct vmcache_extent extent;
  struct vmcache_failure failure;
  struct vmcache_pool_stats stats;
  remove(options.path);
  FAILS(VMCACHE_INVALID_OPTION, "options is null", vmcache_pool_open(NULL, &pool));
  FAILS(VMCACHE_INVALID_OPTION, "pool is null", vmcache_pool_open(&options, NULL));
  options.size = sizeof options - 8;
  FAILS(VMCACHE_INVALID_OPTION, "size is 104", vmcache_pool_open(&options, &pool));
  options.size = sizeof options + 8;
  FAILS(VMCACHE_INVALID_OPTION, "allows 112", vmcache_pool_open(&options, &pool));
  options.size = 0;
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_pool_open(&options, &pool));
  options.size = sizeof options;
  options.flags = 1 << 20;
  FAILS(VMCACHE_INVALID_OPTION, "flags is 0x100000", vmcache_pool_open(&options, &pool));
  options.flags = VMCACHE_POOL_NO_CREATE;
  FAILS(VMCACHE_INVALID_OPTION, "bad.db", vmcache_pool_open(&options, &pool));
  failure.size = sizeof failure;
  WORKS(vmcache_last_failure(&failure));
  CHECK(failure.code == VMCACHE_INVALID_OPTION && failure.os_error == 2);
  CHECK(access(options.path, F_OK) != 0);
  options.flags = 0;
  options.memory = 3;
  FAILS(VMCACHE_INVALID_OPTION, "memory is 3", vmcache_pool_open(&options, &pool));
  options.memory = 0;
  options.storage = 4;
  FAILS(VMCACHE_INVALID_OPTION, "storage is 4", vmcache_pool_open(&options, &pool));
  options.storage = 0;
  options.pool_bytes = 4096;
  FAILS(VMCACHE_INVALID_OPTION, "4096", vmcache_pool_open(&options, &pool));
  options.pool_bytes = 1 << 20;
  options.path_count = 2;
  FAILS(VMCACHE_INVALID_OPTION, "paths is null", vmcache_pool_open(&options, &pool));
  options.path_count = 0;
  CHECK(pool == NULL);
  WORKS(vmcache_pool_open(&options, &pool));
  FAILS(VMCACHE_IN_USE, "bad.db", vmcache_pool_open(&options, &second));
  CHECK(second == NULL);

  FAILS(VMCACHE_INVALID_OPTION, "mode is 3", vmcache_fix(pool, 1, 0, 3, &page));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_fix(NULL, 1, 0, VMCACHE_SHARED, &page));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_fix(pool, 1, 0, VMCACHE_SHARED, NULL));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_fix(pool, 1, 0, VMCACHE_SHARED, &page));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_fix(pool, UINT64_MAX, 0, VMCACHE_EXCLUSIVE, &page));
  failure.size = sizeof failure;
  WORKS(vmcache_last_failure(&failure));
  CHECK(failure.code == VMCACHE_INVALID_PAGE && failure.page_id == UINT64_MAX);
  CHECK(page.data == NULL);
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_allocate(pool, 9, &page));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_free_extent(pool, 1, 300));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_fix(pool, 1, 300, VMCACHE_SHARED, &page));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_unfix(NULL));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_unpin(NULL));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_read_validate(NULL));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_prefetch(pool, NULL, 1));
  extent.page_id = 1;
  extent.order = 0;
  extent.reserved = 5;
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_prefetch(pool, &extent, 1));
  FAILS(VMCACHE_INVALID_OPTION, "allowed are 0 to 63", vmcache_pool_set_root(pool, 64, 1));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_pool_root(pool, 0, NULL));
  stats.size = 8;
  FAILS(VMCACHE_INVALID_OPTION, "stats->size is 8", vmcache_pool_get_stats(pool, &stats));
  failure.size = 0;
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_last_failure(&failure));
  CHECK(vmcache_pool_description(NULL) == NULL);
  CHECK(strcmp(vmcache_error_name(VMCACHE_LOST_WRITE), "VMCACHE_LOST_WRITE") == 0);
  CHECK(strcmp(vmcache_error_name(1000), "unknown") == 0);
  CHECK(strlen(vmcache_version()) >= 5);
  WORKS(vmcache_pool_destroy(pool));
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: capi_pool FOLDER\n");
    return 2;
  }
  folder = argv[1];
  pages_survive_a_close();
  unfix_marks_as_changed();
  stale_pages_are_refused();
  pins_hold_a_page();
  closed_pools_say_so();
  pages_belong_to_threads();
  children_are_refused();
  out_of_memory_is_a_code();
  bad_arguments_are_named();
  return 0;
}

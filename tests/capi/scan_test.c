/* SPDX-License-Identifier: MIT */
/* Scans, runs, extents in files, drop, many pages at once, and write-back by submission, through
 * the C API. usage: capi_scan FOLDER */
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kPage = VMCACHE_PAGE_SIZE, kFilePages = 600 };

static const char *folder;

/* A pool of `pages` pages with a database and room for files. */
static struct vmcache_pool *open_pool(uint64_t pages, uint32_t frame_wait_ms) {
  struct vmcache_pool *pool = NULL;
  struct vmcache_pool_options options = small_pool(path_of(folder, "scan.db"));
  remove(options.path);
  options.pool_bytes = pages * kPage;
  options.files_bytes = 4ULL << 30;
  options.frame_wait_ms = frame_wait_ms;
  WORKS(vmcache_pool_open(&options, &pool));
  return pool;
}

static struct vmcache_file *open_file(struct vmcache_pool *pool, const char *name) {
  struct vmcache_file *file = NULL;
  struct vmcache_file_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.path = path_of(folder, name);
  WORKS(vmcache_file_open(pool, &options, &file));
  return file;
}

/* Each page says its number. */
static struct vmcache_file *filled_file(struct vmcache_pool *pool) {
  const char *path = path_of(folder, "scan.raw");
  static unsigned char bytes[kPage];
  FILE *stream = fopen(path, "wb");
  unsigned n;
  CHECK(stream != NULL);
  for (n = 0; n < kFilePages; ++n) {
    memcpy(bytes, &n, sizeof n);
    CHECK(fwrite(bytes, 1, kPage, stream) == kPage);
  }
  CHECK(fclose(stream) == 0);
  return open_file(pool, "scan.raw");
}

static uint64_t first_page(struct vmcache_file *file) {
  uint64_t page_id = 0;
  WORKS(vmcache_file_page_id(file, 0, &page_id));
  return page_id;
}

static void a_scan_reads_every_page_once(void) {
  struct vmcache_pool *pool = open_pool(64, 50);
  struct vmcache_file *file = filled_file(pool);
  const uint64_t first = first_page(file);
  struct vmcache_scan *scan = NULL;
  const void *data = &scan;
  uint64_t page_id;
  unsigned n, found;
  WORKS(vmcache_scan_open(pool, first, kFilePages, 0, &scan));
  for (n = 0; n < kFilePages; ++n) {
    WORKS(vmcache_scan_next(scan, &data, &page_id));
    memcpy(&found, data, sizeof found);
    CHECK(found == n && page_id == first + n);
  }
  EXPECT(VMCACHE_BUSY, vmcache_pool_destroy(pool));
  EXPECT(VMCACHE_NOT_FOUND, vmcache_scan_next(scan, &data, NULL));
  CHECK(data == NULL);
  WORKS(vmcache_scan_destroy(scan));
  WORKS(vmcache_scan_destroy(NULL));
  FAILS(VMCACHE_INVALID_OPTION, "read_ahead = 257",
        vmcache_scan_open(pool, first, 1, 257, &scan));
  CHECK(scan == NULL);
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_scan_open(NULL, first, 1, 0, &scan));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_scan_open(pool, first, 1, 0, NULL));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_scan_next(NULL, &data, NULL));
  WORKS(vmcache_file_destroy(file));
  WORKS(vmcache_pool_destroy(pool));
}

static void a_run_is_one_range_of_bytes(void) {
  struct vmcache_pool *pool = open_pool(1024, 50);
  struct vmcache_file *file = filled_file(pool);
  const uint64_t first = first_page(file);
  struct vmcache_run *run = NULL;
  struct vmcache_page page;
  struct vmcache_pin pin;
  void *data = NULL;
  unsigned n, found;
  WORKS(vmcache_run_prefetch(pool, first + 3, 500));
  WORKS(vmcache_run_fix(pool, first + 3, 500, VMCACHE_SHARED, &run, &data));
  for (n = 0; n < 500; ++n) {
    memcpy(&found, (char *)data + (size_t)n * kPage, sizeof found);
    CHECK(found == n + 3);
  }
  EXPECT(VMCACHE_BUSY, vmcache_pool_destroy(pool));
  WORKS(vmcache_run_unfix(run));
  WORKS(vmcache_run_fix(pool, first + 3, 500, VMCACHE_EXCLUSIVE, &run, &data));
  memset(data, 'r', 500 * (size_t)kPage);
  FAILS(VMCACHE_BUSY, "latched", vmcache_run_write_back(pool, first + 3, 500));
  WORKS(vmcache_run_unfix(run));
  WORKS(vmcache_run_write_back(pool, first + 3, 500));
  WORKS(vmcache_run_fix(pool, first + 3, 500, VMCACHE_EXCLUSIVE, &run, &data));
  WORKS(vmcache_run_unfix_unchanged(run));
  /* The pages were fixed in another way. */
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_run_fix(pool, first + 4, 100, VMCACHE_SHARED, &run, &data));
  CHECK(run == NULL && data == NULL);
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_fix(pool, first + 5, 0, VMCACHE_SHARED, &page));
  WORKS(vmcache_file_drop(file, 3, 500));
  WORKS(vmcache_fix(pool, first + 5, 0, VMCACHE_EXCLUSIVE, &page));
  CHECK(*(char *)page.data == 'r');
  *(char *)page.data = 'x';
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_file_discard(file, 5, 1));
  WORKS(vmcache_fix(pool, first + 5, 0, VMCACHE_SHARED, &page));
  CHECK(*(char *)page.data == 'r');
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_pin_extent(pool, first + 8, 3, &pin));
  FAILS(VMCACHE_BUSY, "pinned", vmcache_file_drop(file, 8, 1));
  WORKS(vmcache_unpin(&pin));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_pin_extent(pool, first + 8, 2, &pin));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_file_drop(file, 9, 1));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_run_fix(pool, first, 0, VMCACHE_SHARED, &run, &data));
  FAILS(VMCACHE_INVALID_OPTION, "half of the pool",
        vmcache_run_fix(pool, first, 513, VMCACHE_SHARED, &run, &data));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_run_fix(pool, first, 1, 3, &run, &data));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_run_prefetch(pool, first + kFilePages, 1));
  WORKS(vmcache_run_unfix(NULL));
  WORKS(vmcache_file_destroy(file));
  WORKS(vmcache_pool_destroy(pool));
}

static void many_pages_at_once(void) {
  struct vmcache_pool *pool = open_pool(64, 50);
  static struct vmcache_page pages[40];
  uint64_t ids[20];
  unsigned n;
  FAILS(VMCACHE_INVALID_OPTION, "count = 33",
        vmcache_allocate_pages(pool, 33, VMCACHE_ANYWHERE, pages));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_allocate_pages(pool, 0, VMCACHE_ANYWHERE, pages));
  FAILS(VMCACHE_INVALID_OPTION, "placement is 2", vmcache_allocate_pages(pool, 1, 2, pages));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_allocate_pages(pool, 1, VMCACHE_ANYWHERE, NULL));
  WORKS(vmcache_allocate_pages(pool, 20, VMCACHE_IN_A_ROW, pages));
  for (n = 0; n < 20; ++n) {
    ids[n] = pages[n].page_id;
    CHECK(n == 0 || ids[n] == ids[n - 1] + 1);
    memset(pages[n].data, 'a' + (int)n, kPage);
  }
  EXPECT(VMCACHE_BUSY, vmcache_drop(pool, ids[0]));
  for (n = 0; n < 20; ++n) WORKS(vmcache_unfix(&pages[n]));
  for (n = 0; n < 20; ++n) WORKS(vmcache_drop(pool, ids[n]));
  EXPECT(VMCACHE_MISS, vmcache_try_fix(pool, ids[7], 0, VMCACHE_SHARED, &pages[0]));
  WORKS(vmcache_fix(pool, ids[7], 0, VMCACHE_SHARED, &pages[0]));
  CHECK(*(char *)pages[0].data == 'a' + 7);
  WORKS(vmcache_unfix(&pages[0]));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_drop(pool, 0));
  WORKS(vmcache_pool_destroy(pool));
}

static void wait_for(struct vmcache_io *io, void *user, int code) {
  struct vmcache_completion done;
  size_t count = 0;
  WORKS(vmcache_io_wait(io, &done, 1, -1, &count));
  CHECK(count == 1);
  CHECK(done.user == user && done.page.data == NULL);
  EXPECT(code, done.code);
}

static void write_back_by_submission(void) {
  struct vmcache_pool *pool = open_pool(64, 20000), *other = NULL;
  struct vmcache_pool_options options = small_pool(path_of(folder, "other.db"));
  struct vmcache_file *file = filled_file(pool);
  const uint64_t first = first_page(file);
  struct vmcache_io *io = NULL, *io_of_other = NULL;
  struct vmcache_page page;
  const uint64_t pages[2] = {3, 3};
  size_t count;
  FILE *stream;
  int marks[8];
  WORKS(vmcache_io_open(pool, &io));
  WORKS(vmcache_fix(pool, first + 3, 0, VMCACHE_EXCLUSIVE, &page));
  memset(page.data, 's', kPage);
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_io_write_back(io, file, pages, 1, &marks[0]));
  EXPECT(VMCACHE_BUSY, vmcache_file_destroy(file));
  WORKS(vmcache_io_pending(io, &count));
  CHECK(count == 1);
  wait_for(io, &marks[0], VMCACHE_OK);
  stream = fopen(path_of(folder, "scan.raw"), "rb");
  CHECK(stream != NULL && fseek(stream, 3L * kPage, SEEK_SET) == 0 && fgetc(stream) == 's');
  fclose(stream);
  WORKS(vmcache_io_sync(io, file, &marks[1]));
  wait_for(io, &marks[1], VMCACHE_OK);
  WORKS(vmcache_io_write_back(io, file, NULL, 0, &marks[2]));
  wait_for(io, &marks[2], VMCACHE_OK);
  WORKS(vmcache_io_flush(io, file, &marks[3]));
  wait_for(io, &marks[3], VMCACHE_OK);
  WORKS(vmcache_io_write_back(io, file, pages, 2, &marks[4])); /* not ascending */
  wait_for(io, &marks[4], VMCACHE_INVALID_PAGE);
  WORKS(vmcache_io_checkpoint(io, &marks[5]));
  wait_for(io, &marks[5], VMCACHE_OK);
  WORKS(vmcache_allocate(pool, 2, &page));
  WORKS(vmcache_io_free_extent(io, page.page_id, 2, &marks[6]));
  { /* waits for who has it fixed */
    struct vmcache_completion done;
    const uint64_t page_id = page.page_id;
    WORKS(vmcache_io_wait(io, &done, 1, 5, &count));
    CHECK(count == 0);
    WORKS(vmcache_unfix(&page));
    WORKS(vmcache_io_wait(io, &done, 1, -1, &count));
    CHECK(count == 1 && done.code == VMCACHE_OK && done.page_id == page_id);
    WORKS(vmcache_io_free_extent(io, page_id, 2, &marks[7]));
  }
  wait_for(io, &marks[7], VMCACHE_INVALID_PAGE);
  remove(options.path);
  WORKS(vmcache_pool_open(&options, &other));
  WORKS(vmcache_io_open(other, &io_of_other));
  FAILS(VMCACHE_INVALID_OPTION, "another pool", vmcache_io_sync(io_of_other, file, NULL));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_sync(io, NULL, NULL));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_sync(NULL, file, NULL));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_write_back(io, file, NULL, 1, NULL));
  WORKS(vmcache_file_close(file));
  EXPECT(VMCACHE_CLOSED, vmcache_io_sync(io, file, NULL));
  WORKS(vmcache_file_destroy(file));
  WORKS(vmcache_io_destroy(io_of_other));
  WORKS(vmcache_pool_destroy(other));
  WORKS(vmcache_io_destroy(io));
  WORKS(vmcache_pool_destroy(pool));
}

static void *use_elsewhere(void *argument) {
  struct vmcache_io *io = argument;
  EXPECT(VMCACHE_WRONG_THREAD, vmcache_io_checkpoint(io, NULL));
  EXPECT(VMCACHE_WRONG_THREAD, vmcache_io_free_extent(io, 1, 0, NULL));
  return NULL;
}

static void wrong_use_is_named(void) {
  struct vmcache_pool *pool = open_pool(64, 50);
  struct vmcache_file *file = filled_file(pool);
  const uint64_t first = first_page(file);
  struct vmcache_io *io = NULL;
  struct vmcache_scan *scan = NULL;
  struct vmcache_run *run = NULL, *none = NULL;
  const void *data;
  void *bytes;
  pthread_t thread;
  pid_t child;
  int status;
  WORKS(vmcache_io_open(pool, &io));
  WORKS(vmcache_scan_open(pool, first, 10, 4, &scan));
  WORKS(vmcache_run_fix(pool, first + 16, 16, VMCACHE_SHARED, &run, &bytes));
  CHECK(pthread_create(&thread, NULL, use_elsewhere, io) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_scan_next(scan, &data, NULL));
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_scan_destroy(scan));
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_run_unfix(run));
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_run_fix(pool, first, 1, VMCACHE_SHARED, &none, &bytes));
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_drop(pool, 1));
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_file_drop(file, 0, 1));
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_io_sync(io, file, NULL));
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  WORKS(vmcache_run_unfix(run));
  WORKS(vmcache_scan_destroy(scan));
  WORKS(vmcache_io_destroy(io));
  WORKS(vmcache_file_destroy(file));
  WORKS(vmcache_pool_destroy(pool));
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: capi_scan FOLDER\n");
    return 2;
  }
  folder = argv[1];
  a_scan_reads_every_page_once();
  a_run_is_one_range_of_bytes();
  many_pages_at_once();
  write_back_by_submission();
  wrong_use_is_named();
  return 0;
}

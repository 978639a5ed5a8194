/* SPDX-License-Identifier: MIT */
/* Files of one's own format through the C API. usage: capi_file FOLDER */
#include "check.h"

#include <unistd.h>

static const char *folder;

static struct vmcache_pool *files_pool(void) {
  struct vmcache_pool *pool = NULL;
  struct vmcache_pool_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.pool_bytes = 128 << 10; /* 32 pages */
  options.files_bytes = 2 * VMCACHE_FILE_RANGE_BYTES;
  options.frame_wait_ms = 50;
  WORKS(vmcache_pool_open(&options, &pool));
  return pool;
}

static struct vmcache_file_options file_options(const char *name) {
  struct vmcache_file_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.path = path_of(folder, name);
  return options;
}

static void write_page(struct vmcache_pool *pool, struct vmcache_file *file, uint64_t n,
                       uint64_t lsn, int byte) {
  struct vmcache_page page;
  uint64_t id;
  WORKS(vmcache_file_page_id(file, n, &id));
  WORKS(vmcache_fix(pool, id, 0, VMCACHE_EXCLUSIVE, &page));
  memset(page.data, byte, VMCACHE_PAGE_SIZE);
  memcpy(page.data, &lsn, sizeof lsn);
  WORKS(vmcache_unfix(&page));
}

static int byte_of_file(const char *name, long offset) {
  FILE *stream = fopen(path_of(folder, name), "rb");
  int byte;
  CHECK(stream != NULL && fseek(stream, offset, SEEK_SET) == 0);
  byte = fgetc(stream);
  fclose(stream);
  return byte;
}

/* Byte n of the file is byte n of its pages; it is durable after a sync, and its size is kept. */
static void raw_files_have_no_byte_of_ours(void) {
  struct vmcache_pool *pool = files_pool();
  struct vmcache_file_options options = file_options("raw");
  struct vmcache_file *file = NULL, *again = NULL;
  struct vmcache_page page;
  uint64_t size = 0, id, n;
  remove(options.path);
  options.flags = VMCACHE_FILE_NO_CREATE;
  FAILS(VMCACHE_INVALID_OPTION, "raw", vmcache_file_open(pool, &options, &file));
  options.flags = 0;
  WORKS(vmcache_file_open(pool, &options, &file));
  WORKS(vmcache_file_resize(file, 100 * VMCACHE_PAGE_SIZE + 5));
  WORKS(vmcache_file_size(file, &size));
  CHECK(size == 100 * VMCACHE_PAGE_SIZE + 5);
  for (n = 0; n < 101; ++n) write_page(pool, file, n, 0, 'a');
  WORKS(vmcache_file_sync(file));
  CHECK(byte_of_file("raw", 100 * VMCACHE_PAGE_SIZE - 1) == 'a');
  CHECK(byte_of_file("raw", 100 * VMCACHE_PAGE_SIZE + 5) == EOF);
  WORKS(vmcache_file_flush(file));
  FAILS(VMCACHE_IN_USE, "raw", vmcache_file_open(pool, &options, &again));
  CHECK(again == NULL);
  FAILS(VMCACHE_BUSY, "1 handles", vmcache_pool_destroy(pool));

  WORKS(vmcache_file_page_id(file, 100, &id));
  WORKS(vmcache_fix(pool, id, 0, VMCACHE_SHARED, &page));
  EXPECT(VMCACHE_BUSY, vmcache_file_close(file));
  EXPECT(VMCACHE_BUSY, vmcache_file_destroy(file));
  EXPECT(VMCACHE_BUSY, vmcache_file_remove(file));
  WORKS(vmcache_unfix(&page));
  EXPECT(VMCACHE_INVALID_PAGE, vmcache_fix(pool, id + 1, 0, VMCACHE_SHARED, &page));
  FAILS(VMCACHE_INVALID_OPTION, "write_ahead", vmcache_file_dirty_pages(file, NULL, 0, &n));
  WORKS(vmcache_file_close(file));
  WORKS(vmcache_file_close(file));
  EXPECT(VMCACHE_CLOSED, vmcache_file_size(file, &size));
  EXPECT(VMCACHE_CLOSED, vmcache_file_sync(file));
  EXPECT(VMCACHE_CLOSED, vmcache_file_page_id(file, 0, &id));
  WORKS(vmcache_file_destroy(file));

  WORKS(vmcache_file_open(pool, &options, &file));
  WORKS(vmcache_file_size(file, &size));
  CHECK(size == 100 * VMCACHE_PAGE_SIZE + 5);
  WORKS(vmcache_file_remove(file));
  CHECK(access(options.path, F_OK) != 0);
  WORKS(vmcache_file_destroy(file));
  WORKS(vmcache_file_destroy(NULL));
  WORKS(vmcache_pool_destroy(pool));
}

/* A format that turns over all bits in storage, with a log that is as durable as the test says. */
struct engine {
  uint64_t durable, wanted;
  unsigned writes;
  int damage;
};

static void turn_over(unsigned char *bytes, size_t count) {
  size_t n;
  for (n = 0; n < count; ++n) bytes[n] = (unsigned char)~bytes[n];
}
static void before_write(void *user, uint64_t offset, void *bytes, size_t count) {
  (void)offset;
  ++((struct engine *)user)->writes;
  turn_over((unsigned char *)bytes, count);
}
static int after_read(void *user, uint64_t offset, void *bytes, size_t count) {
  unsigned char *byte = (unsigned char *)bytes;
  (void)offset;
  if (byte[0] == 0 && byte[count - 1] == 0) return 0; /* never written */
  turn_over(byte, count);
  return ((struct engine *)user)->damage;
}
static uint64_t lsn_of(void *user, const void *bytes, size_t count) {
  uint64_t lsn;
  (void)user;
  (void)count;
  memcpy(&lsn, bytes, sizeof lsn);
  return lsn;
}
static uint64_t durable_lsn(void *user) {
  return ((struct engine *)user)->durable;
}
static void want_durable(void *user, uint64_t lsn) {
  ((struct engine *)user)->wanted = lsn;
}

/* The hooks see each page on its way, and no page is written before its log record is durable. */
static void formats_and_logs_are_asked(void) {
  struct vmcache_pool *pool = files_pool();
  struct engine engine = {1000, 0, 0, 0};
  struct vmcache_page_format format;
  struct vmcache_write_ahead log;
  struct vmcache_file_options options = file_options("format");
  struct vmcache_file *file = NULL;
  struct vmcache_dirty_page dirty[2];
  struct vmcache_page page;
  size_t count = 0;
  uint64_t n, id;
  remove(options.path);
  memset(&format, 0, sizeof format);
  memset(&log, 0, sizeof log);
  format.user = log.user = &engine;
  options.format = &format;
  FAILS(VMCACHE_INVALID_OPTION, "format->size is 0", vmcache_file_open(pool, &options, &file));
  format.size = sizeof format;
  FAILS(VMCACHE_INVALID_OPTION, "before_write", vmcache_file_open(pool, &options, &file));
  format.before_write = before_write;
  format.after_read = after_read;
  options.write_ahead = &log;
  log.size = sizeof log;
  FAILS(VMCACHE_INVALID_OPTION, "durable_lsn", vmcache_file_open(pool, &options, &file));
  log.durable_lsn = durable_lsn;
  FAILS(VMCACHE_INVALID_OPTION, "lsn_of", vmcache_file_open(pool, &options, &file));
  format.lsn_of = lsn_of;
  log.want_durable = want_durable;
  log.flushes_itself = 2;
  FAILS(VMCACHE_INVALID_OPTION, "flushes_itself", vmcache_file_open(pool, &options, &file));
  log.flushes_itself = 0;
  CHECK(access(options.path, F_OK) != 0);
  WORKS(vmcache_file_open(pool, &options, &file));
  memset(&format, 0, sizeof format); /* it was copied */
  memset(&log, 0, sizeof log);
  FAILS(VMCACHE_INVALID_OPTION, "format", vmcache_file_resize(file, 5));
  WORKS(vmcache_file_resize(file, 64 * VMCACHE_PAGE_SIZE));
  for (n = 0; n < 64; ++n) write_page(pool, file, n, 1 + n, 'x');
  CHECK(engine.writes > 0); /* the pool has 32 pages */
  WORKS(vmcache_file_sync(file));
  CHECK(byte_of_file("format", 9) == (unsigned char)~'x');
  for (n = 0; n < 3; ++n) write_page(pool, file, n, 2000 + n, 'y');
  EXPECT(VMCACHE_TOO_LARGE, vmcache_file_dirty_pages(file, dirty, 2, &count));
  CHECK(count == 3 && dirty[0].page == 0 && dirty[1].page == 1);
  CHECK(dirty[0].recovery_lsn <= 2000);
  EXPECT(VMCACHE_BUSY, vmcache_file_sync(file)); /* the log does not become durable */
  CHECK(engine.wanted >= 2000);
  CHECK(byte_of_file("format", 9) == (unsigned char)~'x');
  engine.durable = 2002;
  WORKS(vmcache_file_sync(file));
  CHECK(byte_of_file("format", 9) == (unsigned char)~'y');
  WORKS(vmcache_file_dirty_pages(file, NULL, 0, &count));
  CHECK(count == 0);
  WORKS(vmcache_file_close(file));
  WORKS(vmcache_file_destroy(file));

  /* What a hook returns is what whoever wants the page gets. */
  options.format = &format;
  options.write_ahead = NULL;
  format.size = sizeof format;
  format.user = &engine;
  format.before_write = before_write;
  format.after_read = after_read;
  engine.damage = VMCACHE_CHECKSUM;
  WORKS(vmcache_file_open(pool, &options, &file));
  WORKS(vmcache_file_page_id(file, 5, &id));
  EXPECT(VMCACHE_CHECKSUM, vmcache_fix(pool, id, 0, VMCACHE_SHARED, &page));
  engine.damage = 99;
  EXPECT(VMCACHE_CORRUPT, vmcache_fix(pool, id, 0, VMCACHE_SHARED, &page));
  engine.damage = 0;
  WORKS(vmcache_fix(pool, id, 0, VMCACHE_SHARED, &page));
  CHECK(((const char *)page.data)[9] == 'x');
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_pool_close(pool)); /* closes its files */
  EXPECT(VMCACHE_CLOSED, vmcache_file_sync(file));
  WORKS(vmcache_file_destroy(file));
  WORKS(vmcache_pool_destroy(pool));
}

static void bad_arguments_are_named(void) {
  struct vmcache_pool *pool = files_pool();
  struct vmcache_file_options options = file_options("bad");
  struct vmcache_file *file = NULL;
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_file_open(pool, NULL, &file));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_file_open(pool, &options, NULL));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_file_open(NULL, &options, &file));
  options.size = 4;
  FAILS(VMCACHE_INVALID_OPTION, "size is 4", vmcache_file_open(pool, &options, &file));
  options.size = sizeof options;
  options.flags = 0x100000;
  FAILS(VMCACHE_INVALID_OPTION, "flags is 0x100000", vmcache_file_open(pool, &options, &file));
  options.flags = 0;
  options.capacity_bytes = 3 * VMCACHE_FILE_RANGE_BYTES;
  FAILS(VMCACHE_INVALID_OPTION, "capacity_bytes", vmcache_file_open(pool, &options, &file));
  options.path = NULL;
  FAILS(VMCACHE_INVALID_OPTION, "path", vmcache_file_open(pool, &options, &file));
  options.path = folder;
  options.capacity_bytes = 0;
  CHECK(vmcache_file_open(pool, &options, &file) != 0);
  CHECK(file == NULL);
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_file_sync(NULL));
  WORKS(vmcache_pool_destroy(pool));
}

/* Written back is in the file; temporary is gone, and was never there. */
static void write_back_and_temporary(void) {
  struct vmcache_pool *pool = files_pool();
  struct vmcache_file_options options = file_options("back");
  struct vmcache_file *file = NULL;
  const uint64_t pages[] = {1, 3}, wrong[] = {3, 1};
  uint64_t n;
  remove(options.path);
  WORKS(vmcache_file_open(pool, &options, &file));
  WORKS(vmcache_file_resize(file, 5 * VMCACHE_PAGE_SIZE));
  for (n = 0; n < 5; ++n) write_page(pool, file, n, 0, 'b');
  FAILS(VMCACHE_INVALID_PAGE, "not after", vmcache_file_write_back(file, wrong, 2));
  FAILS(VMCACHE_INVALID_OPTION, "pages", vmcache_file_write_back(file, NULL, 2));
  WORKS(vmcache_file_write_back(file, pages, 2));
  CHECK(byte_of_file("back", 3 * VMCACHE_PAGE_SIZE + 100) == 'b');
  CHECK(byte_of_file("back", 2 * VMCACHE_PAGE_SIZE + 100) == 0);
  WORKS(vmcache_file_write_back(file, NULL, 0));
  CHECK(byte_of_file("back", 2 * VMCACHE_PAGE_SIZE + 100) == 'b');
  WORKS(vmcache_file_destroy(file));

  options.flags = VMCACHE_FILE_TEMPORARY | VMCACHE_FILE_NO_CREATE;
  FAILS(VMCACHE_INVALID_OPTION, "temporary", vmcache_file_open(pool, &options, &file));
  options.flags = VMCACHE_FILE_TEMPORARY;
  FAILS(VMCACHE_INVALID_OPTION, "no folder", vmcache_file_open(pool, &options, &file));
  options.path = folder;
  WORKS(vmcache_file_open(pool, &options, &file));
  WORKS(vmcache_file_resize(file, 200 * VMCACHE_PAGE_SIZE));
  for (n = 0; n < 200; ++n) write_page(pool, file, n, 0, 'a' + (int)(n % 20));
  for (n = 0; n < 200; ++n) {
    struct vmcache_page page;
    uint64_t id;
    WORKS(vmcache_file_page_id(file, n, &id));
    WORKS(vmcache_fix(pool, id, 0, VMCACHE_SHARED, &page));
    CHECK(((const char *)page.data)[100] == (char)('a' + n % 20));
    WORKS(vmcache_unfix(&page));
  }
  FAILS(VMCACHE_INVALID_OPTION, "temporary", vmcache_file_sync(file));
  WORKS(vmcache_file_destroy(file));
  WORKS(vmcache_pool_destroy(pool));
}

static void set_byte(struct vmcache_pool *file, uint64_t *id, char byte) {
  struct vmcache_page page;
  WORKS(vmcache_allocate(file, 0, &page));
  ((char *)page.data)[100] = byte;
  *id = page.page_id;
  WORKS(vmcache_unfix(&page));
}

static char byte_of_page(struct vmcache_pool *file, uint64_t id) {
  struct vmcache_page page;
  char byte;
  WORKS(vmcache_fix(file, id, 0, VMCACHE_SHARED, &page));
  byte = ((const char *)page.data)[100];
  WORKS(vmcache_unfix(&page));
  return byte;
}

/* Databases in the memory of a pool have page ids of their own, and can be read by many. */
static void paged_files_are_pools_in_a_pool(void) {
  struct vmcache_pool *pool = files_pool(), *one = NULL, *two = NULL, *none = NULL;
  struct vmcache_paged_options options;
  struct vmcache_file_options raw = file_options("back");
  struct vmcache_file *file = NULL;
  struct vmcache_page page;
  uint64_t first, second;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  FAILS(VMCACHE_INVALID_OPTION, "path", vmcache_pool_open_paged(pool, &options, &one));
  options.path = path_of(folder, "two");
  remove(options.path);
  WORKS(vmcache_pool_open_paged(pool, &options, &two));
  options.path = path_of(folder, "one");
  remove(options.path);
  WORKS(vmcache_pool_open_paged(pool, &options, &one));
  set_byte(one, &first, '1');
  set_byte(two, &second, '2');
  CHECK(first == 1 && second == 1);
  CHECK(byte_of_page(one, 1) == '1' && byte_of_page(two, 1) == '2');
  WORKS(vmcache_pool_set_root(one, 0, first));
  WORKS(vmcache_pool_checkpoint(one));
  FAILS(VMCACHE_INVALID_OPTION, "resize", vmcache_pool_resize(one, 256 << 10));
  EXPECT(VMCACHE_BUSY, vmcache_pool_destroy(pool));
  WORKS(vmcache_fix(one, first, 0, VMCACHE_SHARED, &page));
  EXPECT(VMCACHE_BUSY, vmcache_pool_destroy(one));
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_pool_destroy(one));
  CHECK(byte_of_page(two, 1) == '2');

  options.flags = 1 << 30;
  FAILS(VMCACHE_INVALID_OPTION, "flags", vmcache_pool_open_paged(pool, &options, &none));
  options.flags = VMCACHE_POOL_READ_ONLY;
  WORKS(vmcache_pool_open_paged(pool, &options, &one));
  CHECK(byte_of_page(one, 1) == '1');
  EXPECT(VMCACHE_READ_ONLY, vmcache_allocate(one, 0, &page));
  EXPECT(VMCACHE_READ_ONLY, vmcache_pool_checkpoint(one));
  WORKS(vmcache_pool_close(one));
  EXPECT(VMCACHE_CLOSED, vmcache_fix(one, 1, 0, VMCACHE_SHARED, &page));
  WORKS(vmcache_pool_destroy(one));
  WORKS(vmcache_pool_destroy(two));
  CHECK(strcmp(vmcache_error_name(VMCACHE_READ_ONLY), "VMCACHE_READ_ONLY") == 0);

  raw.flags = VMCACHE_FILE_READ_ONLY;
  WORKS(vmcache_file_open(pool, &raw, &file));
  EXPECT(VMCACHE_READ_ONLY, vmcache_file_resize(file, 0));
  EXPECT(VMCACHE_READ_ONLY, vmcache_file_sync(file));
  WORKS(vmcache_file_destroy(file));
  WORKS(vmcache_pool_destroy(pool));
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: capi_file FOLDER\n");
    return 2;
  }
  folder = argv[1];
  raw_files_have_no_byte_of_ours();
  formats_and_logs_are_asked();
  write_back_and_temporary();
  bad_arguments_are_named();
  paged_files_are_pools_in_a_pool();
  return 0;
}

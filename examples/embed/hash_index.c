/* SPDX-License-Identifier: MIT */
/*
 * A hash index from 64-bit keys to 64-bit values, in C, on the pages of a pool.
 *
 * usage: hash_index fill FILE ENTRIES
 *          makes FILE if it is missing, and puts the squares of 0 .. ENTRIES - 1 into it
 *        hash_index check FILE ENTRIES
 *          looks for all of them with four threads, and for as many keys that are not there
 *
 * One directory page has the page ids of the buckets. A bucket that is full leads to another page.
 * A look-up latches nothing: it copies what it needs of a page, and asks afterwards whether the
 * page has changed meanwhile. There is no log, so a crash leaves a file that the next open refuses.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vmcache.h>

enum { DIRECTORY_ROOT = 0, BUCKETS = 64 };

struct directory {
  uint64_t buckets[BUCKETS]; /* page ids */
};

struct entry {
  uint64_t key, value;
};

enum { ENTRIES = (VMCACHE_PAGE_SIZE - 16) / sizeof(struct entry) };

struct bucket {
  uint64_t overflow; /* page id of the next page, or VMCACHE_NO_PAGE */
  uint64_t count;
  struct entry entries[ENTRIES];
};

struct index {
  struct vmcache_pool *pool;
  uint64_t directory;
};

static unsigned bucket_number(uint64_t key) {
  key = (key ^ (key >> 33)) * UINT64_C(0xff51afd7ed558ccd);
  return (unsigned)((key ^ (key >> 29)) % BUCKETS);
}

/* Makes the directory and its buckets, and keeps the directory's page id in the pool's header. */
static int make_index(struct index *index) {
  struct vmcache_page directory, bucket;
  unsigned n;
  int error = vmcache_allocate(index->pool, 0, &directory); /* zeroed */
  if (error) return error;
  for (n = 0; n < BUCKETS; ++n) {
    error = vmcache_allocate(index->pool, 0, &bucket);
    if (error) {
      vmcache_unfix(&directory);
      return error;
    }
    ((struct directory *)directory.data)->buckets[n] = bucket.page_id;
    vmcache_unfix(&bucket);
  }
  index->directory = directory.page_id;
  vmcache_unfix(&directory);
  return vmcache_pool_set_root(index->pool, DIRECTORY_ROOT, index->directory);
}

static int open_index(struct index *index, const char *path, uint64_t flags) {
  struct vmcache_pool_options options;
  int error;
  memset(&options, 0, sizeof options); /* zero is the default of every option */
  options.size = sizeof options;
  options.path = path;
  options.pool_bytes = 128 << 10; /* 32 pages: little, so that they come and go */
  options.flags = flags;
  error = vmcache_pool_open(&options, &index->pool);
  if (error) return error;
  error = vmcache_pool_root(index->pool, DIRECTORY_ROOT, &index->directory);
  if (!error && index->directory == VMCACHE_NO_PAGE) error = make_index(index);
  return error;
}

/* The first page of the key's bucket. */
static int find_bucket(const struct index *index, uint64_t key, uint64_t *page_id) {
  struct vmcache_read read;
  int error;
  do {
    error = vmcache_read_begin(index->pool, index->directory, 0, &read);
    if (error) return error;
    *page_id = ((const struct directory *)read.data)->buckets[bucket_number(key)];
    error = vmcache_read_validate(&read);
  } while (error == VMCACHE_CHANGED);
  return error;
}

/* Adds the entry or gives it a new value. A page is left before the next one is fixed, so two
 * threads may come to the end of a bucket at once: the latch of the last page decides. */
static int put(struct index *index, uint64_t key, uint64_t value) {
  struct vmcache_page page, next;
  uint64_t page_id, n;
  int error = find_bucket(index, key, &page_id);
  if (error) return error;
  for (;;) {
    struct bucket *bucket;
    error = vmcache_fix(index->pool, page_id, 0, VMCACHE_EXCLUSIVE, &page);
    if (error) return error;
    bucket = (struct bucket *)page.data;
    for (n = 0; n < bucket->count && bucket->entries[n].key != key; ++n) continue;
    if (n < bucket->count) {
      bucket->entries[n].value = value;
      return vmcache_unfix(&page);
    }
    if (bucket->overflow != VMCACHE_NO_PAGE) {
      page_id = bucket->overflow;
      error = vmcache_unfix_unchanged(&page); /* it need not be written back */
      if (error) return error;
      continue;
    }
    if (bucket->count < ENTRIES) {
      bucket->entries[n].key = key;
      bucket->entries[n].value = value;
      ++bucket->count;
      return vmcache_unfix(&page);
    }
    error = vmcache_allocate(index->pool, 0, &next);
    if (error) {
      vmcache_unfix_unchanged(&page);
      return error;
    }
    page_id = bucket->overflow = next.page_id;
    vmcache_unfix(&next);
    vmcache_unfix(&page);
  }
}

/* VMCACHE_NOT_FOUND if the key does not exist. */
static int get(const struct index *index, uint64_t key, uint64_t *value) {
  uint64_t page_id;
  int error = find_bucket(index, key, &page_id);
  while (!error && page_id != VMCACHE_NO_PAGE) {
    struct vmcache_read read;
    struct bucket copy;
    uint64_t n;
    error = vmcache_read_begin(index->pool, page_id, 0, &read);
    if (error) return error;
    memcpy(&copy, read.data, sizeof copy);
    error = vmcache_read_validate(&read);
    if (error == VMCACHE_CHANGED) { /* the same page again */
      error = 0;
      continue;
    }
    for (n = 0; n < copy.count; ++n) {
      if (copy.entries[n].key != key) continue;
      *value = copy.entries[n].value;
      return error;
    }
    page_id = copy.overflow;
  }
  return error ? error : VMCACHE_NOT_FOUND;
}

/* A part of the check, in a thread of its own. */
struct part {
  const struct index *index;
  uint64_t first, step, end;
  int error;
  char message[512]; /* the message belongs to the thread that failed */
};

static void *check_part(void *argument) {
  struct part *part = argument;
  uint64_t key, value;
  for (key = part->first; key < part->end; key += part->step) {
    part->error = get(part->index, key, &value);
    if (!part->error && value != key * key) part->error = VMCACHE_CORRUPT;
    if (!part->error) {
      part->error = get(part->index, key + part->end, &value); /* there is none */
      part->error = !part->error ? VMCACHE_EXISTS : part->error;
      if (part->error == VMCACHE_NOT_FOUND) part->error = 0;
    }
    if (part->error) break;
  }
  /* Only the library's failures have a message of the library's. */
  if (part->error && part->error < VMCACHE_NOT_FOUND && part->error != VMCACHE_CORRUPT)
    snprintf(part->message, sizeof part->message, "%s", vmcache_last_message());
  else if (part->error)
    snprintf(part->message, sizeof part->message, "key %" PRIu64, key);
  return NULL;
}

static int check(const struct index *index, uint64_t entries) {
  enum { THREADS = 4 };
  struct part parts[THREADS];
  pthread_t threads[THREADS];
  unsigned started, n;
  int error = 0;
  memset(parts, 0, sizeof parts);
  for (started = 0; started < THREADS; ++started) {
    parts[started].index = index;
    parts[started].first = started;
    parts[started].step = THREADS;
    parts[started].end = entries;
    if (pthread_create(&threads[started], NULL, check_part, &parts[started]) != 0) break;
  }
  if (started < THREADS) {
    fprintf(stderr, "hash_index: no thread\n");
    error = VMCACHE_OUT_OF_MEMORY;
  }
  for (n = 0; n < started; ++n) {
    pthread_join(threads[n], NULL);
    if (!parts[n].error) continue;
    error = parts[n].error;
    fprintf(stderr, "hash_index: %s: %s\n", vmcache_error_name(error), parts[n].message);
  }
  return error;
}

int main(int argc, char **argv) {
  struct index index = {NULL, 0};
  struct vmcache_pool_stats stats;
  uint64_t entries, key;
  int error, closed;
  const int fill = argc == 4 && strcmp(argv[1], "fill") == 0;
  if (!fill && (argc != 4 || strcmp(argv[1], "check") != 0)) {
    fprintf(stderr, "usage: hash_index fill|check FILE ENTRIES\n");
    return 2;
  }
  entries = strtoull(argv[3], NULL, 10);
  error = open_index(&index, argv[2], fill ? 0 : VMCACHE_POOL_NO_CREATE);
  for (key = 0; !error && fill && key < entries; ++key) error = put(&index, key, key * key);
  if (error) fprintf(stderr, "hash_index: %s\n", vmcache_last_message());
  if (!error && !fill) error = check(&index, entries);
  if (!error) {
    stats.size = sizeof stats;
    error = vmcache_pool_get_stats(index.pool, &stats);
    if (!error)
      printf("%" PRIu64 " entries, %" PRIu64 " pages, %" PRIu64 " read\n", entries,
             stats.database_pages, stats.read_pages);
  }
  closed = vmcache_pool_destroy(index.pool); /* writes back, flushes, marks as closed cleanly */
  if (closed) fprintf(stderr, "hash_index: %s\n", vmcache_last_message());
  return error || closed ? 1 : 0;
}

/* SPDX-License-Identifier: MIT */
/* Submission and completion through the C API. usage: capi_io FOLDER */
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kPages = 2000, kAtOnce = 64 };

static const char *folder;
static uint64_t ids[kPages];

/* A pool of 256 pages with a database of 2000, each of which says its number. */
static struct vmcache_pool *filled_pool(void) {
  struct vmcache_pool *pool = NULL;
  struct vmcache_pool_options options = small_pool(path_of(folder, "io.db"));
  struct vmcache_page page;
  unsigned n;
  remove(options.path);
  WORKS(vmcache_pool_open(&options, &pool));
  for (n = 0; n < kPages; ++n) {
    WORKS(vmcache_allocate(pool, 0, &page));
    ids[n] = page.page_id;
    memcpy(page.data, &n, sizeof n);
    WORKS(vmcache_unfix(&page));
  }
  return pool;
}

static void submit(struct vmcache_io *io, unsigned *number, unsigned mode) {
  struct vmcache_fix_request request;
  memset(&request, 0, sizeof request);
  request.page_id = ids[*number];
  request.mode = mode;
  request.user = number;
  WORKS(vmcache_io_submit(io, &request, 1));
}

/* Each fix comes back once, with its user pointer and its page, in a loop that sleeps on the
 * descriptor only. */
static void every_fix_comes_back_once(void) {
  struct vmcache_pool *pool = filled_pool();
  struct vmcache_io *io = NULL;
  struct vmcache_completion done[16];
  static unsigned numbers[kPages];
  static char seen[kPages];
  struct vmcache_pool_stats stats;
  struct pollfd waits;
  unsigned started = 0, ended = 0;
  size_t count, n;
  WORKS(vmcache_io_open(pool, &io));
  WORKS(vmcache_io_fd(io, &waits.fd));
  waits.events = POLLIN;
  memset(seen, 0, sizeof seen);
  while (ended < kPages) {
    while (started < kPages && started - ended < kAtOnce) {
      numbers[started] = started;
      submit(io, &numbers[started], started % 3 == 0 ? VMCACHE_EXCLUSIVE : VMCACHE_SHARED);
      ++started;
    }
    CHECK(poll(&waits, 1, -1) == 1);
    do {
      WORKS(vmcache_io_poll(io, done, 16, &count));
      for (n = 0; n < count; ++n) {
        const unsigned number = *(unsigned *)done[n].user;
        unsigned found;
        CHECK(done[n].code == VMCACHE_OK && done[n].page_id == ids[number]);
        CHECK(!seen[number]);
        seen[number] = 1;
        memcpy(&found, done[n].page.data, sizeof found);
        CHECK(found == number);
        WORKS(vmcache_unfix_unchanged(&done[n].page));
        ++ended;
      }
    } while (count == 16);
  }
  WORKS(vmcache_io_pending(io, &count));
  CHECK(count == 0);
  stats.size = sizeof stats;
  WORKS(vmcache_pool_get_stats(pool, &stats));
  CHECK(stats.read_pages >= kPages / 2);
  WORKS(vmcache_io_wait(io, done, 16, -1, &count)); /* nothing is under way */
  CHECK(count == 0);
  EXPECT(VMCACHE_BUSY, vmcache_pool_destroy(pool));
  WORKS(vmcache_io_destroy(io));
  WORKS(vmcache_pool_destroy(pool));
}

/* A fix that waits for a latch holds nobody up, and comes once the latch is free. */
static void a_latched_page_comes_later(void) {
  struct vmcache_pool *pool = filled_pool();
  struct vmcache_io *io = NULL;
  struct vmcache_page page;
  struct vmcache_completion done[4];
  unsigned latched = 1, other = 2;
  size_t count;
  WORKS(vmcache_fix(pool, ids[latched], 0, VMCACHE_EXCLUSIVE, &page));
  WORKS(vmcache_io_open(pool, &io));
  submit(io, &latched, VMCACHE_SHARED);
  submit(io, &other, VMCACHE_SHARED);
  WORKS(vmcache_io_wait(io, done, 4, -1, &count));
  CHECK(count == 1 && done[0].user == &other);
  WORKS(vmcache_io_wait(io, done + 1, 3, 20, &count));
  CHECK(count == 0);
  FAILS(VMCACHE_BUSY, "1 calls", vmcache_io_destroy(io));
  WORKS(vmcache_unfix(&page));
  WORKS(vmcache_io_wait(io, done + 1, 3, -1, &count));
  CHECK(count == 1 && done[1].user == &latched && done[1].code == VMCACHE_OK);
  WORKS(vmcache_unfix(&done[0].page));
  WORKS(vmcache_unfix(&done[1].page));
  /* What has come and was not handed out is unfixed by the destroy. */
  submit(io, &latched, VMCACHE_EXCLUSIVE);
  submit(io, &other, VMCACHE_EXCLUSIVE);
  WORKS(vmcache_io_wait(io, done, 1, -1, &count));
  CHECK(count == 1);
  WORKS(vmcache_unfix(&done[0].page));
  CHECK(vmcache_io_pending(io, &count) == 0 && count == 1); /* both were in memory */
  WORKS(vmcache_io_destroy(io));
  WORKS(vmcache_pool_destroy(pool));
}

static void *use_elsewhere(void *argument) {
  struct vmcache_io *io = argument;
  struct vmcache_completion done;
  size_t count;
  EXPECT(VMCACHE_WRONG_THREAD, vmcache_io_poll(io, &done, 1, &count));
  FAILS(VMCACHE_WRONG_THREAD, "another thread", vmcache_io_destroy(io));
  return NULL;
}

static void wrong_use_is_named(void) {
  struct vmcache_pool *pool = filled_pool();
  struct vmcache_io *io = NULL;
  struct vmcache_completion done[2];
  struct vmcache_fix_request requests[2];
  pthread_t thread;
  pid_t child;
  int status, fd;
  size_t count;
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_open(NULL, &io));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_open(pool, NULL));
  WORKS(vmcache_io_open(pool, &io));
  memset(requests, 0, sizeof requests);
  requests[0].page_id = ids[0];
  requests[0].mode = VMCACHE_SHARED;
  requests[1].mode = 7;
  FAILS(VMCACHE_INVALID_OPTION, "mode is 7", vmcache_io_submit(io, requests, 2));
  WORKS(vmcache_io_pending(io, &count));
  CHECK(count == 0); /* none was started */
  requests[1].page_id = UINT64_MAX;
  requests[1].mode = VMCACHE_SHARED;
  WORKS(vmcache_io_submit(io, requests + 1, 1));
  WORKS(vmcache_io_wait(io, done, 2, -1, &count));
  CHECK(count == 1 && done[0].code == VMCACHE_INVALID_PAGE && done[0].page.data == NULL);
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_submit(io, NULL, 1));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_poll(io, NULL, 1, &count));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_poll(io, done, 0, &count));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_wait(io, done, 1, -2, &count));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_fd(io, NULL));
  EXPECT(VMCACHE_INVALID_OPTION, vmcache_io_fd(NULL, &fd));
  CHECK(pthread_create(&thread, NULL, use_elsewhere, io) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_io_poll(io, done, 1, &count));
    EXPECT(VMCACHE_WRONG_PROCESS, vmcache_io_destroy(io));
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT(VMCACHE_BUSY, vmcache_pool_close(pool));
  WORKS(vmcache_io_destroy(io));
  WORKS(vmcache_io_destroy(NULL));
  WORKS(vmcache_pool_destroy(pool));
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: capi_io FOLDER\n");
    return 2;
  }
  folder = argv[1];
  every_fix_comes_back_once();
  a_latched_page_comes_later();
  wrong_use_is_named();
  return 0;
}

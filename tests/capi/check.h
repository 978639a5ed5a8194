/* SPDX-License-Identifier: MIT */
/* What the tests in C need: each is a program that ends with 1 at the first promise not kept. It
 * takes a folder for its files, which it empties of what it made itself. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vmcache.h>

#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      fprintf(stderr, "%s:%d: not so: %s\n  last message: %s\n", __FILE__, __LINE__,           \
              #condition, vmcache_last_message());                                             \
      exit(1);                                                                                 \
    }                                                                                          \
  } while (0)

/* The call returns this code. */
#define EXPECT(expected, call)                                                                 \
  do {                                                                                         \
    const int code_ = (call);                                                                  \
    if (code_ != (expected)) {                                                                 \
      fprintf(stderr, "%s:%d: %s\n  gives %s, not %s\n  last message: %s\n", __FILE__,         \
              __LINE__, #call, vmcache_error_name(code_), vmcache_error_name(expected),        \
              vmcache_last_message());                                                         \
      exit(1);                                                                                 \
    }                                                                                          \
  } while (0)
#define WORKS(call) EXPECT(VMCACHE_OK, call)

/* The call returns this code, and the message has that text in it. */
#define FAILS(expected, text, call)                                                            \
  do {                                                                                         \
    EXPECT(expected, call);                                                                    \
    if (strstr(vmcache_last_message(), (text)) == NULL) {                                      \
      fprintf(stderr, "%s:%d: %s\n  the message '%s' lacks '%s'\n", __FILE__, __LINE__, #call, \
              vmcache_last_message(), (text));                                                 \
      exit(1);                                                                                 \
    }                                                                                          \
  } while (0)

/* FOLDER/NAME, in one of four buffers in turn. */
static inline const char *path_of(const char *folder, const char *name) {
  static char paths[4][512];
  static unsigned next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

/* A pool of 1 MiB with a new database FOLDER/NAME of at most 64 MiB. */
static inline struct vmcache_pool_options small_pool(const char *path) {
  struct vmcache_pool_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.path = path;
  options.pool_bytes = 1 << 20;
  options.capacity_bytes = 64 << 20;
  options.frame_wait_ms = 50;
  return options;
}

#endif

/* SPDX-License-Identifier: MIT */
/* A program in C, built outside the tree, against the installed copy only. */
#include <stdio.h>
#include <string.h>
#include <vmcache.h>

int main(int argc, char **argv) {
  struct vmcache_pool_options options;
  struct vmcache_pool *pool = NULL;
  struct vmcache_page page;
  if (argc != 2) return 2;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.path = argv[1];
  options.pool_bytes = 1 << 20;
  if (vmcache_pool_open(&options, &pool) || vmcache_allocate(pool, 0, &page) ||
      vmcache_unfix(&page) || vmcache_pool_destroy(pool)) {
    fprintf(stderr, "%s\n", vmcache_last_message());
    return 1;
  }
  printf("C, libvmcache %s\n", vmcache_version());
  return 0;
}

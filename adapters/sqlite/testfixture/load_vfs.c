/* SPDX-License-Identifier: MIT */
/*
 * Is linked into SQLite's testfixture (scripts/sqlite.sh), which calls it at the end of
 * sqlite3_initialize() (SQLITE_EXTRA_INIT). Loads the VFS from $VMCACHE_TESTFIXTURE_VFS and makes
 * it the default; without that variable, testfixture is the stock one. So testfixture need not be
 * built again when the VFS changes.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int vmcache_testfixture_init(const char *unused);

int vmcache_testfixture_init(const char *unused) {
  const char *path = getenv("VMCACHE_TESTFIXTURE_VFS");
  void *library;
  int (*enable)(int);
  (void)unused;
  if (path == NULL || path[0] == '\0') return 0;
  library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (library != NULL) {
    *(void **)&enable = dlsym(library, "vmcache_sqlite_register");
    if (enable != NULL) return enable(1);
  }
  fprintf(stderr, "testfixture: %s\n", dlerror());
  exit(2);
}

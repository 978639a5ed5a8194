// SPDX-License-Identifier: MIT
//
// The entry point of the loadable extension.
#include <sqlite3ext.h>

#include "vmcache_sqlite.h"

extern "C" {
SQLITE_EXTENSION_INIT1

//! SQLite derives this name from that of the file, vmcache_sqlite.so.
__attribute__((visibility("default"))) int sqlite3_vmcachesqlite_init(
    sqlite3*, char** message, const sqlite3_api_routines* api) {
  SQLITE_EXTENSION_INIT2(api);
  const int code = vmcache_sqlite_register(0);
  if (code != SQLITE_OK) {
    *message = sqlite3_mprintf("vmcache: the VFS cannot be registered: %s", sqlite3_errstr(code));
    return code;
  }
  // The VFS outlives the connection that has loaded it.
  return SQLITE_OK_LOAD_PERMANENTLY;
}
}

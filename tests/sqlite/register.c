/* SPDX-License-Identifier: MIT */
/* The header is C's. */
#include "vmcache_sqlite.h"

int register_from_c(void);

int register_from_c(void) {
  return vmcache_sqlite_register(0);
}

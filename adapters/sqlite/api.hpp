// SPDX-License-Identifier: MIT
//
// SQLite's functions: called by name in the static library (SQLITE_CORE), and through the table
// that SQLite hands to the loadable extension.
#pragma once

#include <sqlite3ext.h>

#ifndef SQLITE_CORE
extern "C" {
SQLITE_EXTENSION_INIT3
}
#endif
